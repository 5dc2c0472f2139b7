"""The verb: ground truth and predictions in, a benchmark's numbers out."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.errors import PipelineError, UsageError
from pipeline.evaluation.parallel import map_tasks
from pipeline.evaluation.predictions import VideoPrediction
from pipeline.evaluation.protocols import BenchmarkProtocol, Line, protocol_of
from pipeline.evaluation.rejection import Rejection
from pipeline.evaluation.scoring import Score, VideoResult
from pipeline.evaluation.sources import DatasetSource, open_predictions
from pipeline.evaluation.threshold import Threshold, ThresholdCurve
from pipeline.evaluation.truth import VideoTruth
from pipeline.storage import MissingFileError, scrub

SMALL_PAIRS = 5_000
"""Fewer pairs of masks than this are scored before other processes would have started."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """A benchmark's result."""

    protocol: BenchmarkProtocol
    lines: list[Line]
    """The table; the first line is the headline."""
    scores: list[Score]
    missing: dict[tuple[str, str], str]
    """(video, expression) without a usable prediction, and why; they scored 0."""
    expressions: int
    """How many expressions the split expects."""
    source: dict[str, str]
    """What was compared: ground truth, predictions, objects."""
    rejection: Rejection | None = None
    """What was rejected; None if nothing was to be."""
    threshold: Threshold | None = None
    """The best value of ``reject_below`` on this split, if asked for."""
    curve: ThresholdCurve | None = None
    """What every value of ``reject_below`` gives; None where the benchmark or the predictions have no presence, or
    where something was rejected already."""

    def as_json(self) -> dict[str, Any]:
        """Everything, with fractions of 1; headline numbers stand at the top."""
        return {
            "benchmark": self.protocol.benchmark,
            "protocol": self.protocol.name,
            "about": self.protocol.about,
            **self.source,
            **self._rejection_as_json(),
            **self.lines[0].values,
            "results": {line.name: line.values for line in self.lines},
            "n_expressions": self.expressions,
            "n_missing": len(self.missing),
            "missing": [{"video_id": v, "expression_id": e, "why": why} for (v, e), why in self.missing.items()],
            "per_expression": {f"{score.video_id}_{score.expression_id}": score.values for score in self.scores},
        }

    def _rejection_as_json(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if self.rejection is not None:
            found["reject_below"] = self.rejection.threshold
            found["n_rejected"] = self.rejection.rejected
            found["n_rejected_by_verdict"] = self.rejection.by_verdict
            found["n_without_presence"] = self.rejection.unknown
            found["n_outdated_verdicts"] = self.rejection.outdated
        if self.threshold is not None:
            found["chosen_threshold"] = self.threshold._asdict()
        if self.curve is not None:
            found["threshold_curve"] = [point._asdict() for point in self.curve.points()]
        return found


def evaluate(
    benchmark: str,
    ground_truth: str,
    predictions: str,
    *,
    protocol: str | None = None,
    objects: str | None = None,
    strict: bool = False,
    allow_missing: bool = False,
    reject_below: float | None = None,
    choose_threshold: bool = False,
    workers: int | None = None,
) -> Evaluation:
    """Score predictions by a benchmark's protocol.

    Args:
        benchmark: ``mevis``, ``mevis-v2``, ``ref-youtube-vos``, ``ref-davis17`` or ``revos``.
        ground_truth: The benchmark's split folder.
        predictions: Our dataset, a folder or zip of PNGs in the submission layout, or Sa2VA's ``results.json``.
        protocol: Where a benchmark has several; by default its first.
        objects: For our dataset, ``first`` or ``union`` of an answer's objects; by default what the benchmark wants.
        strict: Fail when an expected expression has no usable prediction, instead of scoring it 0.
        allow_missing: Count rows of a dataset that do not read back as missing, instead of failing.
        reject_below: For our dataset, answer expressions with a lower verdict (or, without one, ``presence``) with
            nothing.
        choose_threshold: Also find the ``reject_below`` that gives the best result on this split.
        workers: Processes to use; by default the machine's cores, or one for a small benchmark.

    Raises:
        UsageError: Something is not there or not what it should be, or no row has a presence to reject by.
        DamagedDatasetError: Rows of the dataset do not read back, and ``allow_missing`` is off.
        PipelineError: With ``strict``, expressions are missing; or the storage failed.
    """
    chosen = protocol_of(benchmark, protocol)
    if choose_threshold and (chosen.threshold_curve is None or reject_below is not None):
        raise UsageError(f"--choose-threshold: not for {benchmark}, or not together with --reject-below")
    try:
        truths = chosen.read_truth(ground_truth)
    except MissingFileError as error:
        raise UsageError(str(error)) from error
    used = objects or chosen.objects
    source = open_predictions(
        predictions,
        objects=used,
        allow_missing=allow_missing,
        reject_below=reject_below,
        wanted={truth.video_id for truth in truths},
        otherwise=chosen.read_predictions,
    )
    if workers is None:
        pairs = sum(len(truth.frames) * len(truth.expressions) for truth in truths)
        workers = 1 if pairs < SMALL_PAIRS else os.cpu_count() or 1
    items = ((chosen.benchmark, chosen.name, truth, prediction) for truth, prediction in source.videos(truths))
    results = {result.video_id: result for result in map_tasks(score_video, items, workers)}
    ordered = [results[truth.video_id] for truth in truths]
    missing = {(result.video_id, key): why for result in ordered for key, why in result.missing.items()}
    expressions = sum(len(truth.expressions) for truth in truths)
    if strict and missing:
        raise PipelineError(f"{scrub(predictions)}: {missing_summary(missing, expressions)}")
    scores = [score for result in ordered for score in result.scores]
    curve = _curve_of(chosen, scores, must_be=choose_threshold) if reject_below is None else None
    return Evaluation(
        protocol=chosen,
        lines=chosen.summarise(scores),
        scores=scores,
        missing=missing,
        expressions=expressions,
        source={"ground_truth": scrub(ground_truth), "predictions": scrub(predictions), "objects": used},
        rejection=source.rejection if isinstance(source, DatasetSource) and reject_below is not None else None,
        threshold=curve.best() if curve is not None and choose_threshold else None,
        curve=curve,
    )


def _curve_of(protocol: BenchmarkProtocol, scores: Sequence[Score], *, must_be: bool) -> ThresholdCurve | None:
    """The curve; None where there cannot be one, unless it ``must_be``: then UsageError is raised."""
    if protocol.threshold_curve is None:
        return None
    try:
        return protocol.threshold_curve(scores)
    except UsageError as error:
        if must_be:
            raise UsageError(f"--choose-threshold: {error}") from error
        return None


def score_video(benchmark: str, protocol: str, truth: VideoTruth, prediction: VideoPrediction) -> VideoResult:
    """Score one video by the protocol named; runs in a worker process."""
    return protocol_of(benchmark, protocol).score_video(truth, prediction)


def missing_summary(missing: dict[tuple[str, str], str], expressions: int) -> str:
    """One line: how many are missing, and the first of them by name."""
    (video_id, expression_id), why = next(iter(missing.items()))
    return (
        f"{len(missing)} of {expressions} expressions have no usable prediction, "
        f"the first is expression {expression_id!r} of video {video_id!r}: {why}"
    )


def csv_rows(scores: Sequence[Score]) -> list[dict[str, Any]]:
    """One row per score: ids, text, every measure, why it is missing."""
    return [
        {
            "video_id": score.video_id,
            "expression_id": score.expression_id,
            "expression": score.text,
            **score.values,
            "missing": score.missing or "",
        }
        for score in scores
    ]
