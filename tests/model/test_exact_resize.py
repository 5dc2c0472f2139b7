"""The integer resizes give Pillow's and PyTorch's pixels, whichever pass comes first."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

from pipeline.model.exact_resize import interpolate_bicubic, resize_bicubic
from pipeline.model.families.qwen_pixels import FIRST_CELL, FIRST_PIXELS, SECOND_PIXELS, fitted_size
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


Size = tuple[int, int]


def random_sizes(count: int, longest: int) -> Iterator[tuple[Size, str]]:
    """Sizes of frames by turns landscape, portrait, tiny, huge and of any shape, and what each is resized to."""
    random = np.random.default_rng(3)
    for number in range(count):
        kind, target = number % 5, ("448", "qwen", "448", "qwen", "448", "1024")[number % 6]
        if kind == 2:
            long, short = random.integers(1, 33, 2)
        elif kind == 3:
            long, short = random.integers(longest // 2, longest + 1, 2)
        else:
            long = random.integers(64, longest // 2)
            short = random.integers(8, long + 1) if kind < 2 else random.integers(1, longest // 2)
        yield (int(long), int(short)) if kind == 1 else (int(short), int(long)), target


def check_size(size: Size, target: str, seed: int) -> None:
    """Whether noise of this size, which is black and white for every other seed, becomes what Pillow makes of it."""
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    if seed % 2:
        pixels = np.where(pixels > 127, np.uint8(255), np.uint8(0))
    height, width = fitted_size(*size, FIRST_CELL, FIRST_PIXELS) if target == "qwen" else (int(target), int(target))
    found = resize_bicubic(torch.from_numpy(pixels)[None], height=height, width=width)
    expected = np.array(Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC))
    assert np.array_equal(found[0].numpy(), expected), f"{size} to {(height, width)}"
    if target == "qwen":
        check_interpolated(expected, fitted_size(height, width, 32 if seed % 4 else 28, SECOND_PIXELS))


def check_interpolated(pixels: np.ndarray, size: Size) -> None:
    channels_first = torch.from_numpy(pixels).permute(2, 0, 1).contiguous()[None]
    expected = functional.interpolate(channels_first, size, mode="bicubic", antialias=True, align_corners=False)
    found = interpolate_bicubic(torch.from_numpy(pixels)[None], height=size[0], width=size[1])
    assert torch.equal(found[0], expected[0].permute(1, 2, 0)), f"{pixels.shape} to {size}"


def test_sixty_sizes_are_resized_as_the_references_do() -> None:
    for seed, (size, target) in enumerate(random_sizes(60, longest=500)):
        check_size(size, target, seed)


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_five_hundred_sizes_are_resized_as_the_references_do() -> None:
    for seed, (size, target) in enumerate(random_sizes(500, longest=2200)):
        check_size(size, target, seed)


@pytest.mark.parametrize("size", [(7, 300), (300, 7), (64, 64), (1, 9)])
def test_pixels_are_those_of_pytorch(size: Size) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (90, 61, 3), dtype=np.uint8)
    check_interpolated(np.where(pixels > 127, np.uint8(255), np.uint8(0)), size)


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
