"""Checkpoint files on disk: find the tensors, stream them into modules, write them back."""

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from pipeline.errors import CheckpointError
from pipeline.model.checkpoint.names import published_names
from pipeline.model.families import config_of
from pipeline.model.families.mapping import TensorMapping

INDEX_NAME = "model.safetensors.index.json"


class CheckpointFiles:
    """The safetensors files of a checkpoint directory: which file holds which tensor.

    Raises:
        CheckpointError: no weights, a missing shard, a file that is not safetensors, or an index that does not fit.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.file_of: dict[str, Path] = {}
        promised = self._promised()
        files = sorted({directory / name for name in promised.values()}) if promised else self._loose_files()
        for path in files:
            if not path.is_file():
                raise CheckpointError(f"{path}: missing; {INDEX_NAME} lists it (is the download complete?)")
            self.file_of |= dict.fromkeys(_tensor_names(path), path)
        absent = sorted(set(promised) - set(self.file_of))
        if absent:
            raise CheckpointError(f"{directory}: {INDEX_NAME} lists tensors that no file holds: {_some(absent)}")

    def _promised(self) -> dict[str, str]:
        index = self.directory / INDEX_NAME
        if not index.is_file():
            return {}
        try:
            weight_map = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
            return {str(key): str(name) for key, name in weight_map.items()}
        except (OSError, ValueError, KeyError, AttributeError) as error:
            raise CheckpointError(f"{index}: cannot be read ({error!r})") from error

    def _loose_files(self) -> list[Path]:
        files = sorted(self.directory.glob("*.safetensors"))
        if not files:
            raise CheckpointError(f"{self.directory}: no *.safetensors file")
        return files

    def __contains__(self, key: str) -> bool:
        return key in self.file_of

    def __iter__(self) -> Iterable[str]:
        return iter(self.file_of)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of every tensor, read from the headers only."""
        found: dict[str, tuple[int, ...]] = {}
        for path in sorted(set(self.file_of.values())):
            with _open(path) as file:
                found |= {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
        return found

    def tensors(self, keys: Iterable[str], device_of: Callable[[str], torch.device]) -> Iterable[tuple[str, Tensor]]:
        """Stream ``(name, tensor)``, each read straight to its device, file by file."""
        wanted = set(keys)
        for path in sorted({self.file_of[key] for key in wanted}):
            for device in sorted({str(device_of(k)) for k in wanted if self.file_of[k] == path}):
                with _open(path, device) as file:
                    for key in sorted(k for k in wanted if self.file_of[k] == path and str(device_of(k)) == device):
                        yield key, file.get_tensor(key)


def load(
    module: nn.Module,
    files: CheckpointFiles,
    mappings: Mapping[str, TensorMapping],
    *,
    dtype: torch.dtype,
    device_of: Callable[[str], torch.device],
) -> None:
    """Fill ``module`` (built without storage) with the tensors of ``mappings``, cast to ``dtype``.

    Args:
        module: Its parameters may be on the meta device; they are replaced.
        files: The checkpoint.
        mappings: Published name to where it goes.
        dtype: Type the parameters get.
        device_of: Device for one of the module's parameter names.

    Raises:
        CheckpointError: as :func:`check_fits`, before anything is read.
    """
    check_fits(module, files, mappings)
    for key, tensor in files.tensors(mappings, lambda key: device_of(mappings[key].targets[0])):
        mapping = mappings[key]
        for name, part in zip(mapping.targets, mapping.split(tensor), strict=True):
            _assign(module, name, part.to(device=device_of(name), dtype=dtype).contiguous())


def check_fits(module: nn.Module, files: CheckpointFiles, mappings: Mapping[str, TensorMapping]) -> None:
    """Check names and shapes of ``mappings`` against ``module``, reading nothing but the files' headers.

    Raises:
        CheckpointError: a tensor has no place or another shape, or a parameter would be left without a value.
    """
    slots = {**dict(module.named_parameters()), **_persistent_buffers(module)}
    shapes = files.shapes()
    empty = set(slots)
    for key, mapping in mappings.items():
        for name, shape in _part_shapes(mapping, shapes[key]).items():
            if name not in slots:
                raise CheckpointError(f"{files.file_of[key]}: {key} has no place in the model of config.json")
            if shape != slots[name].shape:
                raise CheckpointError(
                    f"{files.file_of[key]}: {key} of shape {shapes[key]} does not fit: config.json calls for "
                    f"{tuple(slots[name].shape)} in {name}"
                )
            empty.discard(name)
    if empty:
        raise CheckpointError(f"{files.directory}: these parameters have no value in the checkpoint: {_some(empty)}")


def check_all_consumed(files: CheckpointFiles, *placed: Mapping[str, TensorMapping]) -> None:
    """Refuse a checkpoint that holds tensors no part of the model takes."""
    unused = set(files.file_of).difference(*placed)
    if unused:
        raise CheckpointError(f"{files.directory}: tensors that no part of the model takes: {_some(unused)}")


def save_checkpoint(
    directory: Path, config: Mapping[str, object], grounder: nn.Module, segmenter: nn.Module, dtype: torch.dtype
) -> None:
    """Write ``config.json`` and ``model.safetensors`` in the published layout and names (no tokenizer files)."""
    state = {**grounder.state_dict(), **segmenter.state_dict()}
    mappings = published_names(config_of(config), list(grounder.state_dict()), list(segmenter.state_dict()))
    tensors = {
        key: mapping.join([state[name] for name in mapping.targets]).to(dtype).cpu().contiguous()
        for key, mapping in mappings.items()
    }
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})


def _open(path: Path, device: str = "cpu") -> "safe_open":
    try:
        return safe_open(path, framework="pt", device=device)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: not a readable safetensors file ({error})") from error


def _tensor_names(path: Path) -> list[str]:
    with _open(path) as file:
        return list(file.keys())


def _part_shapes(mapping: TensorMapping, shape: tuple[int, ...]) -> dict[str, tuple[int, ...] | None]:
    """Shape of each part a tensor of ``shape`` is cut into; none where it cannot be cut."""
    try:
        parts = mapping.split(torch.empty(shape, device="meta"))
    except RuntimeError:  # not a multiple of the heads
        parts = ()
    if len(parts) != len(mapping.targets):
        return dict.fromkeys(mapping.targets)
    return {name: tuple(part.shape) for name, part in zip(mapping.targets, parts, strict=True)}


def _persistent_buffers(module: nn.Module) -> dict[str, Tensor]:
    names = module.state_dict(keep_vars=True).keys()
    return {name: buffer for name, buffer in module.named_buffers() if name in names}


def _assign(module: nn.Module, name: str, value: Tensor) -> None:
    owner_name, _, leaf = name.rpartition(".")
    owner = module.get_submodule(owner_name)
    if leaf in owner._parameters:
        owner._parameters[leaf] = nn.Parameter(value, requires_grad=False)
    else:
        owner._buffers[leaf] = value


def _some(names: Iterable[str], limit: int = 5) -> str:
    ordered = sorted(names)
    rest = f" and {len(ordered) - limit} more" if len(ordered) > limit else ""
    return ", ".join(ordered[:limit]) + rest
