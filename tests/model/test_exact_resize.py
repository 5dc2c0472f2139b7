"""The integer resize gives Pillow's pixels, whichever pass comes first."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.model.exact_resize import resize_bicubic
from pipeline.model.procedure import SA2VA_I
from pipeline.model.sa2va import Sa2VA
from pipeline.model.sam2.segmenter import Segmenter
from pipeline.model.sam2.stream import MaskStream
from pipeline.model.segment import encode_tracks
from pipeline.video.source import open_video

SIZES = {"landscape": (96, 171), "portrait": (171, 96), "narrow": (300, 7), "wide": (5, 260), "tiny": (1, 1)}


@pytest.mark.parametrize("target", [(128, 128), (56, 84), (84, 56), (32, 171)])
@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_pixels_are_those_of_pillow(size, target):
    random = np.random.default_rng(sum(size))
    noise = random.integers(0, 256, (*size, 3), dtype=np.uint8)
    hard = np.where(noise > 127, 255, 0).astype(np.uint8)  # overshoots are clipped between the passes
    found = resize_bicubic(torch.from_numpy(np.stack([noise, hard])), height=target[0], width=target[1])
    for picture, resized in zip((noise, hard), found.numpy(), strict=True):
        expected = Image.fromarray(picture).resize(target[::-1], Image.Resampling.BICUBIC)
        assert np.array_equal(resized, np.asarray(expected))


def test_masks_are_the_same_where_the_device_resizes(untrained: Path, frames: Path, monkeypatch) -> None:
    torch.set_num_threads(1)
    segmenter = Sa2VA.from_checkpoint(untrained).segmenter
    prompts = np.random.default_rng(0).normal(size=(3, segmenter.config.d_model)).astype(np.float32)
    tracks = []
    with open_video(str(frames)) as source:
        for on_device in (False, True):
            monkeypatch.setattr(Segmenter, "resizes_frames", property(lambda _, on=on_device: on))
            tracks.append(encode_tracks(MaskStream(segmenter, source, prompts, SA2VA_I, [0, 5]).masks(), 3))
    assert tracks[0] == tracks[1]
