"""Whether two arrangements gave the same masks."""

from collections.abc import Sequence

import numpy as np

from pipeline.masks import decode_mask
from pipeline.model.sa2va import ExpressionMasks
from pipeline.schema import Rle


def worst_iou(ours: Sequence[ExpressionMasks], others: Sequence[ExpressionMasks]) -> float:
    """Lowest IoU of any frame of any object; 0 if the answers or the numbers of objects differ."""
    worst = 1.0
    for one, other in zip(ours, others, strict=True):
        if one.answer != other.answer or len(one.tracks) != len(other.tracks):
            return 0.0
        for track, twin in zip(one.tracks, other.tracks, strict=True):
            ious = [_iou(a, b) for a, b in zip(track.masks, twin.masks, strict=True)]
            worst = min([worst, *ious])
    return worst


def _iou(one: Rle | None, other: Rle | None) -> float:
    if one is None or other is None:
        return float(one is other)
    if one == other:
        return 1.0
    a, b = decode_mask(one), decode_mask(other)
    return float(np.count_nonzero(a & b) / np.count_nonzero(a | b))


def distinct_tracks(found: Sequence[ExpressionMasks]) -> int:
    """Tracks whose masks differ somewhere from every other's."""
    return len({str(track.masks) for one in found for track in one.tracks})
