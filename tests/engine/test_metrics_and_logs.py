"""What a run tells Prometheus and its log, without a cluster."""

import logging

import pytest

from pipeline.engine.metrics import cause_of
from pipeline.engine.progress import Progress
from pipeline.logs import StructuredFormatter, TerminalFormatter


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        ("VideoError: clip.mp4: empty file", "VideoError"),
        ("OutOfMemoryError: CUDA out of memory", "OutOfMemoryError"),
        ("what: is this", "what"),
        ("no kind here", "unknown"),
        ("", "unknown"),
        (None, "unknown"),
    ],
)
def test_cause_is_the_kind_of_error(error, cause):
    assert cause_of(error) == cause


def record(message, *arguments, **extra):
    made = logging.LogRecord("pipeline.engine.guard", logging.WARNING, "guard.py", 1, message, arguments, None)
    made.__dict__.update(extra)
    return made


def test_a_log_line_carries_the_video_id():
    line = StructuredFormatter().format(record("cut %s", "short", video_id="clip 7"))
    assert ' level=warning logger=pipeline.engine.guard video_id="clip 7" message="cut short"' in line


def test_a_traceback_stays_on_the_line_of_its_event():
    failed = record("video a", video_id="a")
    try:
        raise ValueError('odd "quotes"')
    except ValueError as error:
        failed.exc_info = (ValueError, error, error.__traceback__)
    line = StructuredFormatter().format(failed)
    assert "\n" not in line
    assert "video_id=a " in line
    assert r"ValueError: odd \"quotes\"" in line


def test_lines_without_a_video_have_no_video_id():
    assert "video_id" not in StructuredFormatter().format(record("hello"))


def test_a_hostile_video_id_cannot_forge_a_line_of_progress():
    said: list[str] = []
    row = {"video_id": "v\x1b]0;x\x07\n9/9 videos, 0 failed\u2028", "error": "VideoError: /x/\x1b[31ma\r.mp4: gone"}
    Progress(5, said.append).add(row | {"expressions": 1, "failed": 1, "frames_done": 0, "seconds": []})
    assert said[0].startswith("video v\\x1b]0;x\\x07\\n9/9 videos, 0 failed\\u2028: 1 expression(s) failed")
    assert all(line.isprintable() for line in said)


HOSTILE = "v\x1b]0;x\x07\x9b2J\n9/9 videos, 0 failed\u2028\u202e"


@pytest.mark.parametrize("formatter", [StructuredFormatter(), TerminalFormatter()])
def test_a_hostile_name_cannot_forge_or_restyle_a_line_of_the_log(formatter):
    failed = record("video %s", HOSTILE, video_id=HOSTILE)
    try:
        raise ValueError(HOSTILE)
    except ValueError as error:
        failed.exc_info = (ValueError, error, error.__traceback__)
    first, *more = formatter.format(failed).split("\n")
    assert all(line.isprintable() for line in (first, *more))
    assert all(line.startswith("    ") for line in more)
    assert "ValueError" in "".join((first, *more))
