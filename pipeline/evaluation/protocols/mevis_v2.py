"""MeViS v2: v1's J and F, and whether expressions that match nothing are told from those that match something.

The server's code is not public. Two rules are open, so every combination is reported under its name: whether J&F
counts the no-target expressions, and whether "answered with nothing" means no pixel at all or fewer than 50 in every
frame, the threshold of generalized referring segmentation on images.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from pipeline.evaluation.predictions import VideoPrediction
from pipeline.evaluation.protocols import mevis
from pipeline.evaluation.protocols.common import Line, Protocol, mean, mean_of, region_and_boundary
from pipeline.evaluation.scoring import BOUNDARY, REGION, BoolArray, Measure, Score, VideoResult, score_expressions
from pipeline.evaluation.truth import VideoTruth

FEW_PIXELS = 50


def _predicted_pixels(_truth: BoolArray, prediction: BoolArray, _video: VideoTruth, _frame: int) -> float:
    return float(np.count_nonzero(prediction))


PREDICTED_PIXELS = Measure("predicted_pixels", _predicted_pixels, max)


def score_video(video: VideoTruth, prediction: VideoPrediction) -> VideoResult:
    """J and F of every expression, and its largest mask in pixels; ``kind`` is the number of annotated objects."""
    result = score_expressions(video, prediction, (REGION, BOUNDARY, PREDICTED_PIXELS))
    counts = {expression.expression_id: len(expression.objects) for expression in video.expressions}
    scores = [replace(score, kind=counts[score.expression_id]) for score in result.scores]
    return VideoResult(video_id=result.video_id, scores=scores, missing=result.missing)


def summarise(scores: Sequence[Score]) -> list[Line]:
    """One line per reading of the open rules; the first takes all expressions and no pixel at all."""
    target = [score for score in scores if score.kind]
    no_target = [score for score in scores if not score.kind]
    lines = []
    for threshold, nothing in ((1, "no pixel"), (FEW_PIXELS, f"under {FEW_PIXELS} pixels")):
        n_acc = mean(float(score.missing is None and _pixels(score) < threshold) for score in no_target)
        t_acc = mean(float(score.missing is None and _pixels(score) >= threshold) for score in target)
        for counted, which in ((scores, "all expressions"), (target, "target expressions")):
            quality = region_and_boundary(counted)
            final = mean_of(quality["J&F"], n_acc, t_acc)
            lines.append(
                Line(
                    f"J&F over {which}, nothing = {nothing}",
                    {"final": final, **quality, "N-acc": n_acc, "T-acc": t_acc},
                )
            )
    return lines


def _pixels(score: Score) -> float:
    return score.values["predicted_pixels"]


PROTOCOL = Protocol(
    benchmark="mevis-v2",
    name="official",
    about="final = (J&F + N-acc + T-acc) / 3; the server's rules are not public in full: each line names its reading",
    read_truth=mevis.read_truth,
    score_video=score_video,
    summarise=summarise,
)
