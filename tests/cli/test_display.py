"""The progress bar on a terminal, and plain lines elsewhere."""

import io
import os
import pty
import re
import subprocess
import sys

from rich.console import Console

from pipeline.cli.display import LiveDisplay, PlainDisplay, open_display
from pipeline.engine.progress import Progress
from tests.conftest import ROOT

PROGRAM = """
from pipeline.cli.display import open_display
from pipeline.engine.progress import Progress
with open_display() as display:
    progress = Progress(2, display.report_line, on_update=display.on_progress)
    display.report_line("2 videos in the manifest")
    row = dict(video_id="a", expressions=3, failed=0, frames_done=20, seconds=[], error=None)
    for row in (row, row | dict(video_id="b\\x1b[2J", failed=1, error="VideoError: b.mp4: [red]gone[/red]")):
        progress.add(row)
"""


def on_a_terminal(**environment: str) -> str:
    """What the program above writes to a pseudo-terminal."""
    ours, theirs = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "120", "PYTHONPATH": str(ROOT)} | environment
    process = subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    shown = b""
    while True:
        try:
            chunk = os.read(ours, 4096)
        except OSError:  # how Linux says that the other end is closed
            break
        if not chunk:
            break
        shown += chunk
    os.close(ours)
    assert process.wait(timeout=60) == 0, shown
    return shown.decode()


def test_a_terminal_gets_a_bar_that_is_redrawn_and_lines_above_it() -> None:
    shown = on_a_terminal()
    assert "\r\x1b[2K" in shown  # the line is redrawn
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
    assert "2 videos in the manifest" in shown
    assert "1/2 videos" in shown
    assert "2/2 videos" in shown
    assert "frames/s, 1 failed, 0 s left" in shown
    assert "1 expression(s) failed: VideoError: b.mp4: [red]gone[/red]" in shown
    assert "b\\x1b[2J" in shown


def test_a_dumb_terminal_gets_lines() -> None:
    shown = on_a_terminal(TERM="dumb")
    assert "\x1b" not in shown
    assert "2/2 videos, " in shown


def test_a_pipe_gets_lines_with_the_same_numbers(capsys) -> None:
    display = open_display()
    assert isinstance(display, PlainDisplay)
    with display:
        progress = Progress(1, display.report_line, on_update=display.on_progress)
        row = {"video_id": "a", "expressions": 1, "failed": 0, "frames_done": 9, "error": None}
        progress.add(row | {"seconds": []})
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("1/1 videos, ")
    assert line.endswith(" frames/s, 0 failed, 0 s left")


def test_the_bar_goes_away_when_a_run_fails() -> None:
    written = io.StringIO()
    display = LiveDisplay(Console(file=written, force_terminal=True, width=100))
    try:
        with display:
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        display.report_line("after")
    assert written.getvalue().endswith("after\n")
    assert "\x1b[?25h" in written.getvalue()  # the cursor is shown again
