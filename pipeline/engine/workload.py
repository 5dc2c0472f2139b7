"""How much work a manifest is: frames, counted from container headers and file lists, and GPU-hours at a known rate."""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from pipeline.config import RunConfig
from pipeline.dataset.layout import RUN_FILE
from pipeline.errors import StorageError, UsageError, VideoError
from pipeline.schema import VideoTask
from pipeline.storage import join, read_bytes, scrub
from pipeline.video.count import count_frames
from pipeline.video.frames import FrameSelection

PARALLEL_HEADERS = 16
SAMPLE = 2000
"""Of more videos than this a random sample is opened, so that a million of them take a minute and not a day."""


@dataclass(frozen=True, kw_only=True)
class Workload:
    """What there is to do.

    Attributes:
        videos: How many.
        frames: In all of them, after ``frame_stride`` and ``max_frames``; an estimate if ``opened`` is less than
            ``videos``.
        masks: Frames times expressions of each video: so many masks, of one object an answer.
        opened: Videos whose frames were counted.
        unreadable: Of these, videos that cannot be read; they will become failed rows.
        example: What is wrong with one of them.
    """

    videos: int
    frames: int
    masks: int
    opened: int
    unreadable: int
    example: str | None = None

    def __str__(self) -> str:
        about = "" if self.opened == self.videos else f"about (from {self.opened} videos drawn at random) "
        text = f"frames: {about}{self.frames}"
        if self.unreadable:
            text += f"\nunreadable: {self.unreadable} of {self.opened} videos looked at, for instance {self.example}"
        return text


def measure(drawn: Sequence[VideoTask], config: RunConfig, *, videos: int) -> Workload:
    """Count the frames of videos; nothing is decoded, and only so many are open at once.

    Args:
        drawn: All videos, or :data:`SAMPLE` of them drawn at random.
        config: For ``frame_stride`` and ``max_frames``.
        videos: Number of all videos.
    """
    with ThreadPoolExecutor(max_workers=PARALLEL_HEADERS) as pool:
        found = list(pool.map(lambda task: _frames_or_error(task, config), drawn))
    counts = [
        (count, len(task.expressions)) for task, count in zip(drawn, found, strict=True) if isinstance(count, int)
    ]
    errors = [error for error in found if isinstance(error, str)]
    share = len(drawn) / videos if videos else 1.0
    return Workload(
        videos=videos,
        frames=round(sum(frames for frames, _ in counts) / share),
        masks=round(sum(frames * expressions for frames, expressions in counts) / share),
        opened=len(drawn),
        unreadable=len(errors),
        example=errors[0] if errors else None,
    )


def seconds_per_frame_of(output: str, config: RunConfig) -> float:
    """Seconds of worker time that a finished run took for one frame of video.

    Args:
        output: Of the finished run.
        config: Of the run to be estimated: with ``masks`` only propagation counts, else both kinds of workers.

    Raises:
        UsageError: ``output`` is not the output of a finished run, or one that asked no model although this one will.
    """
    stages = ("segment",) if config.masks is not None else ("ground", "segment")
    file = join(output, RUN_FILE)
    try:
        run = json.loads(read_bytes(file))
        seconds = sum(run["timings"][f"{stage}_seconds"] for stage in stages)
        return float(seconds / run["this_run"]["frames"])
    except (StorageError, ValueError, KeyError, TypeError, ZeroDivisionError) as error:
        raise UsageError(
            f"{scrub(file)}: tells no rate; it must be the output of a run of the same kind that has ended"
        ) from error


def frames_of(task: VideoTask, config: RunConfig) -> int:
    """Frames of one video that a run would annotate: by its manifest, else its header or list of files.

    Raises:
        VideoError: It cannot be opened.
    """
    if task.frames is None:
        return count_frames(task.video, _selection(task, config))
    chosen = -(-len(task.frames) // config.frame_stride)
    return chosen if config.max_frames is None else min(chosen, config.max_frames)


def _frames_or_error(task: VideoTask, config: RunConfig) -> int | str:
    try:
        return count_frames(task.video, _selection(task, config))
    except VideoError as error:
        return str(error)


def _selection(task: VideoTask, config: RunConfig) -> FrameSelection:
    return FrameSelection(frames=task.frames, frame_stride=config.frame_stride, max_frames=config.max_frames)
