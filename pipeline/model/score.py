"""How far a track can be trusted: five pieces of evidence, and one number computed from them.

Nothing here costs a pass through a model: segmenting the video has computed the evidence anyway.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pycocotools import mask as coco_mask

from pipeline.schema import Rle


@dataclass(frozen=True, kw_only=True)
class TrackEvidence:
    """Signs that a track is good; each is a number 0..1, and higher is better."""

    seg_probability: float
    """Probability the language model gave to the object's ``[SEG]`` token."""
    predicted_iou: float
    """IoU that the fine-tuned decoder predicts for its first masks, mean over keyframes."""
    presence: float
    """SAM 2's confidence that the object is there, mean over the tracked frames that show a mask."""
    agreement: float
    """How well the tracker, one frame on, agrees with the first masks; 1 where it had no frame to track."""
    stability: float
    """How steadily area and speed go from frame to frame; 1 for a single frame."""


WEIGHTS = TrackEvidence(seg_probability=0.0, predicted_iou=2.41, presence=0.0, agreement=2.16, stability=0.54)
"""Weight of each piece of evidence, fitted on the small model's training clips (``pipeline.workshop.fit_scores``).

Two weights are 0 because the small model is sure of nearly every answer: they added nothing to the other three.
"""

BIAS = -3.19
"""Log-odds of a track without any evidence."""


def track_score(evidence: TrackEvidence, weights: TrackEvidence = WEIGHTS, bias: float = BIAS) -> float:
    """The track's expected J&F given the evidence, 0..1: a logistic function of the weighted evidence.

    No weight is negative, so that more evidence never lowers the score.
    """
    odds = bias + sum(getattr(weights, name) * value for name, value in vars(evidence).items())
    return 1 / (1 + math.exp(-odds))


def gather_evidence(
    *,
    masks: Sequence[Rle | None],
    areas: Sequence[int],
    bboxes: Sequence[Sequence[float] | None],
    scores: Sequence[float],
    keyframes: Sequence[int],
    seg_probability: float,
    keyframe_ious: Sequence[float] | np.ndarray,
) -> TrackEvidence:
    """Evidence for one track.

    Args:
        masks: One run-length encoding per frame, ``None`` where the object is absent.
        areas: Pixels per frame.
        bboxes: ``[x, y, width, height]`` per frame.
        scores: Presence confidence per frame.
        keyframes: Indices of the frames with first masks.
        seg_probability: Probability of the object's ``[SEG]`` token.
        keyframe_ious: Predicted IoU of the first mask on each keyframe.
    """
    return TrackEvidence(
        seg_probability=_clipped(seg_probability),
        predicted_iou=_clipped(float(np.mean(keyframe_ious))),
        presence=_clipped(_presence(areas, scores, keyframes)),
        agreement=_clipped(_agreement(masks, keyframes)),
        stability=_clipped(_stability(areas, bboxes)),
    )


def _presence(areas: Sequence[int], scores: Sequence[float], keyframes: Sequence[int]) -> float:
    # a mask handed over as a prompt is present by definition, so keyframes say something only where nothing else does
    visible = [index for index, area in enumerate(areas) if area]
    tracked = sorted(set(visible) - set(keyframes)) or visible
    return float(np.mean([scores[index] for index in tracked])) if tracked else 0.0


def _agreement(masks: Sequence[Rle | None], keyframes: Sequence[int]) -> float:
    """IoU of first masks with the frames next to them, relative to the IoU of those with the frames after.

    On a keyframe the final mask is the first mask, so the tracker's opinion shows on the frame next to it only. That
    frame also differs by the object's motion; the IoU of the following pair of frames estimates by how much.
    """
    known = set(keyframes)
    ratios = []
    for keyframe in keyframes:
        for step in (-1, 1):
            near, far = keyframe + step, keyframe + 2 * step
            if not 0 <= near < len(masks) or near in known:
                continue
            usual = _overlap(masks[near], masks[far]) if 0 <= far < len(masks) and far not in known else 1.0
            overlap = _overlap(masks[keyframe], masks[near])
            ratios.append(min(1.0, overlap / usual) if usual else overlap)
    return float(np.mean(ratios)) if ratios else 1.0


def _overlap(one: Rle | None, other: Rle | None) -> float:
    if one is None or other is None:
        return float(one is other)
    return float(coco_mask.iou([one], [other], [False])[0, 0])


def _stability(areas: Sequence[int], bboxes: Sequence[Sequence[float] | None]) -> float:
    """One minus the root mean square of the changes between consecutive frames that both show the object.

    A change is one of area, or of the speed of the box's centre (in diagonals of the box): steady motion is no change.
    Because of the squares one sudden change counts for more than many small ones.
    """
    area = np.asarray(areas, np.float64)
    if not (area > 0).any():
        return 0.0
    boxes = np.array([[0.0] * 4 if box is None else box for box in bboxes], np.float64)
    centres, diagonals = boxes[:, :2] + boxes[:, 2:] / 2, np.hypot(boxes[:, 2], boxes[:, 3])
    shown = area > 0
    both = shown[1:] & shown[:-1]
    if not both.any():
        return 1.0
    ratio = np.minimum(area[1:], area[:-1]) / np.maximum(np.maximum(area[1:], area[:-1]), 1)
    speed = np.diff(centres, axis=0)
    jump = np.linalg.norm(np.diff(speed, axis=0), axis=1) / np.maximum(diagonals[1:-1], 1)
    steady = np.ones(len(both))
    steady[1:] = np.where(both[1:] & both[:-1], 1 - np.minimum(jump, 1), 1.0)
    return float(1 - np.sqrt(np.mean((1 - ratio * steady)[both] ** 2)))


def _clipped(value: float) -> float:
    return min(1.0, max(0.0, value)) if math.isfinite(value) else 0.0
