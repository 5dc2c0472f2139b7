"""Ground truth beside the masks: J and F of every expression, and the true masks of those that are shown."""

from dataclasses import dataclass

import numpy as np

from pipeline.errors import UsageError
from pipeline.evaluation import evaluate
from pipeline.evaluation.protocols import protocol_of
from pipeline.evaluation.protocols.common import mean_of
from pipeline.evaluation.threshold import ThresholdCurve
from pipeline.evaluation.truth import VideoTruth, union_of
from pipeline.report.collect import Key


@dataclass(frozen=True, kw_only=True)
class TruthScore:
    """J and F of one expression against the ground truth, fractions of 1."""

    region: float
    boundary: float
    missing: str | None = None
    """Why it scored 0 without being compared."""

    @property
    def both(self) -> float:
        """J&F, the mean of J and F."""
        return (self.region + self.boundary) / 2


@dataclass(frozen=True, kw_only=True)
class Truth:
    """A dataset's result on a benchmark."""

    about: str
    """The protocol in a sentence."""
    headline: dict[str, float | None]
    """The benchmark's own averages, fractions of 1."""
    truth_scores: dict[Key, TruthScore]
    videos: dict[str, VideoTruth]
    curve: ThresholdCurve | None = None
    """What each threshold on presence gives, where the benchmark asks for rejection and nothing was rejected yet."""

    def mask(self, key: Key, frame: str) -> np.ndarray | None:
        """The true mask, bool ``[H, W]``, of an expression in a frame; None where nothing is annotated."""
        video = self.videos.get(key[0])
        if video is None or frame not in video.frames:
            return None
        targets = [expression.objects for expression in video.expressions if expression.expression_id == key[1]]
        if not targets:
            return None
        return union_of(video.annotations.objects(video.frames.index(frame)), targets[0])

    def both(self, key: Key) -> float | None:
        """J&F of an expression; None where the benchmark does not have it."""
        return self.truth_scores[key].both if key in self.truth_scores else None


def read_truth(
    benchmark: str,
    ground_truth: str,
    predictions: str,
    *,
    workers: int | None = None,
    allow_missing: bool = False,
    reject_below: float | None = None,
) -> Truth:
    """Score a dataset as ``jobs/evaluate.py`` does, and keep the ground truth at hand.

    Args:
        benchmark: Name of a benchmark.
        ground_truth: Its split folder.
        predictions: The dataset.
        workers: Processes; by default the evaluation's own choice.
        allow_missing: As for :func:`pipeline.evaluation.evaluate`.
        reject_below: As there.

    Raises:
        UsageError: Something is not there, or the benchmark is not scored per expression.
    """
    evaluation = evaluate(
        benchmark, ground_truth, predictions, workers=workers, allow_missing=allow_missing, reject_below=reject_below
    )
    truth_scores = {}
    for score in evaluation.scores:
        both = mean_of(score.values.get("J"), score.values.get("F"))
        if both is None:
            raise UsageError(f"--benchmark {benchmark}: has no J and F per expression")
        truth_scores[score.video_id, score.expression_id] = TruthScore(
            region=score.values["J"], boundary=score.values["F"], missing=score.missing
        )
    videos = {video.video_id: video for video in protocol_of(benchmark).read_truth(ground_truth)}
    return Truth(
        about=evaluation.protocol.about,
        headline=evaluation.lines[0].values,
        truth_scores=truth_scores,
        videos=videos,
        curve=evaluation.curve,
    )
