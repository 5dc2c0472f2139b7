"""A Sa2VA checkpoint and Meta's SAM 2 weights become a Sa2VA-i checkpoint.

Sa2VA replaced SAM 2's mask decoder by a fine-tuned one. Sa2VA-i has both: the fine-tuned one under a name of its own,
the original one in its old place. Everything else is copied bit for bit (or, on request, cast to another
type), one file at a time.
"""

import json
import logging
import os
import pickle
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from pipeline.errors import CheckpointError, UsageError
from pipeline.model.checkpoint.names import SAM2_PREFIX
from pipeline.model.checkpoint.weights import INDEX_NAME, CheckpointFiles
from pipeline.model.sa2va import MODIFIED, check_checkpoint

log = logging.getLogger(__name__)

DECODER = SAM2_PREFIX + "sam_mask_decoder."
_META_DECODER = "sam_mask_decoder."


def convert(sa2va: Path, sam2: Path, output: Path, *, dtype: torch.dtype | None = None) -> None:
    """Write the Sa2VA-i checkpoint made of ``sa2va`` and the mask decoder in ``sam2``.

    The original decoder keeps the type it has in ``sam2`` (float32), as in the published checkpoints.

    Args:
        sa2va: Directory of a Sa2VA checkpoint, one file or sharded.
        sam2: Meta's ``sam2_hiera_large.pt``; nothing in it is executed.
        output: Directory to make. It appears under this name only once it is complete.
        dtype: Type to store the vision tower and the language model in; ``None`` keeps theirs. bfloat16 halves the
            disk a float32 checkpoint takes and gives the same masks in a bfloat16 run, which casts them anyway. SAM 2
            keeps the type it has, since it is loaded as float32 in every run.

    Raises:
        UsageError: ``output`` exists, or ``sa2va`` is a Sa2VA-i checkpoint already.
        CheckpointError: an input is damaged, or the two do not belong together.
    """
    if output.exists():
        raise UsageError(f"{output}: exists already; name a new directory")
    check_checkpoint(sa2va)
    files = CheckpointFiles(sa2va)
    if any(key.startswith(MODIFIED) for key in files.file_of):
        raise UsageError(f"{sa2va}: is a Sa2VA-i checkpoint already (it has {MODIFIED}*)")
    original = _original_decoder(files, sam2)
    folder = output.with_name(f".{output.name}-{os.getpid()}.tmp")
    try:
        folder.mkdir(parents=True)
        _write(files, original, folder, dtype)
        check_checkpoint(folder)
        folder.rename(output)
    except OSError as error:
        raise CheckpointError(f"{output}: cannot be written ({error})") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _write(files: CheckpointFiles, original: Mapping[str, Tensor], folder: Path, dtype: torch.dtype | None) -> None:
    _copy_companions(files, folder)
    written: dict[str, int] = {}
    for path in sorted(set(files.file_of.values())):
        log.info("converting %s", path.name)
        written |= _convert_file(path, original, folder / path.name, dtype)
    if (files.directory / INDEX_NAME).is_file():
        _write_index(files.directory / INDEX_NAME, written, folder / INDEX_NAME)


def _original_decoder(files: CheckpointFiles, sam2: Path) -> dict[str, Tensor]:
    """The original mask decoder by its published names, checked to be one for this checkpoint."""
    state = _read_pt(sam2)
    shapes = {key: shape for key, shape in files.shapes().items() if key.startswith(SAM2_PREFIX)}
    meta = {SAM2_PREFIX + name: value for name, value in state.items()}
    for key, shape in shapes.items():
        # the layer scale of the memory fuser has another name in published checkpoints
        found = meta.get(key, meta.get(key.replace(".g_weight", ".gamma")))
        name = key.removeprefix(SAM2_PREFIX)
        if found is None:
            raise CheckpointError(f"{sam2}: has no {name}, which {files.directory} has; it takes a SAM 2.0 checkpoint")
        if tuple(found.shape) != shape:
            raise CheckpointError(
                f"{sam2}: {name} has shape {tuple(found.shape)}, in {files.directory} it is {shape}; they do not "
                "belong together (Sa2VA uses sam2_hiera_large.pt)"
            )
    if len(meta) != len(shapes):
        known = {key.replace(".g_weight", ".gamma") for key in shapes} | set(shapes)
        extra = sorted(set(meta) - known)[0].removeprefix(SAM2_PREFIX)
        raise CheckpointError(
            f"{sam2}: has {extra}, which {files.directory} has not; they do not belong together (is it SAM 2.1?)"
        )
    return {DECODER + k.removeprefix(_META_DECODER): v for k, v in state.items() if k.startswith(_META_DECODER)}


def _read_pt(path: Path) -> Mapping[str, Tensor]:
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file (Meta's sam2_hiera_large.pt is wanted)")
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (OSError, RuntimeError, ValueError, EOFError, KeyError, pickle.UnpicklingError) as error:
        reason = str(error).strip().splitlines()[0]
        raise CheckpointError(f"{path}: cannot be read as a file of weights ({reason[:160]})") from error
    state = content.get("model") if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError(f"{path}: holds no 'model' dictionary of tensors, as Meta's sam2_hiera_large.pt does")
    return state


def _convert_file(
    path: Path, original: Mapping[str, Tensor], target: Path, dtype: torch.dtype | None
) -> dict[str, int]:
    """Copy one weights file; returns the bytes of each tensor written."""
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
        tensors = {}
        for key in file.keys():  # noqa: SIM118 - not a mapping
            tensor = file.get_tensor(key)
            if dtype is not None and tensor.is_floating_point() and not key.startswith(SAM2_PREFIX):
                tensor = tensor.to(dtype)
            if key.startswith(DECODER):
                # the two decoders side by side, in the file that held the one
                tensors[MODIFIED + key.removeprefix(DECODER)] = tensor
                tensor = original[key].contiguous()
            tensors[key] = tensor
        save_file(tensors, target, metadata=metadata)
        shutil.copymode(path, target)
        return {key: tensor.nbytes for key, tensor in tensors.items()}


def _write_index(source: Path, written: Mapping[str, int], target: Path) -> None:
    index = json.loads(source.read_text(encoding="utf-8"))
    weight_map = index["weight_map"]
    weight_map |= {
        MODIFIED + key.removeprefix(DECODER): name for key, name in weight_map.items() if key.startswith(DECODER)
    }
    index["metadata"] = {**index.get("metadata", {}), "total_size": sum(written.values())}
    index["weight_map"] = dict(sorted(weight_map.items()))
    target.write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def _copy_companions(files: CheckpointFiles, folder: Path) -> None:
    """Everything but the weights: configuration, tokenizer, licence and so on."""
    weights = set(files.file_of.values()) | {files.directory / INDEX_NAME}
    for path in sorted(files.directory.iterdir()):
        if path.is_file() and path not in weights:
            shutil.copyfile(path, folder / path.name)
