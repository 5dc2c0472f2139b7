"""Scoring one video: every expression against its target, frame by frame, and what is missing by name."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.predictions import MissingPredictionError, VideoPrediction, wrong_size
from pipeline.evaluation.region_boundary import boundary_accuracy, region_similarity
from pipeline.evaluation.truth import MaybeMask, VideoTruth, union_of

BoolArray = NDArray[np.bool_]


class Measure(NamedTuple):
    """One number per frame, and how an expression's number comes from them."""

    name: str
    of_frame: Callable[[BoolArray, BoolArray, VideoTruth, int], float]
    """From target and prediction ``[H, W]``, the video and the frame's index."""
    over_frames: Callable[[list[float]], float] = lambda values: float(np.mean(values))


def _region(truth: BoolArray, prediction: BoolArray, _video: VideoTruth, _frame: int) -> float:
    return float(region_similarity(truth[None], prediction[None])[0])


def _boundary(truth: BoolArray, prediction: BoolArray, _video: VideoTruth, _frame: int) -> float:
    return float(boundary_accuracy(truth[None], prediction[None])[0])


REGION = Measure("J", _region)
BOUNDARY = Measure("F", _boundary)


@dataclass(frozen=True, kw_only=True)
class Score:
    """What one expression (or one object, where a protocol counts objects) got."""

    video_id: str
    expression_id: str
    text: str
    values: dict[str, float]
    """By measure; a missing prediction has 0 everywhere."""
    kind: int | None = None
    """What the protocol sorts expressions by."""
    missing: str | None = None
    """Why there was nothing to score."""


@dataclass(frozen=True, kw_only=True)
class VideoResult:
    """All scores of one video."""

    video_id: str
    scores: list[Score]
    missing: dict[str, str] = field(default_factory=dict)
    """Expressions without a usable prediction, and why."""


def score_expressions(video: VideoTruth, prediction: VideoPrediction, measures: Sequence[Measure]) -> VideoResult:
    """Score every expression of a video alone, over all frames.

    One frame at a time, each annotated object decoded once: memory holds a few masks, however long the video is.
    """
    frames: dict[str, list[list[float]]] = {expression.expression_id: [] for expression in video.expressions}
    missing: dict[str, str] = {}
    for frame in range(len(video.frames)):
        if len(missing) == len(video.expressions):
            break
        objects = video.annotations.objects(frame)
        for expression in video.expressions:
            if expression.expression_id in missing:
                continue
            try:
                predicted = prediction.mask(expression.expression_id, frame)
                target, predicted = paired(union_of(objects, expression.objects), predicted, video)
            except MissingPredictionError as error:
                missing[expression.expression_id] = str(error)
                continue
            values = [measure.of_frame(target, predicted, video, frame) for measure in measures]
            frames[expression.expression_id].append(values)
    scores = []
    for expression in video.expressions:
        columns = zip(*frames[expression.expression_id], strict=True)
        why = missing.get(expression.expression_id)
        values_of = {m.name: m.over_frames(list(column)) for m, column in zip(measures, columns, strict=False)}
        scores.append(
            Score(
                video_id=video.video_id,
                expression_id=expression.expression_id,
                text=expression.text,
                values=dict.fromkeys((m.name for m in measures), 0.0) if why is not None else values_of,
                kind=expression.kind,
                missing=why,
            )
        )
    return VideoResult(video_id=video.video_id, scores=scores, missing=missing)


def paired(target: MaybeMask, predicted: MaybeMask, video: VideoTruth) -> tuple[BoolArray, BoolArray]:
    """Target and prediction as masks of one size; where both are empty and no size is known, of one pixel.

    Raises:
        MissingPredictionError: The prediction has another size than the ground truth.
    """
    size = (
        video.size or (target if target is not None else predicted if predicted is not None else np.zeros((1, 1))).shape
    )
    if predicted is not None and predicted.shape != size:
        raise MissingPredictionError(wrong_size(predicted.shape, size))
    empty = np.zeros(size, bool)
    return empty if target is None else target, empty if predicted is None else predicted
