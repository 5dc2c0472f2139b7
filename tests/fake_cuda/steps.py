"""The steps of SAM 2 that are measured: with several objects, in both procedures, and where memory runs out."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from accelerate import init_empty_weights

from pipeline.model.exact_resize import resize_bicubic
from pipeline.model.families import config_of
from pipeline.model.families.base import ModelConfig
from pipeline.model.procedure import SA2VA, SA2VA_I, Procedure
from pipeline.model.sam2.memory import MemoryEntry
from pipeline.model.sam2.propagation import FrameMasks, ObjectBatch, Propagation
from pipeline.model.sam2.segmenter import Segmenter
from pipeline.model.sam2.stream import final_masks
from tests.fake_cuda.counting import Report
from tests.fake_cuda.device import CUDA, fake_cuda, put_on_cuda

KEYS = Path(__file__).resolve().parents[1] / "golden" / "keys"
KEYFRAMES = 5
SIZE = (480, 854)


def published_config(size: str) -> ModelConfig:
    """The configuration of a published size."""
    return config_of(json.loads(gzip.decompress((KEYS / f"{size}.config.json.gz").read_bytes())))


def segmenter_on_cuda(config: ModelConfig, dtype: torch.dtype) -> Segmenter:
    """A segmenter on the fake device, set up as from a checkpoint."""
    with init_empty_weights(include_buffers=False):
        segmenter = Segmenter(config.grounding, has_original=True)
    put_on_cuda(segmenter, torch.float32)
    return segmenter.eval().ready(CUDA, dtype)


def segmenter_steps(
    report: Report, config: ModelConfig, objects: list[int], dtype: torch.dtype = torch.bfloat16, batch: int = 4
) -> None:
    """Encode, add a keyframe, track, final masks: both procedures."""
    with fake_cuda():
        segmenter = segmenter_on_cuda(config, dtype)
        side = config.grounding.image_size

        def frames(count: int) -> torch.Tensor:
            return torch.empty(count, side, side, 3, dtype=torch.uint8)

        decoded = torch.empty(batch, *SIZE, 3, dtype=torch.uint8, device=CUDA)
        report.measure(f"resize_{batch}", [segmenter], lambda: resize_bicubic(decoded, height=side, width=side))
        report.measure(f"encode_{batch}", [segmenter], lambda: segmenter.encode(frames(batch)))
        for procedure, suffix in ((SA2VA_I, ""), (SA2VA, "_sa2va")):
            for count in objects:
                _object_steps(report, segmenter, procedure, count, suffix, lambda: segmenter.encode(frames(1))[0])
        _halved_step(report, segmenter, max(objects), lambda: segmenter.encode(frames(1))[0])


def _object_steps(
    report: Report,
    segmenter: Segmenter,
    procedure: Procedure,
    objects: int,
    suffix: str,
    encoded: Callable[[], Any],
) -> None:
    """A keyframe, and a tracked frame when the windows of memory are full."""
    prompts = torch.empty(objects, segmenter.config.d_model, device=CUDA)
    batch = ObjectBatch(segmenter, procedure, prompts, 80, *SIZE)
    name = f"e{objects}{suffix}"
    with torch.no_grad(), segmenter.autocast():
        features = encoded()
        report.measure(f"add_keyframe_{name}", [segmenter], lambda: batch.add_keyframe(0, features))
        if not batch.bank.conditioning:
            return
        _fill(batch, batch.bank.conditioning[0])
        masks = None
        for index in range(KEYFRAMES + 20, KEYFRAMES + 22):  # the first one also projects what is in the bank
            masks = report.measure(f"track_{name}", [segmenter], lambda i=index: batch.track(i, features))
            if masks is None:
                return
        height_width, side = batch.size, segmenter.config.image_size
        report.measure(f"final_masks_{name}", [segmenter], lambda: final_masks(masks.logits, *height_width, side))


def _halved_step(report: Report, segmenter: Segmenter, objects: int, encoded: Callable[[], Any]) -> None:
    """A tracked frame on which memory does not suffice for all objects together, but for half of them."""
    prompts = torch.empty(objects, segmenter.config.d_model, device=CUDA)
    propagation = Propagation(segmenter, SA2VA_I, prompts, num_frames=80, height=SIZE[0], width=SIZE[1])
    track = ObjectBatch.track

    def track_at_most_half(batch: ObjectBatch, index: int, features: Any) -> FrameMasks:
        if len(batch) > (objects + 1) // 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return track(batch, index, features)

    def step() -> FrameMasks:
        masks = propagation.track(KEYFRAMES + 20, features)
        if len(masks.logits) != objects:
            raise ValueError(f"{len(masks.logits)} masks of {objects} objects")
        return masks

    with torch.no_grad():
        features = encoded()
        propagation.add_keyframe(0, features)
        (batch,) = propagation.batches
        _fill(batch, batch.bank.conditioning[0])
        with mock.patch.object(ObjectBatch, "track", track_at_most_half):
            report.measure(f"track_e{objects}_halved", [segmenter], step)


def _fill(batch: ObjectBatch, like: MemoryEntry) -> None:
    """Fill the windows of memory with entries of the right shape."""

    def entry() -> MemoryEntry:
        return MemoryEntry(torch.empty_like(like.features), torch.empty_like(like.pointer))

    batch.bank.conditioning = {index: entry() for index in range(KEYFRAMES)}
    for index in range(KEYFRAMES, KEYFRAMES + 20):
        batch.bank.remember(index, entry())
