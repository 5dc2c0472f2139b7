"""bfloat16: weights that are stored in it change nothing, an image encoder that keeps to it changes masks by noise."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sam2.modeling.backbones.image_encoder import FpnNeck

from pipeline.model.checkpoint.open import open_checkpoint
from pipeline.model.checkpoint.weights import CheckpointFiles
from pipeline.model.procedure import SA2VA_I
from pipeline.model.sam2 import segmenter as module
from pipeline.model.sam2.propagation import FrameMasks
from pipeline.model.sam2.segmenter import Segmenter
from pipeline.model.sam2.stream import MaskStream, final_masks
from pipeline.video.source import open_video

NANO = Path(__file__).resolve().parents[3] / "pipeline" / "model" / "nano"


def segmenter_of(checkpoint: Path, dtype: torch.dtype) -> Segmenter:
    torch.set_num_threads(1)
    files, config = open_checkpoint(checkpoint)
    assert isinstance(files, CheckpointFiles)
    return Segmenter.from_checkpoint(files, config, device=torch.device("cpu"), dtype=dtype)


def logits_of(segmenter: Segmenter, frames: Path) -> list[FrameMasks]:
    prompts = np.random.default_rng(0).normal(size=(2, segmenter.config.d_model)).astype(np.float32)
    with open_video(str(frames)) as source:
        return list(MaskStream(segmenter, source, prompts, SA2VA_I, [0, 5]).logits())


def test_weights_stored_in_bfloat16_give_the_same_bits_as_autocast(
    untrained: Path, clips: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = clips / "JPEGImages" / "clip0"
    stored = segmenter_of(untrained, torch.bfloat16)
    assert stored.sam2.memory_attention.layers[0].linear1.weight.dtype == torch.bfloat16
    assert stored.sam2.memory_attention.layers[0].norm1.weight.dtype == torch.float32
    found = logits_of(stored, clip)
    monkeypatch.setattr(module, "cast_weights", lambda *_: None)
    cast_each_time = segmenter_of(untrained, torch.bfloat16)
    assert cast_each_time.sam2.memory_attention.layers[0].linear1.weight.dtype == torch.float32
    for one, other in zip(found, logits_of(cast_each_time, clip), strict=True):
        assert torch.equal(one.logits, other.logits)
        assert torch.equal(one.entry.features, other.entry.features)
        assert torch.equal(one.entry.pointer, other.entry.pointer)


def test_an_image_encoder_wholly_in_bfloat16_changes_masks_by_noise(clips: Path) -> None:
    clip = clips / "JPEGImages" / "clip0"
    exact = segmenter_of(NANO, torch.float32)
    reduced = segmenter_of(NANO, torch.float32).ready(torch.device("cpu"), torch.bfloat16, reduced_encoder=True)
    assert reduced.sam2.image_encoder.trunk.blocks[0].norm1.weight.dtype == torch.bfloat16
    side = exact.config.image_size
    frames = torch.from_numpy(np.random.default_rng(0).integers(0, 255, (2, side, side, 3), np.uint8))
    for one, other in zip(exact.encode(frames), reduced.encode(frames), strict=True):
        for level, same in zip(one.levels, other.levels, strict=True):
            assert ((level - same).norm() / level.norm()) < 0.03
    ious = []
    for one, other in zip(logits_of(exact, clip), logits_of(reduced, clip), strict=True):
        a, b = (final_masks(frame.logits, 64, 96, side) for frame in (one, other))
        union = (a | b).sum((1, 2))
        ious += ((a & b).sum((1, 2))[union > 0] / union[union > 0]).tolist()
    assert len(ious) >= 8
    assert np.mean(ious) > 0.95


def test_the_neck_gives_the_features_of_the_packages_neck(untrained: Path) -> None:
    segmenter = segmenter_of(untrained, torch.float32)
    encoder = segmenter.sam2.image_encoder
    side = segmenter.config.image_size
    pixels = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        levels = encoder.trunk(pixels)
        found, _ = encoder.neck(levels)
        expected, _ = FpnNeck.forward(encoder.neck, levels)
    assert len(found) == len(expected) == 4
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)


def test_the_kept_position_embedding_is_the_computed_one(untrained: Path) -> None:
    trunk = segmenter_of(untrained, torch.float32).sam2.image_encoder.trunk
    kept, trunk.position = trunk.position, None
    assert torch.equal(kept, trunk._get_pos_embed(kept.shape[1:3]))
