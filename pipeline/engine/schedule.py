"""In which order videos are handed out, and which of them in parts: what takes longest starts first.

Work is counted in frames of one propagated object. Encoding a frame, once for all expressions, costs about as much as
:data:`ENCODER_OBJECTS` of these, so that parts of a video, which each encode it again, are more work than the whole.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median

from pipeline.schema import VideoTask

ENCODER_OBJECTS = 2.5
FEWEST_EXPRESSIONS = 3
"""Of a part: with fewer, the encoder would be half of it."""
LARGEST_SHARE = 0.25
"""A video is split if it is clearly more than this share of what every segmenter has to do on average."""
LEAST_WORK = 10_000
"""Of a video that may be split: about two minutes of a GPU. Below, starting the parts costs more than they gain."""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """What is handed out.

    Attributes:
        tasks: Videos and parts of videos, those that take longest first.
        split: Ids of the videos that are handed out in parts.
    """

    tasks: list[VideoTask]
    split: frozenset[str]


def work_of(frames: int, expressions: int) -> float:
    """Work of one video with so many expressions, one object each."""
    return frames * (ENCODER_OBJECTS + expressions)


def number_of_parts(frames: int, expressions: int, average: float) -> int:
    """Into how many parts to split a video's expressions.

    Never into parts of which the encoder is more than about half.

    Args:
        frames: Of the video.
        expressions: Of the video.
        average: Work of one segmenter.
    """
    work = work_of(frames, expressions)
    if work < LEAST_WORK or average <= 0:
        return 1
    return max(1, min(round(work / (average * LARGEST_SHARE)), expressions // FEWEST_EXPRESSIONS))


def sizes_of_parts(expressions: int, parts: int) -> list[int]:
    """Expressions of each part, as equal as possible."""
    each, more = divmod(expressions, parts)
    return [each + (i < more) for i in range(parts)]


def make_schedule(
    tasks: Sequence[VideoTask],
    frames: Sequence[int | None],
    *,
    segmenters: int,
    split: str | int,
    share: float = 1.0,
) -> Schedule:
    """Order ``tasks`` by their work and split what should be split.

    Args:
        tasks: One per video.
        frames: Frames of each task; ``None`` where unknown, which counts as the median of the others.
        segmenters: Workers that propagate.
        split: ``auto``, ``off``, or the largest number of expressions of a part.
        share: Of the work that is left which these tasks are; the rest is taken to be like them.
    """
    usual = max(1, round(median([count for count in frames if count is not None] or [1])))
    lengths = [usual if count is None else count for count in frames]
    work = sum(work_of(n, len(t.expressions)) for n, t in zip(lengths, tasks, strict=True))
    average = work / share / max(1, segmenters)
    split_videos: set[str] = set()
    weighed: list[tuple[float, VideoTask]] = []
    for task, length, known in zip(tasks, lengths, frames, strict=True):
        count = len(task.expressions)
        if isinstance(split, int):
            parts = -(-count // split)
        else:
            parts = number_of_parts(length, count, average) if split == "auto" and known is not None else 1
        if parts > 1:
            split_videos.add(task.video_id)
        weighed += [(work_of(length, len(part.expressions)), part) for part in _parts(task, parts)]
    weighed.sort(key=lambda pair: pair[0], reverse=True)
    return Schedule(tasks=[task for _, task in weighed], split=frozenset(split_videos))


def _parts(task: VideoTask, parts: int) -> list[VideoTask]:
    if parts == 1:
        return [task]
    found, first = [], 0
    for size in sizes_of_parts(len(task.expressions), parts):
        found.append(replace(task, expressions=task.expressions[first : first + size]))
        first += size
    return found
