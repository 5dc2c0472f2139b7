"""What a benchmark with absent expressions gives for every value of ``--reject-below``, and which value is best."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UsageError
from pipeline.evaluation.scoring import Score

CURVE_STEPS = 100
"""The curve is told for so many equal steps from 0 to 1."""

Floats = NDArray[np.float64]


class Threshold(NamedTuple):
    """A value for ``--reject-below``."""

    value: float
    """Expressions with a verdict (or, without one, presence) below this are rejected."""
    final: float
    """What the benchmark then gives."""
    final_without: float
    """What it gives when nothing is rejected."""
    rejected: int
    """Expressions that are rejected."""


class CurvePoint(NamedTuple):
    """What a threshold gives, fractions of 1; the names follow the benchmark's table."""

    reject_below: float
    final: float
    final_target: float
    """``final`` with J&F over the expressions that have a target alone."""
    n_acc: float
    t_acc: float
    accuracy: float
    mcc: float | None
    rejected: int


class ThresholdCurve:
    """The benchmark's numbers as a function of the threshold, in the time that sorting the expressions takes.

    Args:
        scores: Of every expression, as answered, with what it would get if it were rejected (``J_if_rejected``,
            ``F_if_rejected``); ``kind`` is the number of annotated objects.

    Raises:
        UsageError: No expression has a presence, or the split lacks target or no-target expressions.
    """

    def __init__(self, scores: Sequence[Score]) -> None:
        target = np.array([bool(score.kind) for score in scores])
        answered = np.array([score.missing is None and score.values["predicted_pixels"] > 0 for score in scores])
        probability = np.array([_probability(score) for score in scores])
        if not np.isfinite(probability).any():
            raise UsageError("no expression has a presence; only datasets of a model that says one do")
        if target.all() or not target.any():
            raise UsageError("a threshold needs expressions with and without a target")
        self._count, self._targets = len(scores), int(target.sum())
        right = np.array([score.missing is None for score in scores]) & (target == answered)
        self._right = np.array([np.sum(right & ~target), np.sum(right & target)], np.float64)
        quality = np.array([(score.values["J"] + score.values["F"]) / 2 for score in scores])
        self._quality = np.array([quality.sum(), quality[target].sum()])
        self._answered = np.array([np.sum(answered & ~target), np.sum(answered & target)], np.float64)
        can_be_rejected = np.flatnonzero(answered & np.isfinite(probability))
        order = can_be_rejected[np.argsort(probability[can_be_rejected], kind="stable")]
        self._probability: Floats = probability[order]
        rejected = np.array([(s.values["J_if_rejected"] + s.values["F_if_rejected"]) / 2 for s in scores])
        gained = (rejected - quality)[order]
        # entry k: what rejecting the k least probable expressions changes, over all and over target expressions
        self._gained = _sums_before(np.stack([gained, gained * target[order]]))
        self._rejected = _sums_before(np.stack([~target[order], target[order]]).astype(np.float64))
        self._without = self.at(0.0).final

    def at(self, threshold: float) -> CurvePoint:
        """The numbers if expressions below ``threshold`` are answered with nothing."""
        count = int(np.searchsorted(self._probability, threshold, side="left"))
        absent, present = self._count - self._targets, self._targets
        rejected_absent, rejected_present = self._rejected[:, count]
        quality_all, quality_target = self._quality + self._gained[:, count]
        n_right, t_right = self._right + np.array([rejected_absent, -rejected_present])
        n_acc, t_acc = n_right / absent, t_right / present
        alarms, hits = self._answered - self._rejected[:, count]
        return CurvePoint(
            reject_below=threshold,
            final=float(quality_all / self._count + n_acc + t_acc) / 3,
            final_target=float(quality_target / present + n_acc + t_acc) / 3,
            n_acc=float(n_acc),
            t_acc=float(t_acc),
            accuracy=float(n_right + t_right) / self._count,
            mcc=matthews(hits, present - hits, alarms, absent - alarms),
            rejected=count,
        )

    def points(self) -> list[CurvePoint]:
        """The curve from 0 to 1."""
        return [self.at(step / CURVE_STEPS) for step in range(CURVE_STEPS + 1)]

    def best(self) -> Threshold:
        """The threshold that gives the best ``final``; of equal ones the lowest.

        Tried are 0, which rejects nothing, and the middles between neighbouring values, so that another split is not
        cut at one of its own.
        """
        values = np.unique(self._probability).tolist()
        tried = [0.0, *((low + high) / 2 for low, high in pairwise(values))]
        tried += [min(1.0, values[-1] + 1e-6)] if values else []
        finals = [round(self.at(value).final, 12) for value in tried]
        best = self.at(tried[int(np.argmax(finals))])
        return Threshold(best.reject_below, best.final, self._without, best.rejected)


def matthews(hits: float, misses: float, alarms: float, rejections: float) -> float | None:
    """Matthews' correlation of "has a target" and "is answered with something"; None where one of them never varies."""
    product = (hits + alarms) * (hits + misses) * (rejections + alarms) * (rejections + misses)
    return float((hits * rejections - alarms * misses) / math.sqrt(product)) if product else None


def _probability(score: Score) -> float:
    return score.values.get("verdict", score.values.get("presence", math.inf))


def _sums_before(values: Floats) -> Floats:
    return np.concatenate([np.zeros((len(values), 1)), np.cumsum(values, axis=1)], axis=1)
