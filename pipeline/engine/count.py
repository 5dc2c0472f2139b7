"""Counting frames before a run, so that long videos can start first.

In workers, where a file that kills or hangs its reader costs nothing but its count.
"""

from collections.abc import Sequence

import ray

from pipeline.config import RunConfig
from pipeline.engine.workload import frames_of
from pipeline.errors import PipelineError
from pipeline.schema import VideoTask

BATCH = 64
WITHIN_S = 20.0
CPUS = 0.25


@ray.remote(num_cpus=CPUS, max_retries=0)
def _count(tasks: list[VideoTask], config: RunConfig) -> list[int | None]:
    return [_frames_or_none(task, config) for task in tasks]


def count_frames(tasks: Sequence[VideoTask], config: RunConfig, *, within_s: float = WITHIN_S) -> list[int | None]:
    """Frames of every video, by its list of files or its header; none where that is not known in time.

    Args:
        tasks: One per video.
        config: For ``frame_stride`` and ``max_frames``.
        within_s: Longest time to spend on those whose frames the manifest does not list.
    """
    frames: list[int | None] = [None if task.frames is None else frames_of(task, config) for task in tasks]
    unknown = [index for index, count in enumerate(frames) if count is None]
    batches = [unknown[first : first + BATCH] for first in range(0, len(unknown), BATCH)]
    waiting = {_count.remote([tasks[i] for i in batch], config): batch for batch in batches}
    if not waiting:
        return frames
    done, late = ray.wait(list(waiting), num_returns=len(waiting), timeout=within_s)
    for reference in late:
        ray.cancel(reference, force=True)
    for reference in done:
        try:
            counts = ray.get(reference)
        except ray.exceptions.RayError:
            continue  # a file that kills its reader: the stages that follow say which one
        for index, count in zip(waiting[reference], counts, strict=True):
            frames[index] = count
    return frames


def _frames_or_none(task: VideoTask, config: RunConfig) -> int | None:
    try:
        return frames_of(task, config)
    except PipelineError:
        return None  # becomes failed rows, in the run
