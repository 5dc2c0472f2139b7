"""Small checkpoints to load, damage and convert."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

torch.set_num_threads(1)

MODIFIED = "grounding_encoder.sam2_model.sam_mask_decoder_modified."
ORIGINAL = "grounding_encoder.sam2_model.sam_mask_decoder."


@pytest.fixture(scope="session")
def sa2va(untrained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The untrained checkpoint as a Sa2VA one: the fine-tuned mask decoder is the only one. Not to be changed."""
    directory = Path(shutil.copytree(untrained, tmp_path_factory.mktemp("sa2va") / "checkpoint"))
    tensors = load_file(untrained / "model.safetensors")
    tensors = {key.replace(MODIFIED, ORIGINAL): v for key, v in tensors.items() if not key.startswith(ORIGINAL)}
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    return directory


@pytest.fixture
def copied(untrained: Path, tmp_path: Path) -> Path:
    """A copy of the untrained checkpoint that a test may damage."""
    return Path(shutil.copytree(untrained, tmp_path / "checkpoint"))


@pytest.fixture(scope="session")
def shard() -> Callable[[Path, int], None]:
    """Cuts the one weights file of a checkpoint into several, with an index, as large models are published."""

    def cut(directory: Path, count: int) -> None:
        import json

        whole = directory / "model.safetensors"
        tensors = load_file(whole)
        whole.unlink()
        weight_map = {}
        for number in range(count):
            name = f"model-{number + 1:05d}-of-{count:05d}.safetensors"
            part = dict(list(tensors.items())[number::count])
            save_file(part, directory / name, metadata={"format": "pt"})
            weight_map |= dict.fromkeys(part, name)
        index = {"metadata": {"total_size": sum(t.nbytes for t in tensors.values())}, "weight_map": weight_map}
        (directory / "model.safetensors.index.json").write_text(json.dumps(index))

    return cut


@pytest.fixture(scope="session")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip of six small frames in which a bright square moves."""
    from PIL import Image, ImageDraw

    folder = tmp_path_factory.mktemp("frames")
    for number in range(6):
        image = Image.new("RGB", (96, 64), (40, 90, 60))
        ImageDraw.Draw(image).rectangle((10 + 8 * number, 20, 34 + 8 * number, 44), fill=(230, 200, 40))
        image.save(folder / f"{number:05d}.png")
    return folder
