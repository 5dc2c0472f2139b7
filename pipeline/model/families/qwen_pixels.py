"""What a Qwen-VL tower sees of a frame: two resizes, each to the letter, and patches in the tower's order."""

import math
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from pipeline.model.exact_resize import interpolate_bicubic, resized_frame

FIRST_CELL = 28
"""The first resize is to multiples of this; for patches of 16 pixels too, as in the reference."""
FIRST_PIXELS = (4 * 28 * 28, 16384 * 28 * 28)
"""Fewest and most pixels after the first resize."""
SECOND_PIXELS = (512 * 28 * 28, 2048 * 28 * 28)
"""Fewest and most pixels after the second one; Sa2VA sets them, whatever preprocessor_config.json says."""


def fitted_size(height: int, width: int, cell: int, pixels: tuple[int, int]) -> tuple[int, int]:
    """The size near ``height`` x ``width`` whose sides are multiples of ``cell`` and whose area is within ``pixels``.

    Sides are rounded half to even, as the reference does: 854 / 28 = 30.5 gives 30 cells.
    """
    fewest, most = pixels
    rows, columns = max(1, round(height / cell)), max(1, round(width / cell))
    area = rows * columns * cell * cell
    if area > most:
        scale = math.sqrt(height * width / most)
        rows, columns = max(1, math.floor(height / scale / cell)), max(1, math.floor(width / scale / cell))
    elif area < fewest:
        scale = math.sqrt(fewest / (height * width))
        rows, columns = math.ceil(height * scale / cell), math.ceil(width * scale / cell)
    return rows * cell, columns * cell


def resize_frame(frame: np.ndarray, cell: int, *, resize_on: torch.device | None = None) -> Tensor:
    """A frame as the tower's patches are cut from it.

    First Pillow's bicubic filter to multiples of 28, then PyTorch's integer one to multiples of ``cell``. The two
    filters differ in single grey levels, so neither can stand in for the other.

    Args:
        frame: uint8 RGB ``[H, W, 3]``.
        cell: Pixels along one side of an image token.
        resize_on: Device that resizes, to the same pixels; ``None`` leaves it to the CPU.

    Returns:
        uint8 ``[3, H', W']`` on that device, or on the CPU.
    """
    height, width = fitted_size(frame.shape[0], frame.shape[1], FIRST_CELL, FIRST_PIXELS)
    first = resized_frame(frame, width=width, height=height, on=resize_on)
    size = fitted_size(height, width, cell, SECOND_PIXELS)
    if resize_on is not None:
        second = interpolate_bicubic(first[None], height=size[0], width=size[1])[0]
        return second.permute(2, 0, 1).contiguous()
    pixels = first.permute(2, 0, 1).contiguous()
    if size == (height, width):
        return pixels
    return functional.interpolate(pixels[None], size, mode="bicubic", antialias=True, align_corners=False)[0]


def cut_patches(pixels: Tensor, patch: int, merge: int) -> Tensor:
    """Patches of a frame, those of one image token next to each other, tokens row by row.

    Args:
        pixels: ``[3, H, W]``, a multiple of ``patch * merge`` high and wide.
        patch: Side of a patch in pixels.
        merge: Patches along one side of an image token.

    Returns:
        ``[patches, 3 * patch * patch]``: channel, row, column.
    """
    height, width = pixels.shape[1:]
    cell = patch * merge
    grid = pixels.view(3, height // cell, merge, patch, width // cell, merge, patch)
    return grid.permute(1, 4, 2, 5, 0, 3, 6).reshape(-1, 3 * patch * patch)


def patches_of(
    frames: Iterable[np.ndarray], patch: int, merge: int, *, resize_on: torch.device | None = None
) -> tuple[Tensor, list[tuple[int, int]]]:
    """Patches of several frames one after the other, and rows and columns of image tokens of each.

    Frames are taken one at a time, so no more than one is held at its full size.

    Args:
        frames: uint8 RGB ``[H, W, 3]`` each.
        patch: Side of a patch in pixels.
        merge: Patches along one side of an image token.
        resize_on: Device that resizes frames, to the same pixels; ``None`` leaves it to the CPU.
    """
    parts, grids = [], []
    for frame in frames:
        pixels = resize_frame(frame, patch * merge, resize_on=resize_on)
        parts.append(cut_patches(pixels, patch, merge))
        grids.append((pixels.shape[1] // (patch * merge), pixels.shape[2] // (patch * merge)))
    return torch.cat(parts), grids
