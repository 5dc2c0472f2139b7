"""Whether two arrangements gave the same masks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.masks import decode_mask
from pipeline.model.sa2va import ExpressionMasks
from pipeline.schema import Rle


@dataclass(frozen=True)
class Limits:
    """From where on two runs count as equal.

    Attributes:
        mean_iou: Least mean IoU over all frames of all objects.
        frame_iou: IoU at which a frame counts as alike.
        share: Least share of frames that are alike.
    """

    mean_iou: float
    frame_iou: float
    share: float


EVERY_FRAME = Limits(mean_iou=0.98, frame_iou=0.98, share=1.0)
"""float32 on a CPU, which computes the same each time: one pixel of a small mask may lie on the threshold."""
MOST_FRAMES = {
    "float32": Limits(mean_iou=0.995, frame_iou=0.98, share=0.99),
    "bfloat16": Limits(mean_iou=0.97, frame_iou=0.85, share=0.95),
}
"""Elsewhere rounding alone moves single frames of small objects: in bfloat16 the mean IoU is 0.98 to 0.99, and a
frame at 0.74 was seen."""


def limits_of(device_type: str, dtype: str) -> Limits:
    """What is asked of two runs on a kind of device (``cpu``, ``cuda``) in an arithmetic."""
    return EVERY_FRAME if (device_type, dtype) == ("cpu", "float32") else MOST_FRAMES[dtype]


def agreement(ours: Sequence[ExpressionMasks], others: Sequence[ExpressionMasks], limits: Limits) -> dict[str, float]:
    """How two runs agree, for a report: lowest and mean IoU of a frame, and the share of frames that are alike."""
    ious = frame_ious(ours, others)
    return {
        "worst_iou": min(ious, default=1.0),
        "mean_iou": sum(ious) / len(ious) if ious else 1.0,
        "share_of_frames_alike": sum(iou >= limits.frame_iou for iou in ious) / len(ious) if ious else 1.0,
    }


def disagreement(found: Mapping[str, float], limits: Limits) -> str | None:
    """Why two runs do not count as equal, from what :func:`agreement` gave; ``None`` if they do."""
    if found["mean_iou"] >= limits.mean_iou and found["share_of_frames_alike"] >= limits.share:
        return None
    return (
        f"mean IoU {found['mean_iou']:.4f} (at least {limits.mean_iou} is asked for), IoU of at least "
        f"{limits.frame_iou} on {found['share_of_frames_alike']:.1%} of the frames (at least {limits.share:.0%}), "
        f"lowest {found['worst_iou']:.4f}"
    )


def frame_ious(ours: Sequence[ExpressionMasks], others: Sequence[ExpressionMasks]) -> list[float]:
    """IoU of every frame of every object; one 0 for an expression whose answer or number of objects differs."""
    ious: list[float] = []
    for one, other in zip(ours, others, strict=True):
        if one.answer != other.answer or len(one.tracks) != len(other.tracks):
            ious.append(0.0)
            continue
        for track, twin in zip(one.tracks, other.tracks, strict=True):
            ious += [_iou(a, b) for a, b in zip(track.masks, twin.masks, strict=True)]
    return ious


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
