"""What a tower sees is the same to the bit whether the CPU or its own device resizes."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.model.families import config_of
from pipeline.model.families.base import ModelConfig
from pipeline.model.ground import ground_video
from pipeline.model.grounder import Grounder
from pipeline.model.procedure import SA2VA_I
from pipeline.model.sa2va import Sa2VA
from pipeline.video.frames import BaseSource
from pipeline.video.source import open_video

KEYS = Path(__file__).parents[2] / "golden" / "keys"
CPU = torch.device("cpu")


def published(size: str) -> ModelConfig:
    return config_of(json.loads(gzip.decompress((KEYS / f"{size}.config.json.gz").read_bytes())))


@pytest.fixture(params=[(110, 190), (301, 96)], ids=["landscape", "portrait"])
def noisy(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A folder of three frames of noise, in which every rounding shows."""
    random = np.random.default_rng(0)
    for number in range(3):
        Image.fromarray(random.integers(0, 256, (*request.param, 3), np.uint8)).save(tmp_path / f"{number}.png")
    return tmp_path


@pytest.mark.parametrize("size", ["1B", "Qwen2_5-VL-7B", "Qwen3-VL-4B"])
def test_a_device_gives_a_tower_the_same_pixels(size: str, noisy: Path) -> None:
    config = published(size)
    for location, keyframes in ((noisy, [0, 2]), (noisy / "0.png", [0])):
        with open_video(str(location)) as source:
            expected = config.family.read_pictures(source, keyframes, config)
            found = config.family.read_pictures(source, keyframes, config, resize_on=CPU)
        assert torch.equal(found.pixels, expected.pixels)
        assert (found.tokens, found.grids) == (expected.tokens, expected.grids)


def test_where_the_tower_is_on_a_gpu_frames_are_read_as_they_are(
    untrained: Path, frames: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.set_num_threads(1)
    grounder = Sa2VA.from_checkpoint(untrained).grounder
    assert grounder.resizes_on is None
    sides: list[int | None] = []
    read = BaseSource.read
    monkeypatch.setattr(BaseSource, "read", lambda self, at, side=None: sides.append(side) or read(self, at, side))
    answers = []
    for on in (None, CPU):
        monkeypatch.setattr(Grounder, "resizes_on", on)
        with open_video(str(frames)) as source:
            answers.append(ground_video(grounder, source, ["the square"], SA2VA_I, 3)[0])
    assert sides == [grounder.config.image_size, None]
    assert answers[0].answer == answers[1].answer
    assert np.array_equal(answers[0].prompts, answers[1].prompts)
