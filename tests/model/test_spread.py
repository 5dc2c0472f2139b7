"""A grounder over several devices: where its layers go, and that each finds its inputs there."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.config import RunConfig
from pipeline.errors import CheckpointError, UsageError
from pipeline.model.checkpoint.open import open_checkpoint
from pipeline.model.families import config_of
from pipeline.model.families.base import ModelConfig
from pipeline.model.families.internvl import tile_pictures
from pipeline.model.grounder import Grounder
from pipeline.model.spread import _place_of, connect_layers, load_spread, place_layers

KEYS = Path(__file__).parent.parent / "golden" / "keys"
GB = 10**9


def published(size: str) -> ModelConfig:
    return config_of(json.loads(gzip.decompress((KEYS / f"{size}.config.json.gz").read_bytes())))


def layers_of(places: dict, device) -> int:
    return sum(name.startswith("language_model.model.layers.") for name, place in places.items() if place == device)


@pytest.mark.parametrize(
    ("size", "memory", "devices"),
    [
        ("26B", {0: 40 * GB, 1: 40 * GB}, 2),
        ("26B", {0: 24 * GB, 1: 24 * GB, 2: 24 * GB}, 3),
        ("8B", {0: 20 * GB, 1: 20 * GB}, 2),
    ],
    ids=["26B on two", "26B on three", "8B on two"],
)
def test_layers_are_spread_about_evenly_in_order(size, memory, devices):
    places = place_layers(published(size), memory, torch.bfloat16)
    used = list(dict.fromkeys(places.values()))
    assert used == list(range(devices))
    assert list(places.values()) == sorted(places.values())  # the data goes through each device once
    assert places["language_model.lm_head"] == places["language_model.model.norm"]
    assert layers_of(places, devices - 1) > layers_of(places, 0)  # the first one has the vision tower as well
    assert layers_of(places, 0) > 0


def test_what_does_not_fit_says_how_much_it_needs():
    with pytest.raises(
        CheckpointError, match=r"needs 51\.\d GB in bfloat16.*room for 20\.0, 20\.0 GB.*--gpus-per-grounder"
    ):
        place_layers(published("26B"), {0: 20 * GB, 1: 20 * GB}, torch.bfloat16)


def test_a_grounder_in_connected_parts_says_the_same_as_a_whole_one(untrained):
    files, config = open_checkpoint(untrained)
    whole = Grounder.from_checkpoint(files, config, device_of=lambda _: torch.device("cpu"), dtype=torch.float32)
    parts = load_spread(
        files, config, dtype=torch.float32, prompt_text="Please segment {expression}.", memory_bytes={"cpu": 10 * GB}
    )
    connect_layers(parts, dict.fromkeys(_fine_places(parts), "cpu"))
    tiles = np.random.default_rng(0).integers(0, 255, (3, 128, 128, 3), np.uint8)
    pictures, expressions = tile_pictures(tiles, config), ["the dog", "a cat there"]
    expected, found = whole.ground(pictures, expressions), parts.ground(pictures, expressions)
    for one, other in zip(expected, found, strict=True):
        assert one.answer == other.answer
        assert np.array_equal(one.prompts, other.prompts)


def _fine_places(grounder: Grounder) -> list[str]:
    model = grounder.language_model.model
    names = [f"language_model.model.layers.{i}" for i in range(len(model.layers))]
    names += [f"language_model.model.{name}" for name in ("embed_tokens", "norm", "rotary_emb")]
    vision = [f"tower.vision_model.encoder.layer.{i}" for i in range(len(grounder.tower.vision_model.encoder.layer))]
    return [*names, *vision, "tower.vision_model.embeddings", "tower.mlp1", "language_model.lm_head", "text_hidden_fcs"]


def test_a_segmenter_is_never_split():
    RunConfig(manifest="m", model="nano", output="o", gpus_per_grounder=2, gpus_per_segmenter=1)
    with pytest.raises(UsageError, match="gpus_per_segmenter"):
        RunConfig(manifest="m", model="nano", output="o", gpus_per_segmenter=2)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("boundary", [0, 3, 6], ids=["before the layers", "between layers", "after the layers"])
def test_tensors_follow_the_layers_from_one_device_to_the_next(untrained, boundary):
    """One GPU and the CPU are two devices as good as two GPUs."""
    files, config = open_checkpoint(untrained)
    whole = Grounder.from_checkpoint(files, config, device_of=lambda _: torch.device("cpu"), dtype=torch.float32)
    places = dict.fromkeys(_fine_places(whole), "cuda:0")
    later = [f"language_model.model.layers.{i}" for i in range(boundary, 6)]
    later += ["language_model.model.norm", "language_model.model.rotary_emb", "language_model.lm_head"]
    places |= dict.fromkeys([*later, "text_hidden_fcs", "tower.mlp1"], "cpu")
    parts = Grounder.from_checkpoint(
        files, config, device_of=lambda name: torch.device(_place_of(name, places)), dtype=torch.float32
    )
    connect_layers(parts, places)
    tiles = np.random.default_rng(0).integers(0, 255, (3, 128, 128, 3), np.uint8)
    pictures, expressions = tile_pictures(tiles, config), ["the dog", "a cat there"]
    for one, other in zip(whole.ground(pictures, expressions), parts.ground(pictures, expressions), strict=True):
        assert one.answer == other.answer
        np.testing.assert_allclose(one.prompts, other.prompts, rtol=1e-3, atol=1e-4)
