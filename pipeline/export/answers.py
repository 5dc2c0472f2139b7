"""The dataset's answers to a manifest: first whether all are there, then one video after the other."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.dataset.reader import MaskDataset
from pipeline.errors import PipelineError
from pipeline.evaluation.grouped_rows import Row, expression_tracks, rows_by_video
from pipeline.export.expected import source_size
from pipeline.masks import decode_masks, encode_masks, validate_rle
from pipeline.schema import Expression, Rle, Status, VideoTask

PLAN_COLUMNS = ("video_id", "expression_id", "object_id", "expression", "status", "error", "height", "width", "frames")
COLUMNS = (*PLAN_COLUMNS, "masks", "score")


class IncompleteDatasetError(PipelineError):
    """Expressions of the manifest have no usable answer in the dataset."""

    def __init__(self, message: str, missing: dict[tuple[str, str], str]) -> None:
        super().__init__(message)
        self.missing = missing


@dataclass(frozen=True, kw_only=True)
class Track:
    """One object of an answer."""

    object_id: int
    masks: list[Rle | None]
    """One per frame of the video."""
    score: float | None


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One expression of a video as it is exported."""

    expression: Expression
    tracks: list[Track]
    """Empty where the model found nothing, or where there is no answer and that is allowed."""


@dataclass(frozen=True, kw_only=True)
class VideoAnswers:
    """One video as it is exported: every expression of the manifest, in its order."""

    number: int
    """The video's place in the manifest, from 0."""
    video_id: str
    frames: tuple[str, ...]
    height: int
    width: int
    answers: list[Answer]

    def mask(self, answer: Answer, frame: int) -> NDArray[np.bool_]:
        """The union of an answer's tracks in one frame, ``[H, W]``."""
        rles = [rle for track in answer.tracks if (rle := track.masks[frame]) is not None]
        return np.logical_or.reduce(decode_masks(rles, self.height, self.width), axis=0)

    def merged(self, answer: Answer) -> Answer:
        """The answer with its tracks united into one; its score is the best of them."""
        if len(answer.tracks) < 2:
            return answer
        masks = [encode_masks(self.mask(answer, frame)[None])[0] for frame in range(len(self.frames))]
        scores = [track.score for track in answer.tracks if track.score is not None]
        merged = Track(object_id=0, masks=masks, score=max(scores, default=None))
        return Answer(expression=answer.expression, tracks=[merged])


@dataclass
class _Plan:
    missing: dict[tuple[str, str], str] = field(default_factory=dict)
    size: dict[str, tuple[int, int]] = field(default_factory=dict)
    frames: dict[str, tuple[str, ...]] = field(default_factory=dict)


class Answers:
    """The answers of a dataset to a manifest.

    Args:
        dataset: URL of a mask dataset.
        tasks: What is expected.
        objects: ``first`` takes the first object of every answer, ``union`` unites them, ``all`` keeps each.
        allow_missing: Export empty masks where an answer is missing or ``failed``.

    Raises:
        IncompleteDatasetError: Answers are missing, and that is not allowed; nothing is written then.
        PipelineError: A video's size or frames are known nowhere.
    """

    def __init__(self, dataset: str, tasks: Sequence[VideoTask], *, objects: str, allow_missing: bool) -> None:
        self._dataset = MaskDataset(dataset)
        self._tasks = {task.video_id: (number, task) for number, task in enumerate(tasks)}
        self._objects = objects
        plan = _Plan()
        without_rows = dict.fromkeys(self._tasks)
        for video_id, rows in rows_by_video(self._dataset, PLAN_COLUMNS, self._tasks):
            del without_rows[video_id]
            _plan_video(plan, self._tasks[video_id][1], rows)
        for video_id in without_rows:
            _plan_video(plan, self._tasks[video_id][1], [])
        self.missing = plan.missing
        if plan.missing and not allow_missing:
            raise IncompleteDatasetError(_summary(dataset, plan.missing, tasks), plan.missing)
        for task in tasks:
            _settle(plan, task)
        self._size, self._frames = plan.size, plan.frames

    def videos(self) -> Iterator[VideoAnswers]:
        """Every video of the manifest once, those with rows first; hardly more than one is held at a time."""
        waiting = dict.fromkeys(self._tasks)
        for video_id, rows in rows_by_video(self._dataset, COLUMNS, self._tasks):
            del waiting[video_id]
            yield self._video(video_id, rows)
        for video_id in waiting:
            yield self._video(video_id, [])

    def sizes(self) -> dict[str, tuple[int, int]]:
        """Height and width per video."""
        return dict(self._size)

    def _video(self, video_id: str, rows: list[Row]) -> VideoAnswers:
        number, task = self._tasks[video_id]
        height, width = self._size[video_id]
        found = expression_tracks(rows, self._objects)
        answers = []
        for expression in task.expressions:
            usable = (video_id, expression.expression_id) not in self.missing
            answer_rows = found.get(expression.expression_id, []) if usable else []
            tracks = [
                _track(row, self._frames[video_id], height, width)
                for row in answer_rows
                if row["status"] == Status.OK and row["masks"]
            ]
            answers.append(Answer(expression=expression, tracks=tracks))
        video = VideoAnswers(
            number=number,
            video_id=video_id,
            frames=self._frames[video_id],
            height=height,
            width=width,
            answers=answers,
        )
        if self._objects == "union":
            answers[:] = [video.merged(answer) for answer in answers]
        return video


def _plan_video(plan: _Plan, task: VideoTask, rows: list[Row]) -> None:
    answers = expression_tracks(rows, "all")
    for row in rows:
        size = (row["height"], row["width"])
        if None in size or row["status"] == Status.FAILED:
            continue
        if plan.size.setdefault(task.video_id, size) != size:
            raise PipelineError(
                f"video {task.video_id!r}: rows of {size[1]}x{size[0]} and of "
                f"{plan.size[task.video_id][1]}x{plan.size[task.video_id][0]} pixels in one dataset"
            )
        if task.frames is None and row["frames"]:
            plan.frames.setdefault(task.video_id, tuple(row["frames"]))
    frames = task.frames or plan.frames.get(task.video_id, ())
    for expression in task.expressions:
        problem = _problem(answers.get(expression.expression_id, []), expression, frames)
        if problem is not None:
            plan.missing[task.video_id, expression.expression_id] = problem


def _settle(plan: _Plan, task: VideoTask) -> None:
    """Find the size and frames of a video whose rows do not tell them."""
    if task.frames is not None:
        plan.frames[task.video_id] = task.frames
    if task.video_id not in plan.frames:
        raise PipelineError(f"video {task.video_id!r}: its frames are named neither by the manifest nor by a row")
    if task.video_id not in plan.size:
        size = source_size(task)
        if size is None:
            raise PipelineError(
                f"video {task.video_id!r}: its size is unknown: no row has it, and {task.video} cannot be read; "
                "name the folder of the videos with --videos"
            )
        plan.size[task.video_id] = size


def _problem(rows: list[Row], expression: Expression, frames: Sequence[str]) -> str | None:
    """Why an expression's rows cannot be exported; None when they can."""
    if not rows:
        return "not in the dataset"
    for row in rows:
        if row["status"] == Status.FAILED:
            return f"failed: {row['error']}"
        if row["expression"] != expression.text:
            return f"the dataset answers another sentence under this id: {row['expression']!r}"
        absent = set(frames).difference(row["frames"] or ())
        if absent:
            return f"{len(absent)} of {len(frames)} frames are missing, among them {min(absent)!r}"
    return None


def _track(row: dict[str, Any], frames: Sequence[str], height: int, width: int) -> Track:
    """One row's masks in the order of ``frames``. Raises PipelineError for a damaged mask or one of another size."""
    where = f"video {row['video_id']!r}, expression {row['expression_id']!r}, object {row['object_id']}"
    if len(row["masks"]) != len(row["frames"]):
        raise PipelineError(f"{where}: {len(row['masks'])} masks for {len(row['frames'])} frames")
    by_frame = dict(zip(row["frames"], row["masks"], strict=True))
    for frame, rle in by_frame.items():
        if rle is None:
            continue
        try:
            validate_rle(rle)
        except ValueError as error:
            raise PipelineError(f"{where}, frame {frame!r}: damaged mask: {error}") from error
        if list(rle["size"]) != [height, width]:
            raise PipelineError(f"{where}, frame {frame!r}: the mask is {rle['size']}, the video {[height, width]}")
    return Track(object_id=row["object_id"], masks=[by_frame[frame] for frame in frames], score=row["score"])


def _summary(dataset: str, missing: dict[tuple[str, str], str], tasks: Sequence[VideoTask]) -> str:
    (video_id, expression_id), why = next(iter(missing.items()))
    total = sum(len(task.expressions) for task in tasks)
    return (
        f"{dataset}: {len(missing)} of {total} expressions cannot be exported, the first is expression "
        f"{expression_id!r} of video {video_id!r}: {why}; annotate them, or export empty masks with --allow-missing"
    )
