"""COCO compressed run-length masks: encoding, decoding, and a check that makes strangers' RLE safe to decode."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco

from pipeline.rle_text import from_text, to_text
from pipeline.schema import Rle

MAX_PIXELS = 2**30
"""A mask that claims more is refused: its size comes from a file, and decoding allocates it."""


def encode_masks(masks: np.ndarray) -> list[Rle | None]:
    """Encode a clip's masks.

    Args:
        masks: bool or uint8 ``[T, H, W]``; non-zero is foreground.

    Returns:
        One RLE per frame, ``counts`` as str; None where the mask is empty.

    Example:
        >>> encode_masks(np.ones((1, 2, 3), bool))
        [{'size': [2, 3], 'counts': '06'}]
    """
    if masks.ndim != 3:
        raise ValueError(f"masks must be [T, H, W], not of shape {masks.shape}")
    # Runs are told by changes of value, so 255 beside 1 would be a boundary: reduce to 0 and 1 first.
    binary = masks if masks.dtype == np.bool_ else masks != 0
    return [_encode(mask) for mask in binary]


def _encode(mask: np.ndarray) -> Rle | None:
    """One mask, bool ``[H, W]``, byte for byte as pycocotools encodes it, which would hold up every other thread."""
    height, width = mask.shape
    rows = np.flatnonzero(mask.any(1))
    if not rows.size:
        return None
    columns = np.flatnonzero(mask.any(0))
    first, last = int(columns[0]), int(columns[-1]) + 1  # columns outside are one run
    pixels = np.ascontiguousarray(mask[:, first:last].T).reshape(-1)
    changes = np.flatnonzero(pixels[1:] != pixels[:-1]) + (1 + first * height)
    start = [first * height] if pixels[0] else []
    end = [last * height] if pixels[-1] and last < width else []
    edges = np.concatenate([[0], start, changes, end, [height * width]]).astype(np.int64)
    return Rle(size=[height, width], counts=to_text(np.diff(edges)))


def decode_mask(rle: Rle) -> np.ndarray:
    """One mask, bool ``[H, W]``. Raises ValueError when ``rle`` is not a valid encoding."""
    return decode_masks([rle], *_size(rle))[0]


def decode_masks(rles: Sequence[Rle | None], height: int, width: int) -> np.ndarray:
    """A clip's masks, bool ``[T, H, W]``; None decodes to an empty mask.

    Raises:
        ValueError: An RLE is invalid or of another size; the message names the frame's index.
    """
    masks = np.zeros((len(rles), height, width), dtype=np.bool_)
    present = []
    for index, rle in enumerate(rles):
        if rle is None:
            continue
        try:
            validate_rle(rle)
            if list(rle["size"]) != [height, width]:
                raise ValueError(f"size is {list(rle['size'])}, expected [{height}, {width}]")
        except ValueError as error:
            raise ValueError(f"mask of frame {index}: {error}") from error
        present.append(index)
    for index in present:  # one at a time: a batch would hold the clip twice
        masks[index] = coco.decode(_as_coco(rles[index]))
    return masks


def areas_and_bboxes(rles: Sequence[Rle | None]) -> tuple[list[int], list[list[float] | None]]:
    """Areas in pixels (0 where absent) and COCO boxes ``[x, y, width, height]`` (None where absent)."""
    areas = [0] * len(rles)
    boxes: list[list[float] | None] = [None] * len(rles)
    present = [index for index, rle in enumerate(rles) if rle is not None]
    if not present:
        return areas, boxes
    encoded = [_as_coco(rles[index]) for index in present]
    for index, area, box in zip(present, _areas(encoded), coco.toBbox(encoded), strict=True):
        areas[index] = int(area)
        boxes[index] = [float(value) for value in box] if area else None
    return areas, boxes


def cut_out(mask: np.ndarray) -> tuple[int, int, np.ndarray]:
    """Left, top and content, bool ``[h, w]``, of the smallest box around a mask, bool ``[H, W]``, that is not empty."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    top, left = int(rows[0]), int(columns[0])
    return left, top, mask[top : rows[-1] + 1, left : columns[-1] + 1]


def compressed(rle: Any) -> Rle:  # noqa: ANN401 - whatever stood in a file
    """A mask as it stands in JSON files of others, with ``counts`` as a string.

    Args:
        rle: Compressed (``counts`` is a string) or uncompressed (``counts`` is a list of run lengths) RLE.

    Raises:
        ValueError: It is neither, or its runs do not fill ``size``.
    """
    counts = rle.get("counts") if isinstance(rle, dict) else None
    if not isinstance(counts, list):
        validate_rle(rle)
        return Rle(size=[int(side) for side in rle["size"]], counts=rle["counts"])
    height, width = _size(rle)
    if not all(type(run) is int and 0 <= run <= MAX_PIXELS for run in counts):
        raise ValueError("counts must be whole numbers of at least 0")
    total = sum(counts)
    if total != height * width:
        raise ValueError(f"runs sum to {total} pixels, but size [{height}, {width}] has {height * width}")
    encoded = coco.frPyObjects({"size": [height, width], "counts": counts}, height, width)
    return Rle(size=[height, width], counts=encoded["counts"].decode("ascii"))


def run_lengths(rle: Rle) -> list[int]:
    """:func:`runs_of` as a list."""
    lengths: list[int] = runs_of(rle).tolist()
    return lengths


def validate_rle(rle: Any) -> None:  # noqa: ANN401 - whatever stood in a file
    """Check that ``rle`` decodes to exactly its own size; pycocotools reads and writes out of bounds where it does not.

    Raises:
        ValueError: Not a compressed RLE, or its runs do not fill ``size``; the message says which.
    """
    runs_of(rle)


def runs_of(rle: Any) -> np.ndarray:  # noqa: ANN401 - whatever stood in a file
    """The run lengths of a mask in column-major order, zeros first: int64 ``[runs]``.

    Raises:
        ValueError: As :func:`validate_rle`.
    """
    height, width = _size(rle)
    counts = rle.get("counts")
    if not isinstance(counts, str | bytes):
        raise ValueError(f"counts must be a compressed RLE string, not {type(counts).__name__}")
    runs = from_text(counts)
    if runs.size and runs.min() < 0:
        raise ValueError("counts holds a negative run")
    total = int(runs.sum())
    if total != height * width:
        raise ValueError(f"runs sum to {total} pixels, but size [{height}, {width}] has {height * width}")
    return runs


def _size(rle: Any) -> tuple[int, int]:  # noqa: ANN401
    size = rle.get("size") if isinstance(rle, dict) else None
    if not isinstance(size, list | tuple) or len(size) != 2 or not all(type(side) is int for side in size):
        raise ValueError("not an RLE: size must be [height, width] in whole pixels")
    height, width = size
    if height < 1 or width < 1 or height * width > MAX_PIXELS:
        raise ValueError(f"size [{height}, {width}] is outside 1 to {MAX_PIXELS} pixels")
    return height, width


def _areas(encoded: list[dict[str, Any]]) -> np.ndarray:
    """Pixels of each mask, uint32 ``[masks]``. pycocotools fails under numpy 2 on more than 255 masks at a time."""
    parts = [coco.area(encoded[start : start + 255]) for start in range(0, len(encoded), 255)]
    return np.concatenate(parts)


def _as_coco(rle: Rle | None) -> dict[str, Any]:
    assert rle is not None
    counts = rle["counts"]
    return {"size": list(rle["size"]), "counts": counts.encode("ascii") if isinstance(counts, str) else counts}
