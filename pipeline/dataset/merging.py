"""When parts are merged: as soon as one is complete, when staged rows have waited long enough, and at the end."""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from pipeline.dataset.merge import Merged

log = logging.getLogger(__name__)

Merge = Callable[[int, Sequence[str]], Merged]
"""Merges one part, given the files of single videos to take into it; :meth:`pipeline.dataset.merge.PartMerger.merge`,
here or in a task on a cluster."""

VISIBLE_AFTER_S = 240.0
"""Age of staged rows at which their part is merged, so that they are visible within five minutes."""
AT_ONCE = 4
"""Parts merged at the same time."""
_LOOK_EVERY_S = 0.5


class Merging:
    """Follows what is staged and merges it, from a thread of its own; one merger a part at a time.

    Args:
        merge: Does the work.
        video_files: By part: files of single videos under ``masks`` that are still to be taken into it.
        visible_after_s: See :data:`VISIBLE_AFTER_S`.
    """

    def __init__(
        self,
        merge: Merge,
        *,
        video_files: Mapping[int, Sequence[str]] | None = None,
        visible_after_s: float = VISIBLE_AFTER_S,
    ) -> None:
        self.merge = merge
        self.damage: list[str] = []
        """What turned out to be damaged while it was merged, a line each."""
        self._video_files = dict(video_files or {})
        self._visible_after_s = visible_after_s
        self._waiting: dict[int, float] = {}
        """Parts with something to merge, and since when."""
        self._to_come: Counter[int] = Counter()
        """Commits that will still be made, for the parts of which that is known."""
        self._running: dict[int, Future[Merged]] = {}
        self._failure: BaseException | None = None
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="merge")
        self._thread: threading.Thread | None = None

    @property
    def number_waiting(self) -> int:
        """Parts with something to merge."""
        return len(self._waiting)

    def start(self) -> None:
        """Begin to merge while commits go on."""
        self._thread = threading.Thread(target=self._follow, name="merging", daemon=True)
        self._thread.start()

    def expect(self, commits: Mapping[int, int]) -> None:
        """By part: commits that will still be made, beside those known; a part is merged at once when it has all."""
        with self._lock:
            self._to_come.update(commits)

    def left_behind(self, parts: Iterable[int]) -> None:
        """Parts for which an earlier run has left something to merge."""
        with self._lock:
            for part in parts:
                self._waiting.setdefault(part, time.monotonic())

    def staged(self, part: int) -> None:
        """A commit for ``part`` has been made. Raises what went wrong with an earlier merge."""
        self.check()
        with self._lock:
            if part in self._to_come:
                self._to_come[part] -= 1
            self._waiting.setdefault(part, time.monotonic())

    def check(self) -> None:
        """Raise what went wrong with a merge: LostOutputError, StorageError."""
        if self._failure is not None:
            raise self._failure

    def finish(self) -> None:
        """Merge everything that is left, and wait for it. Raises LostOutputError, StorageError."""
        self._stop_following()
        while True:
            self._collect(wait=True)
            self.check()
            if not self._submit(list(self._waiting)):
                break
        self._pool.shutdown()

    def repair(self, part: int, repair: Callable[[int], object]) -> None:
        """Run ``repair`` for a part while nobody merges it."""
        while True:
            self._collect(wait=True)
            with self._lock:
                if part not in self._running:
                    repair(part)
                    return

    def forget_file(self, part: int, url: str) -> None:
        """A single video's file is not to be taken into its part, because it is damaged."""
        with self._lock:
            self._video_files[part] = [file for file in self._video_files.get(part, ()) if file != url]

    def close(self) -> None:
        """Stop without merging what is left; it stays staged."""
        self._stop_following()
        self._pool.shutdown(cancel_futures=True)

    def _stop_following(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _follow(self) -> None:
        while not self._stop.wait(_LOOK_EVERY_S) and self._failure is None:
            self._collect(wait=False)
            now = time.monotonic()
            with self._lock:
                due = [part for part, since in self._waiting.items() if self._is_due(part, now - since)]
            self._submit(due)

    def _is_due(self, part: int, age_s: float) -> bool:
        is_complete = part in self._to_come and self._to_come[part] <= 0
        return is_complete or age_s >= self._visible_after_s

    def _submit(self, due: Sequence[int]) -> bool:
        """Start merging parts, except those that are being merged; returns whether any part is."""
        with self._lock:
            for part in set(due).difference(self._running):
                del self._waiting[part]  # what is staged from now on waits for the next time
                self._running[part] = self._pool.submit(self.merge, part, self._video_files.get(part, ()))
        return bool(self._running)

    def _collect(self, *, wait: bool) -> None:
        for part, future in list(self._running.items()):
            if not (wait or future.done()):
                continue
            try:
                self.damage += future.result().damage
                self._video_files.pop(part, None)
            except BaseException as error:  # noqa: BLE001 - told to the run by check()
                self._failure = self._failure or error
            self._running.pop(part, None)
