"""Combining in tasks on a Ray cluster, a bounded number at a time."""

from collections.abc import Iterator, Sequence

import ray

from pipeline.combine.video import Combiner
from pipeline.errors import PipelineError
from pipeline.schema import VideoTask, failed_rows

MOST_VIDEOS = 50
"""Of one task: of one part as a rule, so that each row group is read by few tasks."""
_TASKS_PER_CPU = 2
"""That are submitted and not done: one runs, one waits."""
_LOST_WORKERS = (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError, ray.exceptions.NodeDiedError)


@ray.remote(num_cpus=1)
def _combine(combiner: Combiner, tasks: Sequence[VideoTask]) -> PipelineError | None:
    try:
        combiner.combine(tasks)
    except PipelineError as error:
        return error  # as an exception it would come back wrapped in one of Ray's
    return None


def combine_on_cluster(combiner: Combiner, tasks: Sequence[VideoTask]) -> Iterator[str]:
    """Combine videos in tasks, in their order; one that ends its worker again and again becomes ``failed`` rows.

    Yields:
        The id of each video that is committed.

    Raises:
        PipelineError: Whatever :meth:`Combiner.combine` raises.
    """
    waiting = _split(tasks, _share(len(tasks)))
    running: dict[ray.ObjectRef, Sequence[VideoTask]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < _TASKS_PER_CPU * _cpus():
                some = waiting.pop(0)
                running[_combine.remote(combiner, some)] = some
            ready, _ = ray.wait(list(running))
            for reference in ready:
                some = running.pop(reference)
                try:
                    error = ray.get(reference)
                except _LOST_WORKERS as lost:
                    if len(some) > 1:
                        waiting = [*_split(some, 1), *waiting]  # to find out which of them it is
                        continue
                    error = None
                    reason = " ".join(str(lost).split())[:500]
                    combiner.writer.commit(failed_rows(some[0], f"{type(lost).__name__}: {reason}"))
                if error is not None:
                    raise error
                yield from (task.video_id for task in some)
    finally:
        for reference in running:
            ray.cancel(reference)


def _split(tasks: Sequence[VideoTask], size: int) -> list[Sequence[VideoTask]]:
    return [tasks[start : start + size] for start in range(0, len(tasks), size)]


def _share(videos: int) -> int:
    """Videos of a task: few where there are few, so that every CPU has some."""
    return max(1, min(MOST_VIDEOS, videos // (2 * _TASKS_PER_CPU * _cpus())))


def _cpus() -> int:
    return max(1, int(ray.cluster_resources().get("CPU", 1)))
