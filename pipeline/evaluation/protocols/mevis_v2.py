"""MeViS v2: v1's J and F, and whether expressions that match nothing are told from those that match something.

The server's code is not public. Two rules are open, so every combination is reported under its name: whether J&F
counts the no-target expressions, and whether "answered with nothing" means no pixel at all or fewer than 50 in every
frame, the threshold of generalized referring segmentation on images.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.stats import rankdata

from pipeline.evaluation.predictions import RlePrediction, VideoPrediction
from pipeline.evaluation.protocols import mevis
from pipeline.evaluation.protocols.common import (
    BenchmarkProtocol,
    Line,
    mean,
    mean_of,
    region_and_boundary,
)
from pipeline.evaluation.scoring import BOUNDARY, REGION, BoolArray, Measure, Score, VideoResult, score_expressions
from pipeline.evaluation.threshold import ThresholdCurve, matthews
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
    """J and F of every expression, as answered and as if it were rejected, its largest mask in pixels.

    Where the predictions say them, its presence and a second model's verdict too. ``kind`` is the number of
    annotated objects.
    """
    result = score_expressions(video, prediction, MEASURES)
    counts = {expression.expression_id: len(expression.objects) for expression in video.expressions}
    known = {}
    if isinstance(prediction, RlePrediction):
        known = {"presence": prediction.presence, "verdict": prediction.verdicts}
    scores = []
    for score in result.scores:
        key = score.expression_id
        said = {name: values[key] for name, values in known.items() if key in values}
        scores.append(replace(score, kind=counts[key], values={**score.values, **said}))
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
        "MCC": _matthews(target, no_target, few_pixels),
        "presence AUC": _area_under_curve(scores, "presence"),
        **({"verdict AUC": _area_under_curve(scores, "verdict")} if any("verdict" in s.values for s in scores) else {}),
    }


def _matthews(target: Sequence[Score], no_target: Sequence[Score], few_pixels: int) -> float | None:
    hits = sum(_pixels(score) >= few_pixels for score in target)
    alarms = sum(_pixels(score) >= few_pixels for score in no_target)
    return matthews(hits, len(target) - hits, alarms, len(no_target) - alarms)


def _area_under_curve(scores: Sequence[Score], name: str) -> float | None:
    """How often a target expression has the higher ``name`` of two, ties as a half; None without both kinds."""
    known = [score for score in scores if name in score.values]
    target = [score.values[name] for score in known if score.kind]
    others = [score.values[name] for score in known if not score.kind]
    if not target or not others:
        return None
    ranks = rankdata([*target, *others])[: len(target)]
    return float((ranks.sum() - len(target) * (len(target) + 1) / 2) / (len(target) * len(others)))


def _pixels(score: Score) -> float:
    return score.values["predicted_pixels"]


PROTOCOL = BenchmarkProtocol(
    benchmark="mevis-v2",
    name="official",
    about="final = (J&F + N-acc + T-acc) / 3; the server's rules are not public in full: each line names its reading",
    read_truth=mevis.read_truth,
    score_video=score_video,
    summarise=summarise,
    threshold_curve=ThresholdCurve,
)
