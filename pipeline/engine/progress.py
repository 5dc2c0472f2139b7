"""Progress a person can read, from results as they come in."""

import logging
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from pipeline.logs import printable

log = logging.getLogger(__name__)


@dataclass
class Progress:
    """Counts what is done and says so every few seconds.

    Attributes:
        videos: Number of videos to be done in this run.
        report_line: Gets lines of text.
        every_s: Seconds between lines.
        on_update: Gets this object after every video, instead of the lines; a progress bar for example.
        seconds: Time of all workers of each stage.
    """

    videos: int
    report_line: Callable[[str], None]
    every_s: float = 5.0
    on_update: Callable[["Progress"], None] | None = None
    done: int = 0
    expressions: int = 0
    failed: int = 0
    frames: int = 0
    seconds: Counter[str] = field(default_factory=Counter)
    started: float = field(default_factory=time.monotonic)
    _said: float = 0.0
    _first: float | None = None

    def add(self, row: dict, *, completes: bool = True) -> None:
        """Take in one written video (a row of WRITTEN_SCHEMA), or a part that may be its last one."""
        self.done += completes
        self.expressions += row["expressions"]
        self.failed += row["failed"]
        self.frames += row["frames_done"] * completes  # a video's parts have the same frames
        self.seconds.update(dict(row["seconds"]))
        if row["error"]:
            self.report_line(
                printable(f"video {row['video_id']}: {row['failed']} expression(s) failed: {row['error']}")
            )
        now = time.monotonic()
        if self._first is None:
            self._first = now
        if self.on_update is not None:
            self.on_update(self)
        elif now - self._said >= self.every_s or self.done == self.videos:
            self._said = now
            self.report_line(f"{self.done}/{self.videos} videos, {self.summary(now)}")

    def summary(self, now: float | None = None) -> str:
        """Frames per second, failures and time left, as text."""
        now = time.monotonic() if now is None else now
        elapsed = now - self.started
        rate = self.frames / elapsed if elapsed > 0 else 0.0
        # starting workers takes long and happens once, so the pace is taken from the first result on
        since_first = now - (self._first or now)
        left = since_first / (self.done - 1) * (self.videos - self.done) if self.done > 1 else 0.0
        return f"{rate:.3g} frames/s, {self.failed} failed, {duration(left)} left"


def duration(seconds: float) -> str:
    """Seconds as a person says them.

    Example:
        >>> duration(3725)
        '1 h 02 min'
    """
    whole = round(seconds)
    if whole < 90:
        return f"{whole} s"
    if whole < 5400:
        return f"{round(whole / 60)} min"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
