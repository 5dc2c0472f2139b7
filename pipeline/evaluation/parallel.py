"""One function over many videos: in this process where that is quicker, else as Ray tasks."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from pipeline.engine import cluster

T = TypeVar("T")
_IN_FLIGHT = 2
"""Tasks per worker that are handed over at a time: the next one waits at the worker, not behind a round trip."""


def map_tasks(
    function: Callable[..., T], items: Iterable[tuple[Any, ...]], workers: int, *, address: str | None = None
) -> Iterator[T]:
    """Yield ``function(*item)`` for every item, in any order.

    Args:
        function: Module-level, so that a worker process can import it.
        items: Argument tuples; drawn only as fast as they are worked off.
        workers: With 1 everything happens in this process, else as Ray tasks, that many at a time.
        address: The cluster for them, as for ``cluster.connect``.
    """
    if workers <= 1:
        for item in items:
            yield function(*item)
        return
    cluster.prepare(address)
    import ray

    joined_here = not ray.is_initialized()
    cluster.connect(address)
    try:
        task = ray.remote(num_cpus=1)(function)
        running: list[Any] = []
        for item in items:
            running.append(task.remote(*item))
            if len(running) >= workers * _IN_FLIGHT:
                yield from _finished(running)
        while running:
            yield from _finished(running)
    finally:
        if joined_here:
            ray.shutdown()


def _finished(running: list[Any]) -> list[Any]:
    """Wait for at least one task, take the finished ones out of ``running``, and return what they gave."""
    import ray

    done, still = ray.wait(running, num_returns=1)
    running[:] = still
    try:
        return ray.get(done)
    except ray.exceptions.RayTaskError as error:
        # What the function itself raised, as it would have been raised in this process.
        raise error.cause from None
