"""Ref-SAV: J, F and accuracy A for long and for short expressions, averaged as ReVOS does."""

from collections.abc import Sequence

from pipeline.evaluation.predictions import VideoPrediction
from pipeline.evaluation.protocols.common import BenchmarkProtocol, Line, mean_of
from pipeline.evaluation.protocols.revos import ACCURACY, rounded_means
from pipeline.evaluation.scoring import BOUNDARY, REGION, Score, VideoResult, score_expressions
from pipeline.evaluation.truth import VideoTruth, mask_dict_truths

LONG, SHORT = 0, 1
META = ("meta_expressions_valid.json", "meta_expressions.json")


def read_truth(ground_truth: str) -> list[VideoTruth]:
    """Read ``meta_expressions_valid.json`` and ``mask_dict.json``. Raises UsageError where they do not fit."""
    return mask_dict_truths(ground_truth, META)


def score_video(video: VideoTruth, prediction: VideoPrediction) -> VideoResult:
    """J, F and A of every expression."""
    return score_expressions(video, prediction, (REGION, BOUNDARY, ACCURACY))


def summarise(scores: Sequence[Score]) -> list[Line]:
    """The mean of long and short expressions, then each."""
    names = ("J", "F", "A")
    long, short = (rounded_means([score for score in scores if score.kind == kind], names) for kind in (LONG, SHORT))
    overall = {name: mean_of(long[name], short[name]) for name in long}
    return [Line("mean of long and short", overall), Line("long", long), Line("short", short)]


PROTOCOL = BenchmarkProtocol(
    benchmark="ref-sav",
    name="official",
    about="every frame counts; each expression is rounded to two decimals of percent; overall is the plain mean of the "
    "means over long and over short expressions",
    read_truth=read_truth,
    score_video=score_video,
    summarise=summarise,
)
