"""Sizes and patches of the Qwen-VL families; the grey levels themselves are held by the golden cases."""

import numpy as np
import pytest
import torch

from pipeline.model.families.qwen_pixels import (
    FIRST_CELL,
    FIRST_PIXELS,
    SECOND_PIXELS,
    cut_patches,
    fitted_size,
    patches_of,
)


@pytest.mark.parametrize(
    ("size", "first", "qwen25", "qwen3"),
    [
        ((480, 854), (476, 840), (504, 868), (480, 864)),  # 17.1 and 30.5 cells: half to even
        ((500, 333), (504, 336), (784, 532), (800, 544)),
        ((1270, 1700), (1260, 1708), (1064, 1456), (1088, 1472)),
        ((187, 641), (196, 644), (364, 1176), (352, 1152)),
        ((1080, 1920), (1092, 1932), (952, 1680), (928, 1664)),
        ((720, 1280), (728, 1288), (728, 1288), (736, 1280)),
    ],
    ids=lambda size: "x".join(map(str, size)),
)
def test_the_sizes_of_common_videos(size, first, qwen25, qwen3):
    assert fitted_size(*size, FIRST_CELL, FIRST_PIXELS) == first
    assert fitted_size(*first, 28, SECOND_PIXELS) == qwen25
    assert fitted_size(*first, 32, SECOND_PIXELS) == qwen3


@pytest.mark.parametrize("size", [(1, 1), (1, 8192), (8192, 8192), (5, 300)], ids=str)
def test_no_shape_of_a_frame_is_too_much(size):
    height, width = fitted_size(*fitted_size(*size, FIRST_CELL, FIRST_PIXELS), 32, SECOND_PIXELS)
    assert height % 32 == width % 32 == 0
    assert height > 0
    assert width > 0


def test_the_four_patches_of_a_token_stand_together():
    pixels = torch.zeros(3, 8, 12, dtype=torch.uint8)
    pixels[0] = torch.arange(8)[:, None]
    pixels[1] = torch.arange(12)
    patches = cut_patches(pixels, patch=2, merge=2).view(-1, 3, 2, 2)
    corners = [(int(patch[0, 0, 0]), int(patch[1, 0, 0])) for patch in patches]
    token = [(0, 0), (0, 2), (2, 0), (2, 2)]
    expected = [(row + y, column + x) for row in (0, 4) for column in (0, 4, 8) for y, x in token]
    assert corners == expected
    assert patches[0, 0].tolist() == [[0, 0], [1, 1]]
    assert patches[0, 1].tolist() == [[0, 1], [0, 1]]


def test_frames_of_any_size_follow_each_other():
    frames = [np.full((40, 60, 3), 7, np.uint8), np.full((90, 30, 3), 9, np.uint8)]
    patches, grids = patches_of(frames, patch=14, merge=2)
    counts = [rows * columns for rows, columns in grids]
    assert min(counts) >= 512
    assert len(patches) == 4 * sum(counts)
    assert set(patches[: 4 * counts[0]].unique().tolist()) == {7}
    assert set(patches[4 * counts[0] :].unique().tolist()) == {9}
