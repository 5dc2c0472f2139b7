"""How much to trust a track: five pieces of evidence that making it leaves behind, and one number made of them.

Nothing here costs a pass through a model: the evidence is read off what is on the host anyway.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pycocotools import mask as coco_mask

from pipeline.schema import Rle


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What speaks for a track, each number 0..1 and more of it better."""

    seg_probability: float
    """Probability the language model gave the object's ``[SEG]`` token."""
    predicted_iou: float
    """IoU that the fine-tuned decoder predicts for its first masks, mean over keyframes."""
    presence: float
    """SAM 2's confidence that the object is there, mean over the tracked frames that show a mask."""
    agreement: float
    """How well the tracker, one frame on, agrees with the first masks; 1 where it had no frame to track."""
    stability: float
    """How steadily area and speed go from frame to frame; 1 for a single frame."""


WEIGHTS = Evidence(seg_probability=0.0, predicted_iou=2.41, presence=0.0, agreement=2.16, stability=0.54)
"""Weight of each piece of evidence, fitted on the small model's training clips (``pipeline.workshop.fit_scores``).

Beside the other three, the first and the third told nothing there: the small model is sure of nearly every answer.
"""

BIAS = -3.19
"""Log-odds of a track that nothing speaks for."""


def track_score(evidence: Evidence, weights: Evidence = WEIGHTS, bias: float = BIAS) -> float:
    """The track's J&F as the evidence lets expect it, 0..1: a logistic function of the weighted evidence.

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
) -> Evidence:
    """Evidence for one track.

    Args:
        masks: One run-length encoding per frame, none where the object is absent.
        areas: Pixels per frame.
        bboxes: ``[x, y, width, height]`` per frame.
        scores: Presence confidence per frame.
        keyframes: Indices of the frames with first masks.
        seg_probability: Of the object's ``[SEG]`` token.
        keyframe_ious: Predicted IoU of the first mask on each keyframe.
    """
    return Evidence(
        seg_probability=_share(seg_probability),
        predicted_iou=_share(float(np.mean(keyframe_ious))),
        presence=_share(_presence(areas, scores, keyframes)),
        agreement=_share(_agreement(masks, keyframes)),
        stability=_share(_stability(areas, bboxes)),
    )


def _presence(areas: Sequence[int], scores: Sequence[float], keyframes: Sequence[int]) -> float:
    # a mask handed over as a prompt is present by definition, so keyframes say something only where nothing else does
    visible = [index for index, area in enumerate(areas) if area]
    tracked = sorted(set(visible) - set(keyframes)) or visible
    return float(np.mean([scores[index] for index in tracked])) if tracked else 0.0


def _agreement(masks: Sequence[Rle | None], keyframes: Sequence[int]) -> float:
    """Overlap of first masks with the frames beside them, as a share of the overlap of those with the next ones.

    On a keyframe itself the final mask is the first mask, whatever the tracker thinks of it. Beside it the tracker
    speaks, and what it says differs by the object's motion too; the step after that one tells by how much.
    """
    known = set(keyframes)
    found = []
    for keyframe in keyframes:
        for step in (-1, 1):
            near, far = keyframe + step, keyframe + 2 * step
            if not 0 <= near < len(masks) or near in known:
                continue
            usual = _overlap(masks[near], masks[far]) if 0 <= far < len(masks) and far not in known else 1.0
            overlap = _overlap(masks[keyframe], masks[near])
            found.append(min(1.0, overlap / usual) if usual else overlap)
    return float(np.mean(found)) if found else 1.0


def _overlap(one: Rle | None, other: Rle | None) -> float:
    if one is None or other is None:
        return float(one is other)
    return float(coco_mask.iou([one], [other], [False])[0, 0])


def _stability(areas: Sequence[int], bboxes: Sequence[Sequence[float] | None]) -> float:
    """One minus the root mean square of what changes between frames that both show the object.

    Squares let one sudden change count for more than many small ones. Steady motion is no change: the centre's speed is
    compared with the frame before, in diagonals of the box.
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


def _share(value: float) -> float:
    return min(1.0, max(0.0, value)) if math.isfinite(value) else 0.0
