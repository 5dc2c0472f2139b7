"""Work on a stream of items in a thread of its own, a bounded amount behind the producer."""

import threading
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Generic, Self, TypeVar

T = TypeVar("T")


class Background(Generic[T]):
    """Calls ``work`` on every item put into it, in order, in one daemon thread.

    Leaving the context waits for all items, and raises what ``work`` raised. If the context is left by an error, items
    that wait are dropped.

    Args:
        work: What is done with each item.
        size_of: Size of an item, in bytes or whatever ``limit`` counts.
        limit: Together the items that wait, and the one that is worked on, have at most this size; an item that is
            larger goes alone.

    Example:
        >>> with Background(print, size_of=len, limit=100) as printer:
        ...     printer.put("hello")
        hello
    """

    def __init__(self, work: Callable[[T], None], *, size_of: Callable[[T], int], limit: int) -> None:
        self._work = work
        self._size_of = size_of
        self._limit = limit
        self._items: deque[T] = deque()
        self._size = 0
        self._error: BaseException | None = None
        self._is_closing = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def put(self, item: T) -> None:
        """Hand over an item; waits while too much is waiting. Raises what ``work`` raised on an earlier one."""
        size = self._size_of(item)
        with self._changed:
            while self._error is None and self._size and self._size + size > self._limit:
                self._changed.wait()
            if self._error is not None:
                raise self._error
            self._items.append(item)
            self._size += size
            self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._items and not self._is_closing:
                    self._changed.wait()
                if not self._items:
                    return
                item = self._items.popleft()
            size = self._size_of(item)
            try:
                self._work(item)
            except BaseException as error:  # noqa: BLE001 - raised again in the producer's thread
                self._error = error
            del item  # it is counted as gone
            with self._changed:
                self._size -= size
                if self._error is not None:
                    self._items.clear()
                    self._is_closing = True
                self._changed.notify_all()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._changed:
            if exc is not None:
                self._items.clear()
            self._is_closing = True
            self._changed.notify_all()
        self._thread.join()
        if exc is None and self._error is not None:
            raise self._error
