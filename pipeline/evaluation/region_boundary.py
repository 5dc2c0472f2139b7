"""Region similarity J and boundary accuracy F of DAVIS, on which every benchmark here rests.

The numbers equal those of the public scorers (davis2017-evaluation, MeViS): integer counts, then one division. What
makes them fast: only the masks' joint bounding box, grown by the radius, is looked at, and the boundary maps are
dilated as packed bits, one shift and one "or" for a whole picture.
"""

from math import isqrt

import numpy as np
from numpy.typing import NDArray

BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float64]

BOUNDARY_TOLERANCE = 0.008
"""The tolerance of F as a share of the picture's diagonal."""


def region_similarity(ground_truth: BoolArray, prediction: BoolArray) -> FloatArray:
    """Compute J, intersection over union, of every frame.

    Args:
        ground_truth: boolean ``[T, H, W]``; of other types, non-zero is foreground.
        prediction: as ``ground_truth``, same shape.

    Returns:
        float64 ``[T]``, 0..1; 1 where both masks are empty.

    Raises:
        ValueError: the shapes differ or are not ``[T, H, W]``.
    """
    ground_truth, prediction = _as_masks(ground_truth, prediction)
    return np.array([_region_similarity(g, p) for g, p in zip(ground_truth, prediction, strict=True)], np.float64)


def boundary_accuracy(ground_truth: BoolArray, prediction: BoolArray) -> FloatArray:
    """Compute F, the F-measure of boundary precision and recall, of every frame.

    A boundary pixel counts as found when the other mask has one within ``boundary_radius``. The picture's edge is no
    boundary: a mask that fills the picture has no boundary pixels.

    Args:
        ground_truth: boolean ``[T, H, W]``; of other types, non-zero is foreground.
        prediction: as ``ground_truth``, same shape.

    Returns:
        float64 ``[T]``, 0..1; 1 where neither mask has a boundary pixel, 0 where only one has.

    Raises:
        ValueError: the shapes differ or are not ``[T, H, W]``.
    """
    ground_truth, prediction = _as_masks(ground_truth, prediction)
    radius = boundary_radius(*ground_truth.shape[1:])
    return np.array(
        [_boundary_accuracy(g, p, radius) for g, p in zip(ground_truth, prediction, strict=True)], np.float64
    )


def boundary_radius(height: int, width: int) -> int:
    """Return the tolerance of F in pixels: 0.8 % of the diagonal, rounded up."""
    return int(np.ceil(BOUNDARY_TOLERANCE * np.linalg.norm((height, width))))


def _as_masks(ground_truth: BoolArray, prediction: BoolArray) -> tuple[BoolArray, BoolArray]:
    truth, prediction = np.asarray(ground_truth), np.asarray(prediction)
    if truth.ndim != 3 or truth.shape != prediction.shape:
        raise ValueError(
            f"ground truth {truth.shape} and prediction {prediction.shape} must both be [T, H, W], the same"
        )
    return truth.astype(bool, copy=False), prediction.astype(bool, copy=False)


def _region_similarity(truth: BoolArray, prediction: BoolArray) -> float:
    union = np.count_nonzero(truth | prediction)
    return np.count_nonzero(truth & prediction) / union if union else 1.0


def _boundary_accuracy(truth: BoolArray, prediction: BoolArray, radius: int) -> float:
    crop = _neighbourhood(truth | prediction)
    if crop is None:
        return 1.0
    truth_boundary, prediction_boundary = _boundary_map(truth[crop]), _boundary_map(prediction[crop])
    truth_count, prediction_count = np.count_nonzero(truth_boundary), np.count_nonzero(prediction_boundary)
    if not truth_count or not prediction_count:
        return 1.0 if truth_count == prediction_count else 0.0

    # A gap of `radius` blank columns between rows keeps a sideways shift from running into the next row.
    row_bits = truth_boundary.shape[1] + radius
    truth_bits, prediction_bits = _pack(truth_boundary, row_bits), _pack(prediction_boundary, row_bits)
    precision = (prediction_bits & _dilate(truth_bits, radius, row_bits)).bit_count() / prediction_count
    recall = (truth_bits & _dilate(prediction_bits, radius, row_bits)).bit_count() / truth_count
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _neighbourhood(mask: BoolArray) -> tuple[slice, slice] | None:
    """Return the mask's bounding box and one pixel around it, as far as the picture goes; None for an empty mask.

    Every boundary pixel lies in it. Where it ends inside the picture its last row and column are background, so that
    the picture's rule for the last row and column, applied to the crop, changes nothing.
    """
    rows = np.flatnonzero(mask.any(axis=1))
    if not rows.size:
        return None
    columns = np.flatnonzero(mask[rows[0] : rows[-1] + 1].any(axis=0))
    return slice(max(rows[0] - 1, 0), rows[-1] + 2), slice(max(columns[0] - 1, 0), columns[-1] + 2)


def _boundary_map(mask: BoolArray) -> BoolArray:
    """Mark the pixels that differ from their right, lower or lower right neighbour inside the picture."""
    boundary = np.zeros_like(mask)
    boundary[:, :-1] |= mask[:, :-1] ^ mask[:, 1:]
    boundary[:-1] |= mask[:-1] ^ mask[1:]
    boundary[:-1, :-1] |= mask[:-1, :-1] ^ mask[1:, 1:]
    return boundary


def _pack(mask: BoolArray, row_bits: int) -> int:
    """Pack a mask into one integer: bit ``y * row_bits + x`` is pixel (y, x)."""
    padded = np.zeros((mask.shape[0], row_bits), bool)
    padded[:, : mask.shape[1]] = mask
    return int.from_bytes(np.packbits(padded, bitorder="little").tobytes(), "little")


def _dilate(bits: int, radius: int, row_bits: int) -> int:
    """Dilate a packed mask by the disk ``dx * dx + dy * dy <= radius * radius``.

    The disk is a stack of horizontal runs; from its top row to its middle they only grow, so each is made from the one
    before. Bits in the gaps between rows become meaningless.
    """
    run, half_width, dilated = bits, 0, 0
    for dy in range(radius, -1, -1):
        for dx in range(half_width + 1, isqrt(radius * radius - dy * dy) + 1):
            run |= (bits << dx) | (bits >> dx)
            half_width = dx
        dilated |= (run << (dy * row_bits)) | (run >> (dy * row_bits))
    return dilated
