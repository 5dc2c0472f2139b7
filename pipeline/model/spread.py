"""A grounder that is too large for one GPU: its layers placed over several, in order."""

from collections.abc import Mapping

import torch
from accelerate import infer_auto_device_map, init_empty_weights
from accelerate.hooks import AlignDevicesHook, add_hook_to_module
from accelerate.utils import get_balanced_memory

from pipeline.errors import CheckpointError
from pipeline.model.checkpoint.weights import CheckpointFiles
from pipeline.model.families.base import ModelConfig
from pipeline.model.grounder import Grounder

WORKING_SHARE = 0.15
"""Of each GPU's free memory, left for activations and the key/value cache."""

Device = int | str


def free_memory() -> dict[Device, int]:
    """Bytes of every visible GPU that weights may take."""
    free = [torch.cuda.mem_get_info(index)[0] for index in range(torch.cuda.device_count())]
    return {index: int(size * (1 - WORKING_SHARE)) for index, size in enumerate(free)}


def place_layers(config: ModelConfig, memory_bytes: Mapping[Device, int], dtype: torch.dtype) -> dict[str, Device]:
    """Choose a device for every part of the grounder, about evenly.

    Args:
        config: The model.
        memory_bytes: Room for weights on each device, in the order they are to be used.
        dtype: Type of the weights.

    Returns:
        Module (or parameter) name to device; a name stands for all that is below it.

    Raises:
        CheckpointError: it does not fit.
    """
    with init_empty_weights(include_buffers=False):
        grounder = Grounder(config)
    whole = list(config.family.no_split_classes)
    room = get_balanced_memory(grounder, dict(memory_bytes), no_split_module_classes=whole, dtype=dtype)
    # an overflow must show as such, not end on the CPU or on disk
    room = {device: room[device] for device in memory_bytes}
    room |= {device: 0 for device in ("cpu", "disk") if device not in room}
    places: dict[str, Device] = infer_auto_device_map(grounder, room, no_split_module_classes=whole, dtype=dtype)
    outside = [name for name, device in places.items() if device not in memory_bytes]
    if outside:
        need = sum(parameter.numel() for parameter in grounder.parameters()) * dtype.itemsize
        have = ", ".join(f"{size / 1e9:.1f}" for size in memory_bytes.values())
        raise CheckpointError(
            f"this model's language side needs {need / 1e9:.1f} GB in {str(dtype).removeprefix('torch.')}, the GPUs of "
            f"one grounder have room for {have} GB; give it more of them with --gpus-per-grounder"
        )
    # the state that leaves the last layer is read by the head where it is
    if "language_model" not in places:
        places["language_model.lm_head"] = _place_of("language_model.model.norm", places)
    return places


def load_spread(
    files: CheckpointFiles,
    config: ModelConfig,
    *,
    dtype: torch.dtype,
    prompt_text: str,
    memory_bytes: Mapping[Device, int] | None = None,
) -> Grounder:
    """Load the grounding half of a checkpoint over several devices (default: all visible GPUs), each tensor to its own.

    Raises:
        CheckpointError: it does not fit, or is not usable.
    """
    places = place_layers(config, free_memory() if memory_bytes is None else memory_bytes, dtype)
    grounder = Grounder.from_checkpoint(
        files,
        config,
        device_of=lambda name: torch.device(_place_of(name, places)),
        dtype=dtype,
        prompt_text=prompt_text,
    )
    connect_layers(grounder, places)
    return grounder


def _place_of(name: str, places: Mapping[str, Device]) -> Device:
    """The device of a parameter or buffer, by its full name; of what no entry covers, the first one."""
    while name and name not in places:
        name = name.rpartition(".")[0]
    return places[name] if name else next(iter(places.values()))


def connect_layers(grounder: Grounder, places: Mapping[str, Device]) -> None:
    """Have each placed module move its inputs to its own device when it is called."""
    for name, device in places.items():
        if _is_module(grounder, name):
            hook = AlignDevicesHook(execution_device=torch.device(device), skip_keys=["past_key_values"])
            add_hook_to_module(grounder.get_submodule(name), hook)


def _is_module(grounder: Grounder, name: str) -> bool:
    try:
        grounder.get_submodule(name)
    except AttributeError:  # a parameter of its own, such as a class token
        return False
    return True
