"""Work on a stream of items in a thread of its own, a bounded number of items behind the producer."""

import queue
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Generic, Self, TypeVar

T = TypeVar("T")


class Background(Generic[T]):
    """Calls ``work`` on every item put into it, in order, in one daemon thread.

    Leaving the context waits for all items, and raises what ``work`` raised. If the context is left by an error, items
    that wait are dropped.

    Example:
        >>> with Background(print, ahead=4) as printer:
        ...     printer.put("hello")
    """

    def __init__(self, work: Callable[[T], None], *, ahead: int) -> None:
        self._work = work
        self._waiting: queue.Queue[T | None] = queue.Queue(ahead)
        self._error: BaseException | None = None
        self._is_dropping = False
        self._thread = threading.Thread(target=self._run, daemon=True)

    def put(self, item: T) -> None:
        """Hand over an item; waits while ``ahead`` items are waiting. Raises what ``work`` raised on an earlier one."""
        if self._error is not None:
            raise self._error
        self._waiting.put(item)

    def _run(self) -> None:
        while (item := self._waiting.get()) is not None:
            if self._error is not None or self._is_dropping:
                continue  # keep taking, so that the producer is not left waiting
            try:
                self._work(item)
            except BaseException as error:  # noqa: BLE001 - raised again in the producer's thread
                self._error = error

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._is_dropping = exc is not None
        self._waiting.put(None)
        self._thread.join()
        if exc is None and self._error is not None:
            raise self._error
