"""MeViS v2: v1's J and F, and whether expressions that match nothing are told from those that match something.

The server's code is not public. Two rules are open, so every combination is reported under its name: whether J&F
counts the no-target expressions, and whether "answered with nothing" means no pixel at all or fewer than 50 in every
frame, the threshold of generalized referring segmentation on images.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
from scipy.stats import rankdata

from pipeline.errors import UsageError
from pipeline.evaluation.predictions import RlePrediction, VideoPrediction
from pipeline.evaluation.protocols import mevis
from pipeline.evaluation.protocols.common import (
    BenchmarkProtocol,
    Line,
    Threshold,
    mean,
    mean_of,
    region_and_boundary,
)
from pipeline.evaluation.scoring import BOUNDARY, REGION, BoolArray, Measure, Score, VideoResult, score_expressions
from pipeline.evaluation.truth import VideoTruth

FEW_PIXELS = 50


def _predicted_pixels(_truth: BoolArray, prediction: BoolArray, _video: VideoTruth, _frame: int) -> float:
    return float(np.count_nonzero(prediction))


def _region_of_nothing(truth: BoolArray, _prediction: BoolArray, _video: VideoTruth, _frame: int) -> float:
    return float(not truth.any())


def _boundary_of_nothing(truth: BoolArray, _prediction: BoolArray, _video: VideoTruth, _frame: int) -> float:
    return float(not truth.any() or bool(truth.all()))  # a mask of the whole picture has no boundary either


MEASURES = (
    REGION,
    BOUNDARY,
    Measure("predicted_pixels", _predicted_pixels, max),
    Measure("J_if_rejected", _region_of_nothing),
    Measure("F_if_rejected", _boundary_of_nothing),
)


def score_video(video: VideoTruth, prediction: VideoPrediction) -> VideoResult:
    """J and F of every expression, as answered and as if it were rejected, its largest mask in pixels and its presence.

    ``kind`` is the number of annotated objects.
    """
    result = score_expressions(video, prediction, MEASURES)
    counts = {expression.expression_id: len(expression.objects) for expression in video.expressions}
    presence = prediction.presence if isinstance(prediction, RlePrediction) else {}
    scores = []
    for score in result.scores:
        known = presence.get(score.expression_id)
        values = score.values if known is None else {**score.values, "presence": known}
        scores.append(replace(score, kind=counts[score.expression_id], values=values))
    return VideoResult(video_id=result.video_id, scores=scores, missing=result.missing)


def summarise(scores: Sequence[Score]) -> list[Line]:
    """One line per reading of the open rules; the first takes all expressions and no pixel at all."""
    lines = []
    for threshold, nothing in ((1, "no pixel"), (FEW_PIXELS, f"under {FEW_PIXELS} pixels")):
        for all_count, which in ((True, "all expressions"), (False, "target expressions")):
            values = _line(scores, few_pixels=threshold, all_count=all_count)
            lines.append(Line(f"J&F over {which}, nothing = {nothing}", values))
    return lines


def _line(scores: Sequence[Score], *, few_pixels: int = 1, all_count: bool = True) -> dict[str, float | None]:
    target = [score for score in scores if score.kind]
    no_target = [score for score in scores if not score.kind]
    quality = region_and_boundary(scores if all_count else target)
    n_acc = mean(float(score.missing is None and _pixels(score) < few_pixels) for score in no_target)
    t_acc = mean(float(score.missing is None and _pixels(score) >= few_pixels) for score in target)
    right = [float(score.missing is None and (_pixels(score) >= few_pixels) == bool(score.kind)) for score in scores]
    return {
        "final": mean_of(quality["J&F"], n_acc, t_acc),
        **quality,
        "N-acc": n_acc,
        "T-acc": t_acc,
        "accuracy": mean(right),
        "MCC": _matthews([(bool(score.kind), _pixels(score) >= few_pixels) for score in scores]),
        "presence AUC": _area_under_curve(scores),
    }


def _matthews(pairs: Sequence[tuple[bool, bool]]) -> float | None:
    """Matthews' correlation of "has a target" and "is answered with something"; None where one of them never varies."""
    table = Counter(pairs)
    hits, rejections = table[True, True], table[False, False]
    misses, alarms = table[True, False], table[False, True]
    product = (hits + alarms) * (hits + misses) * (rejections + alarms) * (rejections + misses)
    return (hits * rejections - alarms * misses) / math.sqrt(product) if product else None


def _area_under_curve(scores: Sequence[Score]) -> float | None:
    """How often a target expression has the higher presence of two, ties as a half; None without both kinds."""
    known = [score for score in scores if "presence" in score.values]
    target = [score.values["presence"] for score in known if score.kind]
    others = [score.values["presence"] for score in known if not score.kind]
    if not target or not others:
        return None
    ranks = rankdata([*target, *others])[: len(target)]
    return float((ranks.sum() - len(target) * (len(target) + 1) / 2) / (len(target) * len(others)))


def choose_threshold(scores: Sequence[Score]) -> Threshold:
    """The presence below which rejecting gives the best ``final``; of equal ones the lowest.

    Tried are 0, which rejects nothing, and the middles between neighbouring values, so that another split is not cut at
    one of its own.

    Raises:
        UsageError: No expression has a presence, or the split lacks target or no-target expressions.
    """
    values = sorted({score.values["presence"] for score in scores if "presence" in score.values})
    if not values:
        raise UsageError("--choose-threshold: no expression has a presence; only datasets of a model that says one do")
    without = _line(scores)["final"]
    if without is None:
        raise UsageError("--choose-threshold: the split needs expressions with and without a target")
    tried = [0.0, *((low + high) / 2 for low, high in pairwise(values)), min(1.0, values[-1] + 1e-6)]
    finals = [_line([_rejected(score, value) for score in scores])["final"] or 0.0 for value in tried]
    best = int(np.argmax(finals))
    count = sum(_is_rejected(score, tried[best]) for score in scores)
    return Threshold(value=tried[best], final=finals[best], final_without=without, rejected=count)


def _is_rejected(score: Score, below: float) -> bool:
    return score.missing is None and _pixels(score) > 0 and score.values.get("presence", 1.0) < below


def _rejected(score: Score, below: float) -> Score:
    """The score that an expression gets if those with a presence below this are answered with nothing."""
    if not _is_rejected(score, below):
        return score
    nothing = {"J": score.values["J_if_rejected"], "F": score.values["F_if_rejected"], "predicted_pixels": 0.0}
    return replace(score, values={**score.values, **nothing})


def _pixels(score: Score) -> float:
    return score.values["predicted_pixels"]


PROTOCOL = BenchmarkProtocol(
    benchmark="mevis-v2",
    name="official",
    about="final = (J&F + N-acc + T-acc) / 3; the server's rules are not public in full: each line names its reading",
    read_truth=mevis.read_truth,
    score_video=score_video,
    summarise=summarise,
    choose_threshold=choose_threshold,
)
