"""Cutting a single image into tiles for the language model (InternVL's dynamic tiling)."""

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from pipeline.model.exact_resize import resized_frame

if TYPE_CHECKING:
    from pipeline.model.families.internvl import InternVLConfig


def tile_grid(width: int, height: int, side: int, min_tiles: int, max_tiles: int) -> tuple[int, int]:
    """Columns and rows of the grid whose shape is closest to the image's.

    Of equally close grids a later (larger) one is taken only if the image has more than half that grid's pixels. Grids
    with the same number of tiles keep the order a Python set gives them, as in the reference: it decides ties.
    """
    grids = {
        (columns, rows)
        for count in range(min_tiles, max_tiles + 1)
        for columns in range(1, count + 1)
        for rows in range(1, count + 1)
        if min_tiles <= columns * rows <= max_tiles
    }
    best, closest = (1, 1), float("inf")
    for columns, rows in sorted(grids, key=lambda grid: grid[0] * grid[1]):
        distance = abs(width / height - columns / rows)
        large_enough = width * height > 0.5 * side * side * columns * rows
        if distance < closest or (distance == closest and large_enough):
            best, closest = (columns, rows), distance
    return best


def image_tiles(image: np.ndarray, config: "InternVLConfig", *, resize_on: torch.device | None = None) -> Tensor:
    """Tiles of an image, row by row, and the whole image as the last one if there are several.

    Args:
        image: uint8 RGB ``[H, W, 3]``.
        config: Names the tile size and the limits on their number.
        resize_on: Device that resizes; ``None`` leaves it to the CPU.

    Returns:
        uint8 ``[N, S, S, 3]`` on that device, or on the CPU.
    """
    side = config.image_size
    columns, rows = tile_grid(image.shape[1], image.shape[0], side, config.min_tiles, config.max_tiles)
    whole = resized_frame(image, width=columns * side, height=rows * side, on=resize_on)
    grid = whole.view(rows, side, columns, side, 3).transpose(1, 2)
    tiles = [grid.reshape(-1, side, side, 3)]
    if config.use_thumbnail and columns * rows > 1:
        tiles.append(resized_frame(image, width=side, height=side, on=resize_on)[None])
    return torch.cat(tiles)
