"""One mask as COCO files may hold it: compressed or uncompressed run lengths, or polygons."""

from typing import Any

import numpy as np

from pipeline.masks import decode_mask, run_lengths
from pipeline.schema import Rle

KINDS = ("compressed", "uncompressed", "polygons")
_RIGHT, _DOWN, _LEFT, _UP = (0, 1), (1, 0), (0, -1), (-1, 0)


def written_mask(rle: Rle, kind: str) -> Any:  # noqa: ANN401 - what JSON holds
    """A mask for a COCO file.

    Args:
        rle: The mask; not empty.
        kind: ``compressed`` (a string), ``uncompressed`` (a list of counts) or ``polygons`` (outlines without holes).
    """
    if kind == "compressed":
        return rle
    if kind == "uncompressed":
        return {"size": list(rle["size"]), "counts": run_lengths(rle)}
    return polygons(decode_mask(rle))


def polygons(mask: np.ndarray) -> list[list[float]]:
    """The outer outlines of a mask's parts along the edges of its pixels; holes are lost, as COCO has no form for them.

    Args:
        mask: bool ``[H, W]``.

    Returns:
        One ``[x, y, x, y, ...]`` per 4-connected part; drawing them gives the mask again, with its holes filled.
    """
    from scipy import ndimage

    labels, count = ndimage.label(mask)
    found = []
    for label, box in enumerate(ndimage.find_objects(labels, count), start=1):
        part = ndimage.binary_fill_holes(labels[box] == label)
        outline = _outline(part)
        top, left = box[0].start, box[1].start
        found.append([float(value) for row, column in outline for value in (column + left, row + top)])
    return found


def _outline(part: np.ndarray) -> list[tuple[int, int]]:
    """Corners (row, column) of the outline of one part without holes, clockwise from its first pixel."""
    padded = np.pad(part, 1)
    start = (1, int(np.argmax(padded[1])))
    at, heading = start, _RIGHT
    corners = [at]
    while True:
        at = (at[0] + heading[0], at[1] + heading[1])
        turned = _next_heading(padded, at, heading)
        if at == start and turned == _RIGHT:
            break
        if turned != heading:
            corners.append(at)
        heading = turned
    return [(row - 1, column - 1) for row, column in corners]


def _next_heading(padded: np.ndarray, at: tuple[int, int], heading: tuple[int, int]) -> tuple[int, int]:
    """The way on along pixel edges, the part on the right hand; where two pixels touch at a corner, stay with one."""
    row, column = at
    above, below = padded[row - 1, column - 1 : column + 1], padded[row, column - 1 : column + 1]
    ahead = {
        _RIGHT: (above[1], below[1]),
        _DOWN: (below[1], below[0]),
        _LEFT: (below[0], above[0]),
        _UP: (above[0], above[1]),
    }
    left_ahead, right_ahead = ahead[heading]
    order = (_RIGHT, _DOWN, _LEFT, _UP)
    index = order.index(heading)
    if not right_ahead:
        return order[(index + 1) % 4]
    if left_ahead:
        return order[(index - 1) % 4]
    return heading
