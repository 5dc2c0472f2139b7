"""Ref-DAVIS17 as DAVIS scores it: four annotators, objects merged per annotator, labels matched, void left out.

Equal to davis2017-evaluation in its unsupervised mode, run once per annotator, and the mean of the four runs. Two
differences, both on purpose: an expression without a prediction scores 0 against every object (there it is an empty
mask, which scores 1 in frames without the object), and decay is right past 256 frames.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from pipeline.errors import UsageError
from pipeline.evaluation.predictions import IndexedPrediction, MissingPredictionError, VideoPrediction
from pipeline.evaluation.protocols.common import BenchmarkProtocol, Line, mean, mean_of
from pipeline.evaluation.protocols.ref_davis17 import ANNOTATIONS, read_davis_meta
from pipeline.evaluation.protocols.ref_youtube_vos import indexed_truths
from pipeline.evaluation.region_boundary import boundary_accuracy, region_similarity
from pipeline.evaluation.scoring import Score, VideoResult, paired
from pipeline.evaluation.truth import IndexedAnnotations, VideoTruth, indexed_folder

ANNOTATORS = 4
VOID = 255
MAX_PROPOSALS = 20
"""DAVIS refuses pictures with a higher label than this."""

Labels = NDArray[np.integer]


def read_truth(ground_truth: str) -> list[VideoTruth]:
    """Read the indexed annotations, DAVIS's own where they are at hand.

    Raises:
        UsageError: They are missing, or expressions are not numbered 4 * (object - 1) + annotator.
    """
    videos = read_davis_meta(ground_truth)
    for video_id, video in videos.items():
        objects_of(video_id, list(video["expressions"]))
    davis_first = sorted(ANNOTATIONS, key=lambda folder: "unsupervised" not in folder)
    return indexed_truths(videos, indexed_folder(ground_truth, davis_first))


def objects_of(video_id: str, expression_ids: Sequence[str]) -> int:
    """The number of objects of a video, from its expression ids.

    Raises:
        UsageError: The ids are not 0, 1, ... up to four per object.
    """
    count = len(expression_ids)
    if count % ANNOTATORS or set(expression_ids) != {str(number) for number in range(count)}:
        raise UsageError(
            f"video {video_id!r}: expressions must be numbered 4 * (object - 1) + annotator, four for every object; "
            f"found {count}: {', '.join(list(expression_ids)[:8])}"
        )
    return count // ANNOTATORS


def expression_of(annotator: int, label: int) -> str:
    """The expression by which ``annotator`` (0 to 3) named the object with this label (1, 2, ...)."""
    return str(ANNOTATORS * (label - 1) + annotator)


def merge(masks: Sequence[NDArray[np.bool_]]) -> NDArray[np.uint8]:
    """Merge the masks ``[H, W]`` of objects 1, 2, ... into one picture of labels; the lowest label wins overlaps."""
    labels = np.zeros(masks[0].shape, np.uint8)
    for label in range(len(masks), 0, -1):
        labels[masks[label - 1]] = label
    return labels


@dataclass
class _Matrix:
    """J and F of every predicted label (rows) against every object (columns), frame by frame."""

    missing: dict[int, str] = field(default_factory=dict)
    """Labels without a usable prediction."""
    highest: int = 0
    """The highest label seen in any frame."""
    frames: list[NDArray[np.float64]] = field(default_factory=list)
    """Per frame ``[2, labels, objects]``."""


def score_video(video: VideoTruth, prediction: VideoPrediction) -> VideoResult:
    """Match and score each annotator's objects; one score per annotator and object."""
    annotations = video.annotations
    assert isinstance(annotations, IndexedAnnotations)
    expected = objects_of(video.video_id, [expression.expression_id for expression in video.expressions])
    objects = _object_count(annotations)
    rows = max(objects, MAX_PROPOSALS if isinstance(prediction, IndexedPrediction) else expected)
    matrices = [_Matrix() for _ in range(ANNOTATORS)]
    for frame in range(len(video.frames)):
        truth = annotations.labels(frame)
        for annotator, matrix in enumerate(matrices):
            predicted = _labels(video, prediction, annotator, frame, expected, matrix)
            matrix.highest = max(matrix.highest, int(predicted.max(initial=0)))
            matrix.frames.append(_frame_matrix(truth, predicted, objects, rows))
    scores: list[Score] = []
    missing: dict[str, str] = {}
    for annotator, matrix in enumerate(matrices):
        scores += _matched(video.video_id, annotator, matrix, objects)
        whole = isinstance(prediction, IndexedPrediction)
        for label, why in matrix.missing.items():
            missing[f"anno_{annotator}" if whole else expression_of(annotator, label)] = why
    return VideoResult(video_id=video.video_id, scores=scores, missing=missing)


def _object_count(annotations: IndexedAnnotations) -> int:
    """DAVIS counts a sequence's objects by the highest label of its first annotation."""
    first = annotations.labels(0)
    return int(first[first != VOID].max(initial=0))


def _labels(
    video: VideoTruth, prediction: VideoPrediction, annotator: int, frame: int, expected: int, matrix: _Matrix
) -> Labels:
    """One annotator's merged picture; what is missing is noted in ``matrix`` and left empty."""
    if isinstance(prediction, IndexedPrediction):
        return _merged_labels(video, prediction, annotator, frame, matrix)
    assert video.size is not None
    masks = []
    for label in range(1, expected + 1):
        mask = None
        if label not in matrix.missing:
            try:
                mask = prediction.mask(expression_of(annotator, label), frame)
                _, mask = paired(None, mask, video)
            except MissingPredictionError as error:
                matrix.missing[label] = str(error)
                mask = None
        masks.append(np.zeros(video.size, bool) if mask is None else mask)
    return merge(masks) if masks else np.zeros(video.size, np.uint8)


def _merged_labels(
    video: VideoTruth, prediction: IndexedPrediction, annotator: int, frame: int, matrix: _Matrix
) -> Labels:
    assert video.size is not None
    empty = np.zeros(video.size, np.uint8)
    if matrix.missing:
        return empty
    try:
        labels = prediction.labels(annotator, frame)
        paired(None, labels, video)  # type: ignore[arg-type]  # only the size is looked at
        if labels.max(initial=0) > MAX_PROPOSALS:
            raise MissingPredictionError(f"has the label {labels.max()}; DAVIS allows {MAX_PROPOSALS}")
    except MissingPredictionError as error:
        matrix.missing.update(dict.fromkeys(range(1, MAX_PROPOSALS + 1), str(error)))
        return empty
    return labels


def _frame_matrix(truth: Labels, predicted: Labels, objects: int, rows: int) -> NDArray[np.float64]:
    """J and F ``[2, rows, objects]`` of one frame; labels that are absent share one computation."""
    valid = truth != VOID
    present = set(np.unique(predicted[valid]).tolist())
    matrix = np.zeros((2, rows, objects))
    nothing = np.zeros(truth.shape, bool)
    for column in range(objects):
        target = (truth == column + 1)[None]
        absent = [region_similarity(target, nothing[None])[0], boundary_accuracy(target, nothing[None])[0]]
        for row in range(rows):
            if row + 1 in present:
                mask = ((predicted == row + 1) & valid)[None]
                matrix[:, row, column] = region_similarity(target, mask)[0], boundary_accuracy(target, mask)[0]
            else:
                matrix[:, row, column] = absent
    return matrix


def _matched(video_id: str, annotator: int, matrix: _Matrix, objects: int) -> list[Score]:
    # [2, labels, objects, frames]; DAVIS pads labels up to the number of objects and knows none above the highest seen.
    measured = np.stack(matrix.frames, axis=-1)[:, : max(matrix.highest, objects, *matrix.missing, 0)]
    for label in matrix.missing:
        if label <= measured.shape[1]:
            measured[:, label - 1] = 0
    labels, columns = linear_sum_assignment(-measured.mean(axis=3).mean(axis=0))
    scores = []
    for label, column in sorted(zip(labels, columns, strict=True), key=lambda pair: int(pair[1])):
        region, boundary = measured[:, label, column]
        scores.append(
            Score(
                video_id=video_id,
                expression_id=f"anno_{annotator}/object_{column + 1}",
                text=f"matched label {label + 1}",
                values={
                    **{f"J{suffix}": value for suffix, value in _statistics(region).items()},
                    **{f"F{suffix}": value for suffix, value in _statistics(boundary).items()},
                },
                kind=annotator,
                missing=matrix.missing.get(int(label) + 1),
            )
        )
    return scores


def _statistics(values: NDArray[np.float64]) -> dict[str, float]:
    """DAVIS's three numbers of one object: mean, share of frames above 0.5, first minus last quarter."""
    edges = (np.round(np.linspace(1, len(values), 5) + 1e-10) - 1).astype(int)
    first, last = values[edges[0] : edges[1] + 1], values[edges[3] : edges[4] + 1]
    return {
        "": float(np.mean(values)),
        "-Recall": float(np.mean(values > 0.5)),
        "-Decay": float(np.mean(first) - np.mean(last)),
    }


def summarise(scores: Sequence[Score]) -> list[Line]:
    """The mean of the four annotators, then each of them: flat over all objects of all videos."""
    lines = []
    for annotator in range(ANNOTATORS):
        own = [score for score in scores if score.kind == annotator]
        names = ("J", "J-Recall", "J-Decay", "F", "F-Recall", "F-Decay")
        values = {name: mean(score.values[name] for score in own) for name in names}
        lines.append(Line(f"anno_{annotator}", {"J&F": mean_of(values["J"], values["F"]), **values}))
    names_of_all = lines[0].values
    return [
        Line(
            "mean of four annotators", {name: mean_of(*(line.values[name] for line in lines)) for name in names_of_all}
        ),
        *lines,
    ]


PROTOCOL = BenchmarkProtocol(
    benchmark="ref-davis17",
    name="four-annotator",
    about="DAVIS unsupervised evaluation per annotator (merged objects, Hungarian matching, void left out), "
    "flat over objects, mean of the four; not comparable with per-expression numbers",
    read_truth=read_truth,
    score_video=score_video,
    summarise=summarise,
)
