"""What every protocol is made of, and the averages most of them share."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from pipeline.evaluation.predictions import VideoPrediction
from pipeline.evaluation.scoring import BOUNDARY, REGION, Score, VideoResult, score_expressions
from pipeline.evaluation.sources import PredictionSource
from pipeline.evaluation.threshold import ThresholdCurve
from pipeline.evaluation.truth import VideoTruth


class Line(NamedTuple):
    """One line of a protocol's table: a name and its numbers, fractions of 1 or None where nothing was averaged."""

    name: str
    values: dict[str, float | None]


@dataclass(frozen=True, kw_only=True)
class BenchmarkProtocol:
    """How one benchmark is scored."""

    benchmark: str
    name: str
    about: str
    """The rule in a sentence or two, printed with every result: numbers of different protocols do not compare."""
    read_truth: Callable[[str], list[VideoTruth]]
    score_video: Callable[[VideoTruth, VideoPrediction], VideoResult]
    summarise: Callable[[Sequence[Score]], list[Line]]
    """Lines of the table; the first is the headline."""
    objects: str = "first"
    """Objects of a mask dataset's answers that count if nothing else is asked for: ``first``, ``union`` or ``all``."""
    read_predictions: Callable[[str], PredictionSource] | None = None
    """Reads predictions in the benchmark's own form, where they are no mask dataset; None for pictures and the like."""
    threshold_curve: Callable[[Sequence[Score]], ThresholdCurve] | None = None
    """What every threshold on presence gives; None if the benchmark asks for no rejection."""


def score_region_and_boundary(video: VideoTruth, prediction: VideoPrediction) -> VideoResult:
    """J and F of every expression, averaged over all frames."""
    return score_expressions(video, prediction, (REGION, BOUNDARY))


def flat_mean(scores: Sequence[Score]) -> list[Line]:
    """J and F averaged over all expressions of all videos alike, and the mean of the two."""
    return [Line("all expressions", region_and_boundary(scores))]


def region_and_boundary(scores: Sequence[Score]) -> dict[str, float | None]:
    """Mean J, mean F and their mean."""
    region, boundary = (mean(score.values[name] for score in scores) for name in ("J", "F"))
    return {"J&F": mean_of(region, boundary), "J": region, "F": boundary}


def mean(values: Iterable[float]) -> float | None:
    """The mean in double precision; None of nothing."""
    listed = list(values)
    return float(np.mean(listed)) if listed else None


def mean_of(*values: float | None) -> float | None:
    """The mean of numbers that are all there; None when one is not."""
    present = [value for value in values if value is not None]
    return sum(present) / len(present) if len(present) == len(values) else None
