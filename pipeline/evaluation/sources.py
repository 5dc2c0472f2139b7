"""Where predictions of a split come from: a mask dataset, a ``results.json``, or pictures as they are submitted."""

import json
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from pipeline.dataset.reader import MaskDataset
from pipeline.errors import UsageError
from pipeline.evaluation.grouped_rows import VideoRows, expression_tracks, rows_by_video
from pipeline.evaluation.pictures import PictureTree
from pipeline.evaluation.predictions import (
    IndexedPrediction,
    MissingPredictionError,
    PicturePrediction,
    RlePrediction,
    VideoPrediction,
)
from pipeline.evaluation.rejection import Rejection, open_rejection, presence_of
from pipeline.evaluation.truth import VideoTruth
from pipeline.masks import compressed
from pipeline.schema import Rle, Status
from pipeline.storage import MissingFileError, exists, join, read_bytes, scrub

ROW_COLUMNS = ("video_id", "expression_id", "object_id", "status", "error", "frames", "masks", "presence")


class PredictionSource(Protocol):
    """Predictions of a whole split."""

    def videos(self, truths: Sequence[VideoTruth]) -> Iterator[tuple[VideoTruth, VideoPrediction]]:
        """Pair every video of ``truths`` with its prediction, each exactly once, in any order."""


@dataclass(frozen=True, kw_only=True)
class DatasetSource:
    """A mask dataset of ours."""

    url: str
    objects: str = "first"
    allow_missing: bool = False
    """Whether rows that do not read back count as missing predictions."""
    rejection: Rejection = field(default_factory=lambda: Rejection(None))
    """What to reject; counts it while the videos are given out."""

    def videos(self, truths: Sequence[VideoTruth]) -> Iterator[tuple[VideoTruth, VideoPrediction]]:
        """See PredictionSource; streams the dataset, holding the videos that are not complete yet."""
        waiting = {truth.video_id: truth for truth in truths}
        dataset = MaskDataset(self.url, skip_damaged=self.allow_missing)
        for video in rows_by_video(dataset, self.rejection.columns(*ROW_COLUMNS), set(waiting)):
            truth = waiting.pop(video.video_id)
            yield truth, _prediction_of_rows(video, truth, self.objects, self.rejection)
        for truth in waiting.values():
            yield truth, RlePrediction(tracks={}, missing={})


@dataclass(frozen=True, kw_only=True)
class ResultsSource:
    """The ``results.json`` of Sa2VA's evaluation scripts."""

    url: str

    def videos(self, truths: Sequence[VideoTruth]) -> Iterator[tuple[VideoTruth, VideoPrediction]]:
        """See PredictionSource."""
        try:
            results = json.loads(read_bytes(self.url))
        except (ValueError, RecursionError) as error:
            raise UsageError(f"{scrub(self.url)}: not a JSON file: {error}") from error
        if not isinstance(results, dict) or not all(isinstance(video, dict) for video in results.values()):
            raise UsageError(f'{scrub(self.url)}: expected {{VIDEO: {{ID: {{"prediction_masks": [...]}}}}}}')
        for truth in truths:
            yield truth, _prediction_of_results(results.get(truth.video_id, {}), truth)


@dataclass(frozen=True, kw_only=True)
class PictureSource:
    """A folder or zip of PNGs in a submission's layout."""

    tree: PictureTree
    later_frames_may_lack: bool = False

    def videos(self, truths: Sequence[VideoTruth]) -> Iterator[tuple[VideoTruth, VideoPrediction]]:
        """See PredictionSource."""
        if any(self.tree.has_folder(f"anno_{annotator}") for annotator in range(4)):
            for truth in truths:
                yield truth, IndexedPrediction(tree=self.tree, video_id=truth.video_id, frames=truth.frames)
            return
        root = self._root(truths)
        for truth in truths:
            yield (
                truth,
                PicturePrediction(
                    tree=self.tree,
                    root=root,
                    video_id=truth.video_id,
                    frames=truth.frames,
                    later_frames_may_lack=self.later_frames_may_lack,
                ),
            )

    def _root(self, truths: Sequence[VideoTruth]) -> str:
        for root in ("", "Annotations/"):
            if any(self.tree.has_folder(root + truth.video_id) for truth in truths):
                return root
        found = ", ".join(self.tree.folders()[:5]) or "nothing"
        raise UsageError(
            f"{scrub(self.tree.url)}: none of the {len(truths)} videos is here or under Annotations/: "
            f"expected folders such as {truths[0].video_id!r}, found {found}"
        )


def open_predictions(
    url: str,
    *,
    objects: str = "first",
    allow_missing: bool = False,
    reject_below: float | None = None,
    wanted: Collection[str] | None = None,
    otherwise: Callable[[str], PredictionSource] | None = None,
) -> PredictionSource:
    """Find out what kind of predictions ``url`` holds.

    Args:
        url: Our dataset's folder, a folder or zip of PNGs, or a ``results.json``; on any fsspec URL.
        objects: For our dataset: ``first`` scores the first object of an answer alone, as the published evaluation
            does; ``union`` all of them together.
        allow_missing: For our dataset: rows that do not read back count as missing predictions.
        reject_below: For our dataset: expressions with a lower verdict or ``presence`` are answered with nothing.
        wanted: Ids of the videos that matter; by default all.
        otherwise: Opens what is no dataset of ours, for benchmarks with predictions in a form of their own.

    Raises:
        UsageError: Nothing is there, or these predictions have no presence to reject by.
    """
    if not exists(url):
        raise UsageError(f"{scrub(url)}: no such file or folder")
    is_dataset = not url.lower().endswith((".json", ".zip")) and exists(join(url, "masks"))
    if reject_below is not None and not is_dataset:
        raise UsageError(f"{scrub(url)}: no mask dataset, so it has no presence to reject by")
    if otherwise is not None and not is_dataset:
        return otherwise(url)
    if url.lower().endswith(".json"):
        return ResultsSource(url=url)
    if url.lower().endswith(".zip"):
        return PictureSource(tree=PictureTree(url))
    if is_dataset:
        dataset = MaskDataset(url, skip_damaged=allow_missing)
        rejection = open_rejection(dataset, reject_below, wanted)
        return DatasetSource(url=url, objects=objects, allow_missing=allow_missing, rejection=rejection)
    try:
        return PictureSource(tree=PictureTree(url))
    except MissingFileError as error:
        raise UsageError(str(error)) from error


def _prediction_of_rows(video: VideoRows, truth: VideoTruth, objects: str, rejection: Rejection) -> RlePrediction:
    tracks: dict[str, list[list[Rle | None]]] = {}
    missing = dict.fromkeys(video.unreadable, "its rows do not read back: damaged file")
    presence: dict[str, float] = {}
    verdicts: dict[str, float] = {}
    for expression_id, answer in expression_tracks(video.rows, objects).items():
        if answer[0]["status"] == Status.FAILED:
            missing[expression_id] = f"failed: {scrub(str(answer[0]['error']))}"
            continue
        known = presence_of(answer)
        if known is not None:
            presence[expression_id] = known
        verdict = rejection.verdict_of(answer)
        if verdict is not None:
            verdicts[expression_id] = verdict
        if rejection.rejects(answer):
            tracks[expression_id] = [[None] * len(truth.frames)]
            continue
        try:
            tracks[expression_id] = [
                _in_order(row["masks"] or [None] * len(row["frames"]), row["frames"], truth.frames) for row in answer
            ]
        except MissingPredictionError as error:
            missing[expression_id] = str(error)
    return RlePrediction(tracks=tracks, missing=missing, size=truth.size, presence=presence, verdicts=verdicts)


def _prediction_of_results(results: dict[str, Any], truth: VideoTruth) -> RlePrediction:
    tracks: dict[str, list[list[Rle | None]]] = {}
    missing: dict[str, str] = {}
    for expression_id, answer in results.items():
        masks = answer.get("prediction_masks") if isinstance(answer, dict) else None
        try:
            if not isinstance(masks, list):
                raise MissingPredictionError("has no list of prediction_masks")
            masks = [None if rle is None else compressed(rle) for rle in masks]
            tracks[expression_id] = [_in_order(masks, answer.get("frames") or truth.frames, truth.frames)]
        except (MissingPredictionError, ValueError) as error:
            missing[expression_id] = str(error)
    return RlePrediction(tracks=tracks, missing=missing, size=truth.size)


def _in_order(masks: list[Rle | None], frames: Sequence[str], wanted: Sequence[str]) -> list[Rle | None]:
    """The masks of the ``wanted`` frames. Raises MissingPredictionError when one is not among them."""
    if len(masks) != len(frames):
        raise MissingPredictionError(f"has {len(masks)} masks for {len(frames)} frames")
    if list(frames) == list(wanted):
        return masks
    by_frame = dict(zip(frames, masks, strict=True))
    absent = [frame for frame in wanted if frame not in by_frame]
    if absent:
        raise MissingPredictionError(f"{len(absent)} of {len(wanted)} frames are missing, the first is {absent[0]!r}")
    return [by_frame[frame] for frame in wanted]
