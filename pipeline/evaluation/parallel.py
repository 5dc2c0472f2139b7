"""One function over many videos: in this process where that is quicker, else in several processes of this machine."""

import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from pipeline.errors import NodeError

T = TypeVar("T")
_PENDING_PER_WORKER = 2
"""Items handed over at a time: the next one waits at the worker, and few videos are held in memory."""


def map_tasks(function: Callable[..., T], items: Iterable[tuple[Any, ...]], workers: int) -> Iterator[T]:
    """Yield ``function(*item)`` for every item, in any order.

    Args:
        function: Of a module, so that a worker process can import it.
        items: Argument tuples; drawn only as fast as they are worked off.
        workers: Number of processes; with 1 everything happens in this one.

    Raises:
        NodeError: A worker process died, for instance because memory ran out.
        Exception: What ``function`` or ``items`` raised.
    """
    if workers <= 1:
        for item in items:
            yield function(*item)
        return
    # spawned, not forked: this process may have threads (of a storage client, of Arrow) that a fork would lose
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        pending: set[Future[T]] = set()
        try:
            for item in items:
                pending.add(pool.submit(function, *item))
                if len(pending) >= workers * _PENDING_PER_WORKER:
                    done, pending = wait(pending, return_when=FIRST_COMPLETED)
                    yield from (future.result() for future in done)
            while pending:
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
        except BrokenProcessPool as error:
            raise NodeError("a scoring process died, perhaps for lack of memory; try fewer --workers") from error
        finally:
            pool.shutdown(cancel_futures=True)
