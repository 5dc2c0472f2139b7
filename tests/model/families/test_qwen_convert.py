"""Sa2VA checkpoints of the newer families become Sa2VA-i ones, in their own type or in half the space."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from pipeline.model.checkpoint.convert import convert
from pipeline.model.checkpoint.weights import CheckpointFiles
from pipeline.model.sa2va import Sa2VA
from tests.golden.variants import make_variant

VARIANTS = ("qwen3_vl", "qwen2_5_vl", "internvl3")
SAM2 = "grounding_encoder."


def all_tensors(directory: Path) -> dict[str, torch.Tensor]:
    return {k: v for path in set(CheckpointFiles(directory).file_of.values()) for k, v in load_file(path).items()}


def masks_of(directory: Path, frames: Path, dtype: str) -> list:
    model = Sa2VA.from_checkpoint(directory, device="cpu", dtype=dtype)
    masks = model.segment(frames, ["the square", "the two birds"], num_keyframes=3)
    assert any(any(track.masks) for one in masks for track in one.tracks)
    return list(masks)


@pytest.fixture(params=VARIANTS)
def parts(request, tmp_path) -> tuple[Path, Path, Path]:
    """A Sa2VA checkpoint, the original SAM 2, and the Sa2VA-i checkpoint of both."""
    sam2 = tmp_path / "sam2.pt"
    released = make_variant(tmp_path, request.param, 0, "sa2va", "fp32", "--sam2-pt", str(sam2))
    return released, sam2, make_variant(tmp_path, request.param, 0, "sa2va-i", "fp32")


def test_converted_equals_the_checkpoint_made_directly(parts, frames, tmp_path):
    released, sam2, direct = parts
    convert(released, sam2, tmp_path / "result")
    found, expected = all_tensors(tmp_path / "result"), all_tensors(direct)
    assert found.keys() == expected.keys()
    for key, tensor in expected.items():
        assert found[key].dtype == tensor.dtype, key
        assert torch.equal(found[key], tensor), key
    assert {path.name for path in released.iterdir()} == {path.name for path in (tmp_path / "result").iterdir()}
    assert masks_of(tmp_path / "result", frames, "float32") == masks_of(direct, frames, "float32")


def test_in_bfloat16_it_is_smaller_and_gives_what_casting_at_load_gives(parts, frames, tmp_path):
    released, sam2, _ = parts
    shift_off_the_grid(released)
    convert(released, sam2, tmp_path / "whole")
    convert(released, sam2, tmp_path / "half", dtype=torch.bfloat16)
    whole, half = all_tensors(tmp_path / "whole"), all_tensors(tmp_path / "half")
    for key, tensor in whole.items():
        assert torch.equal(half[key], tensor if key.startswith(SAM2) else tensor.bfloat16()), key
    assert any(not torch.equal(tensor, half[key].float()) for key, tensor in whole.items())
    index = json.loads((tmp_path / "half" / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == sum(tensor.nbytes for tensor in half.values())
    assert masks_of(tmp_path / "half", frames, "bfloat16") == masks_of(tmp_path / "whole", frames, "bfloat16")


def shift_off_the_grid(directory: Path) -> None:
    """Weights that bfloat16 cannot hold, as released ones are."""
    for path in sorted(directory.glob("*.safetensors")):
        tensors = {key: value * 1.001 for key, value in load_file(path).items()}
        save_file(tensors, path, metadata={"format": "pt"})
