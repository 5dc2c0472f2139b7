"""Masks leave the model in pieces of bounded size, whatever the number of tracks."""

from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.model.procedure import SA2VA_I
from pipeline.model.sa2va import Sa2VA
from pipeline.model.sam2 import stream
from pipeline.model.sam2.stream import MaskStream
from pipeline.model.segment import encode_tracks
from pipeline.video.source import open_video


def test_masks_of_a_frame_come_in_chunks_of_bounded_bytes(
    untrained: Path, frames: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.set_num_threads(1)
    segmenter = Sa2VA.from_checkpoint(untrained).segmenter
    prompts = np.random.default_rng(0).normal(size=(5, segmenter.config.d_model)).astype(np.float32)
    with open_video(str(frames)) as source:
        whole = list(MaskStream(segmenter, source, prompts, SA2VA_I, [0, 5]).masks())
        monkeypatch.setattr(stream, "CHUNK_BYTES", 2 * source.height * source.width + 1)
        parts = list(MaskStream(segmenter, source, prompts, SA2VA_I, [0, 5]).masks())
    assert [chunk.tracks for chunk in whole] == [range(5)] * 6
    assert [chunk.tracks for chunk in parts] == [range(2), range(2, 4), range(4, 5)] * 6
    assert max(chunk.masks.nbytes for chunk in parts) <= stream.CHUNK_BYTES
    for number, chunk in enumerate(whole):
        np.testing.assert_array_equal(np.concatenate([c.masks for c in parts[3 * number :][:3]]), chunk.masks)
    assert encode_tracks(parts, 5) == encode_tracks(whole, 5)
