"""What a run shows while it works: a progress bar on a terminal, plain lines elsewhere."""

import os
import sys
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self

from pipeline.cli.terminal import print_line, printable

if TYPE_CHECKING:
    from rich.console import Console

    from pipeline.engine.progress import Progress


def open_display() -> "PlainDisplay | LiveDisplay":
    """A live display if standard output is a terminal that can move its cursor, else a plain one."""
    if sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb":
        return LiveDisplay()
    return PlainDisplay()


class PlainDisplay:
    """One line after the other, for files, pipes and logs."""

    on_progress: "Callable[[Progress], None] | None" = None
    """Nothing: progress comes as lines every few seconds."""

    def report_line(self, line: str) -> None:
        """Print a line."""
        print_line(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


class LiveDisplay:
    """A bar with videos done, frames per second, failures and time left at the bottom; lines scroll above it.

    Args:
        console: Where to draw; by default standard output.
    """

    def __init__(self, console: "Console | None" = None) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn
        from rich.progress import Progress as Bar

        self._console = console or Console(highlight=False)
        self._bar = Bar(
            SpinnerColumn(),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("videos  {task.description}", markup=False),
            console=self._console,
        )
        self._task = self._bar.add_task("starting workers", total=None)

    def report_line(self, line: str) -> None:
        """Print a line above the bar."""
        self._console.print(printable(line), markup=False, soft_wrap=True)

    def on_progress(self, progress: "Progress") -> None:
        """Redraw the bar."""
        self._bar.update(
            self._task, total=progress.videos, completed=progress.done, description=progress.summary(), refresh=True
        )

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()
