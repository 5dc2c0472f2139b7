"""One function over many videos: in this process where that is quicker, else as Ray tasks."""

import logging
import os
import secrets
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

T = TypeVar("T")

logger = logging.getLogger(__name__)


def map_tasks(function: Callable[..., T], items: Iterable[tuple[Any, ...]], workers: int) -> Iterator[T]:
    """Yield ``function(*item)`` for every item, in any order.

    Args:
        function: Module-level, so that a worker process can import it.
        items: Argument tuples; drawn only as fast as they are worked off.
        workers: With 1 everything happens in this process, else as that many Ray tasks at a time.
    """
    if workers <= 1:
        for item in items:
            yield function(*item)
        return
    import ray

    started_here = not ray.is_initialized()
    if started_here:
        _start_or_join(workers)
    try:
        task = ray.remote(num_cpus=1)(function)
        running: list[Any] = []
        for item in items:
            running.append(task.remote(*item))
            # One task per worker in waiting keeps all busy; more would only hold the inputs in memory.
            if len(running) >= 2 * workers:
                yield from _finished(running)
        while running:
            yield from _finished(running)
    finally:
        if started_here:
            ray.shutdown()


def _finished(running: list[Any]) -> list[Any]:
    """Wait for at least one task, take the finished ones out of ``running``, and return what they gave."""
    import ray

    done, still = ray.wait(running, num_returns=1)
    running[:] = still
    return ray.get(done)


def _start_or_join(workers: int) -> None:
    """Join the cluster that RAY_ADDRESS names (as inside ``ray job submit``), else start one on this machine."""
    import ray

    if os.environ.get("RAY_ADDRESS"):
        ray.init(logging_level=logging.WARNING)
        return
    if "RAY_AUTH_MODE" not in os.environ:
        # A token of our own in the environment: the cluster is closed to others, and no file in HOME is written.
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    ray.init(address="local", num_cpus=workers, include_dashboard=False, logging_level=logging.WARNING)
