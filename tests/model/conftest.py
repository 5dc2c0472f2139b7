"""Checkpoints small enough to write and run in a second."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from pipeline.nano.untrained import write_untrained

torch.set_num_threads(1)

MODIFIED = "grounding_encoder.sam2_model.sam_mask_decoder_modified."
ORIGINAL = "grounding_encoder.sam2_model.sam_mask_decoder."


@pytest.fixture(scope="session")
def small_checkpoint(tmp_path_factory) -> Path:
    """A Sa2VA-i checkpoint of random weights; tests must not change it."""
    return write_untrained(tmp_path_factory.mktemp("checkpoint") / "sa2va-i")


@pytest.fixture(scope="session")
def small_sa2va(small_checkpoint) -> Path:
    """The same weights as a Sa2VA checkpoint: the fine-tuned mask decoder is the only one."""
    directory = small_checkpoint.with_name("sa2va")
    shutil.copytree(small_checkpoint, directory)
    tensors = load_file(small_checkpoint / "model.safetensors")
    tensors = {key.replace(MODIFIED, ORIGINAL): v for key, v in tensors.items() if not key.startswith(ORIGINAL)}
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    return directory


@pytest.fixture
def copy_of(tmp_path) -> Callable[[Path], Path]:
    """Copies a checkpoint, so that a test can damage it."""

    def copy(checkpoint: Path) -> Path:
        return Path(shutil.copytree(checkpoint, tmp_path / f"copy-of-{checkpoint.name}"))

    return copy
