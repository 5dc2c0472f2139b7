"""The dataset's answers to a manifest: first whether all are there, then one video after the other."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.cleanup.cleaner import Cleaner
from pipeline.cleanup.settings import CleanUp
from pipeline.dataset.reader import MaskDataset
from pipeline.errors import PipelineError, VideoError
from pipeline.evaluation.grouped_rows import Row, expression_tracks, rows_by_video
from pipeline.evaluation.rejection import Rejection, open_rejection, presence_of
from pipeline.export.names import NameStyle
from pipeline.export.plan import PLAN_COLUMNS, ExpressionKey, IncompleteDatasetError, Plan, make_plan
from pipeline.masks import decode_masks, encode_masks, validate_rle
from pipeline.schema import Expression, Rle, Status, VideoTask
from pipeline.storage import scrub

__all__ = ["Answer", "Answers", "IncompleteDatasetError", "Track", "VideoAnswers"]

COLUMNS = (*PLAN_COLUMNS, "masks", "scores", "score", "presence", "license", "video_source")


class _DamagedMaskError(Exception):
    """A row's masks cannot be used; the message says why and where."""


@dataclass(frozen=True, kw_only=True)
class Track:
    """One object of an answer."""

    object_id: int
    masks: list[Rle | None]
    """One per frame of the video."""
    score: float | None
    presence: float | None = None


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One expression of a video as it is exported."""

    expression: Expression
    tracks: list[Track]
    """Empty where the model found nothing, or where there is no answer and that is allowed."""


@dataclass(frozen=True, kw_only=True)
class VideoAnswers:
    """One video as it is exported: the expressions of the manifest, in its order, without those left out."""

    number: int
    """Index of the video in the manifest, from 0."""
    video_id: str
    video: str
    """Its location."""
    frames: tuple[str, ...]
    height: int
    width: int
    answers: list[Answer]
    license: str | None = None
    video_source: str | None = None
    """Where the video is from."""

    def tracks(self) -> list[tuple[Expression, Track]]:
        """All objects of the video with the expression that each answers, in the order of the answers."""
        return [(answer.expression, track) for answer in self.answers for track in answer.tracks]

    def terms(self) -> dict[str, str]:
        """Licence and source as far as they are known, under the names of the dataset's columns."""
        stated = {"license": self.license, "video_source": self.video_source}
        return {name: value for name, value in stated.items() if value is not None}

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
        merged = Track(object_id=0, masks=masks, score=max(scores, default=None), presence=answer.tracks[0].presence)
        return Answer(expression=answer.expression, tracks=[merged])


class Answers:
    """The answers of a dataset to a manifest.

    Args:
        dataset: URL of a mask dataset.
        tasks: What is expected.
        objects: ``first`` takes the first object of every answer, ``union`` unites them, ``all`` keeps each.
        allow_missing: Export empty masks where an answer is missing, ``failed`` or does not read back, and leave out
            what cannot be written at all.
        names: What the format makes of ids and frame names.
        reject_below: Answer expressions with a lower verdict (or, without one, ``presence``) with nothing.
        clean_up: What to clean in the masks.

    Attributes:
        missing: Expressions exported as empty masks, and why; complete once :meth:`videos` has ended.
        left_out: Expressions that are not exported at all, and why.
        rejection: What was rejected.
        cleaner: What was cleaned.

    Raises:
        IncompleteDatasetError: Answers are missing, and that is not allowed; nothing is written then.
        DamagedDatasetError: Rows do not read back, and that is not allowed.
        UsageError: Nothing could be rejected, because no row has a presence.
    """

    def __init__(
        self,
        dataset: str,
        tasks: Sequence[VideoTask],
        *,
        objects: str,
        allow_missing: bool,
        names: NameStyle = NameStyle.FOLDERS,
        reject_below: float | None = None,
        clean_up: CleanUp | None = None,
    ) -> None:
        self._dataset = MaskDataset(dataset, skip_damaged=allow_missing)
        self._tasks = {task.video_id: (number, task) for number, task in enumerate(tasks)}
        self._objects = objects
        self._allow_missing = allow_missing
        self.rejection = Rejection(None)
        self.cleaner = Cleaner(clean_up or CleanUp())
        if reject_below is not None:
            self.rejection = open_rejection(self._dataset, reject_below, self._tasks)
        self._plan: Plan = make_plan(self._dataset, tasks, names)
        nothing_left = len(self._plan.left_out) == sum(len(task.expressions) for task in tasks)
        if self._plan.problems and (not allow_missing or nothing_left):
            raise IncompleteDatasetError(_summary(dataset, self._plan.problems, tasks), self._plan.problems)
        self.left_out = self._plan.left_out
        self.missing = {key: why for key, why in self._plan.missing.items() if key not in self.left_out}

    def videos(self) -> Iterator[VideoAnswers]:
        """Every video of the manifest that can be written once, those with rows first; about one is held at a time."""
        waiting = dict.fromkeys(self._tasks)
        for video in rows_by_video(self._dataset, self.rejection.columns(*COLUMNS), self._tasks):
            del waiting[video.video_id]
            for expression_id in video.unreadable:
                self.missing.setdefault((video.video_id, expression_id), "its rows do not read back: damaged file")
            yield from self._video(video.video_id, video.rows)
        for video_id in waiting:
            yield from self._video(video_id, [])

    def leave_out(self, video: VideoAnswers, error: VideoError) -> None:
        """Leave out a video whose frames cannot be read; raises ``error`` if nothing may be missing."""
        if not self._allow_missing:
            raise error
        for answer in video.answers:
            key = (video.video_id, answer.expression.expression_id)
            self.missing.pop(key, None)
            self.left_out[key] = f"its frames cannot be read: {error}"

    def sizes(self) -> dict[str, tuple[int, int]]:
        """Height and width per video."""
        return dict(self._plan.size)

    def _video(self, video_id: str, rows: list[Row]) -> Iterator[VideoAnswers]:
        number, task = self._tasks[video_id]
        expressions = [item for item in task.expressions if (video_id, item.expression_id) not in self.left_out]
        if not expressions:
            return
        found = expression_tracks(rows, self._objects)
        answers = [
            Answer(expression=item, tracks=self._tracks(video_id, item, found.get(item.expression_id, [])))
            for item in expressions
        ]
        height, width = self._plan.size[video_id]
        video = VideoAnswers(
            number=number,
            video_id=video_id,
            video=task.video,
            frames=self._plan.frames[video_id],
            height=height,
            width=width,
            answers=answers,
            license=next((row["license"] for row in rows if row["license"] is not None), None),
            video_source=next((row["video_source"] for row in rows if row["video_source"] is not None), None),
        )
        if self._objects == "union":
            answers[:] = [video.merged(answer) for answer in answers]
        yield video

    def _tracks(self, video_id: str, expression: Expression, rows: list[Row]) -> list[Track]:
        key = (video_id, expression.expression_id)
        if key in self.missing or self.rejection.rejects(rows):
            return []
        try:
            return [self._track(row) for row in rows if row["status"] == Status.OK and row["masks"]]
        except _DamagedMaskError as error:
            if not self._allow_missing:
                raise PipelineError(f"{scrub(self._dataset.url)}: {error}; --allow-missing exports it empty") from error
            self.missing[key] = str(error)
            return []

    def _track(self, row: dict[str, Any]) -> Track:
        """One row's masks in the order of the video's frames."""
        video_id = row["video_id"]
        frames, size = self._plan.frames[video_id], list(self._plan.size[video_id])
        where = f"video {video_id!r}, expression {row['expression_id']!r}, object {row['object_id']}"
        if len(row["masks"]) != len(row["frames"]):
            raise _DamagedMaskError(f"{where}: {len(row['masks'])} masks for {len(row['frames'])} frames")
        by_frame = dict(zip(row["frames"], row["masks"], strict=True))
        scores = dict(zip(row["frames"], row["scores"] or (), strict=False))
        for frame, rle in by_frame.items():
            if rle is None:
                continue
            try:
                validate_rle(rle)
            except ValueError as error:
                raise _DamagedMaskError(f"{where}, frame {frame!r}: damaged mask: {error}") from error
            if list(rle["size"]) != size:
                raise _DamagedMaskError(f"{where}, frame {frame!r}: the mask is {rle['size']}, the video {size}")
        in_order = [scores[frame] for frame in frames] if len(scores) == len(by_frame) else []
        masks = self.cleaner.track([by_frame[frame] for frame in frames], in_order)
        return Track(object_id=row["object_id"], masks=masks, score=row["score"], presence=presence_of([row]))


def _summary(dataset: str, problems: dict[ExpressionKey, str], tasks: Sequence[VideoTask]) -> str:
    (video_id, expression_id), why = next(iter(problems.items()))
    total = sum(len(task.expressions) for task in tasks)
    return (
        f"{scrub(dataset)}: {len(problems)} of {total} expressions cannot be exported, the first is expression "
        f"{expression_id!r} of video {video_id!r}: {why}; annotate them, or go on without them with --allow-missing"
    )
