"""Frames come ahead of the model: tracked frames are being decoded while the last keyframe is still worked on."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.model.procedure import SA2VA_I
from pipeline.model.sa2va import Sa2VA
from pipeline.model.sam2.frame import FrameFeatures
from pipeline.model.sam2.stream import MaskStream, SegmentOptions


class Recorder:
    """A source that notes when reads begin and what is handed out."""

    height, width, is_image = 48, 64, False

    def __init__(self, length: int, events: list[str]) -> None:
        self.frame_names = tuple(map(str, range(length)))
        self.events = events

    def __len__(self) -> int:
        return len(self.frame_names)

    def read(self, indices: Sequence[int], side: int | None = None) -> Iterator[np.ndarray]:
        self.events.append(f"read {','.join(map(str, indices))}")
        return self._frames(indices, side)

    def _frames(self, indices: Sequence[int], side: int | None) -> Iterator[np.ndarray]:
        for index in indices:
            yield np.full((side, side, 3), index * 20, np.uint8)


@pytest.fixture(scope="module")
def model(untrained: Path) -> Sa2VA:
    torch.set_num_threads(1)
    return Sa2VA.from_checkpoint(untrained)


@pytest.mark.parametrize("batch", [1, 2])
def test_order_of_work(model: Sa2VA, monkeypatch: pytest.MonkeyPatch, batch: int) -> None:
    events: list[str] = []
    encode = model.segmenter.encode

    def noted(frames: torch.Tensor) -> list[FrameFeatures]:
        events.append("encode " + ",".join(str(int(frame[0, 0, 0]) // 20) for frame in frames))
        return encode(frames)

    monkeypatch.setattr(model.segmenter, "encode", noted)
    prompts = np.random.default_rng(0).normal(size=(1, model.segmenter.config.d_model)).astype(np.float32)
    options = SegmentOptions(frames_per_batch=batch)
    stream = MaskStream(model.segmenter, Recorder(7, events), prompts, SA2VA_I, [0, 3, 6], options)
    found = [frame.index for frame in stream.masks()]
    assert found == list(range(7))
    assert events.index("read 1,2,4,5") < events.index("encode 6")
    encoded = [part for event in events if event.startswith("encode ") for part in event[7:].split(",")]
    assert encoded == ["0", "3", "6", "1", "2", "4", "5"]


@pytest.mark.parametrize(("length", "reads"), [(1, ["read 0"]), (3, ["read 0,1,2"])])
def test_nothing_is_read_where_every_frame_is_a_keyframe(model: Sa2VA, length: int, reads: list[str]) -> None:
    events: list[str] = []
    prompts = np.random.default_rng(0).normal(size=(2, model.segmenter.config.d_model)).astype(np.float32)
    stream = MaskStream(model.segmenter, Recorder(length, events), prompts, SA2VA_I, list(range(length)))
    frames = list(stream.masks())
    assert [frame.masks.shape for frame in frames] == [(2, 48, 64)] * length
    assert events == reads


def test_what_a_frame_gave_once_is_not_computed_again(model: Sa2VA, monkeypatch: pytest.MonkeyPatch) -> None:
    projections = []
    projection = model.segmenter.sam2.memory_encoder.pix_feat_proj
    forward = projection.forward
    monkeypatch.setattr(projection, "forward", lambda x: (projections.append(1), forward(x))[1])
    prompts = np.random.default_rng(0).normal(size=(5, model.segmenter.config.d_model)).astype(np.float32)
    options = SegmentOptions(max_objects=2)
    list(MaskStream(model.segmenter, Recorder(6, []), prompts, SA2VA_I, [0, 5], options).masks())
    assert len(projections) == 6, "three batches of objects, one projection a frame"
