"""Masks of FiftyOne's detections: the part of a mask inside a box, as a compressed NumPy file in Base64.

The box is in shares of the picture's width and height, ``[x, y, width, height]``; the mask is stretched onto it, so it
is written with exactly as many rows and columns as the box has pixels.
"""

import base64
import binascii
import io
import zlib
from typing import Any

import numpy as np

from pipeline.masks import cut_out

_MOST_HEADER_BYTES = 1024


def detection_mask(mask: np.ndarray) -> dict[str, Any]:
    """``bounding_box`` and ``mask`` of a detection, for JSON, from a mask, bool ``[H, W]``, that is not empty."""
    height, width = mask.shape
    left, top, inside = cut_out(mask)
    box = [left / width, top / height, inside.shape[1] / width, inside.shape[0] / height]
    file = io.BytesIO()
    np.save(file, inside)
    packed = base64.b64encode(zlib.compress(file.getvalue())).decode("ascii")
    return {"bounding_box": box, "mask": {"$binary": {"base64": packed, "subType": "00"}}}


def picture_mask(bounding_box: Any, mask: Any, height: int, width: int) -> np.ndarray:  # noqa: ANN401 - of a file
    """The inverse of :func:`detection_mask`: bool ``[height, width]``.

    Every value of the mask but 0 is foreground. Where the mask has another size than its box, it is stretched, as
    FiftyOne shows it.

    Raises:
        ValueError: It is no such mask, or the box leaves the picture.
    """
    is_box = isinstance(bounding_box, list) and len(bounding_box) == 4
    if not is_box or not all(type(value) in (int, float) for value in bounding_box):
        raise ValueError("bounding_box must be four numbers")
    sides = (width, height, width, height)
    left, top, columns, rows = (round(share * side) for share, side in zip(bounding_box, sides, strict=True))
    if min(left, top) < 0 or min(columns, rows) < 1 or left + columns > width or top + rows > height:
        raise ValueError(f"the box {bounding_box} leaves the picture")
    inside = _unpacked(mask, most_bytes=8 * height * width + _MOST_HEADER_BYTES)
    at_rows, at_columns = (
        (np.arange(count) * 2 + 1) * size // (2 * count)
        for count, size in ((rows, inside.shape[0]), (columns, inside.shape[1]))
    )
    whole = np.zeros((height, width), np.bool_)
    whole[top : top + rows, left : left + columns] = inside[np.ix_(at_rows, at_columns)] != 0
    return whole


def _unpacked(mask: Any, *, most_bytes: int) -> np.ndarray:  # noqa: ANN401
    binary = mask.get("$binary") if isinstance(mask, dict) else None
    text = binary.get("base64") if isinstance(binary, dict) else None
    if not isinstance(text, str):
        raise ValueError("mask must hold the mask itself; export the dataset with its masks, not with paths to them")
    try:
        data = zlib.decompressobj().decompress(base64.b64decode(text), most_bytes)
        inside = np.load(io.BytesIO(data), allow_pickle=False)
    except (binascii.Error, zlib.error, ValueError, EOFError, OSError) as error:
        raise ValueError(f"mask does not unpack ({error})") from error
    if inside.ndim != 2 or inside.dtype.kind not in "biu" or not inside.size:
        raise ValueError(f"mask is an array of {inside.dtype} {list(inside.shape)}, not of rows and columns")
    return np.asarray(inside)
