"""Text that is safe to print, and log lines of workers: readable, and ``name=value`` for a log collector to search."""

import json
import logging
import re

_PLAIN = re.compile(r"[!#-<>-~]+")
"""Printable ASCII without quotation marks and equals signs."""

_HARMLESS = "\t"
_LINE_BREAKS = "\u2028\u2029"
_DIRECTION_MARKS = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


class StructuredFormatter(logging.Formatter):
    """``time=... level=... logger=... video_id=... message="..."``, one line for each event, traceback included.

    ``video_id`` is there where the call gave it: ``log.warning("cut short", extra={"video_id": "clip7"})``.
    """

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        text = super().format(record)  # the message, then the traceback
        fields = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "video_id": getattr(record, "video_id", None),
            "message": text,
        }
        return " ".join(f"{name}={_quoted(str(value))}" for name, value in fields.items() if value is not None)


class TerminalFormatter(logging.Formatter):
    """``WARNING pipeline.video: ...`` for people; names from manifests and videos cannot forge or restyle lines."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, and an indented one for each line of a traceback."""
        lines = [printable(f"{record.levelname} {record.name}: {record.getMessage()}")]
        if record.exc_info:
            lines += [f"    {printable(line)}" for line in self.formatException(record.exc_info).splitlines()]
        return "\n".join(lines)


def log_to_terminal(level: int = logging.WARNING) -> None:
    """Send this process's log to standard error in that form, unless logging is set up already."""
    handler = logging.StreamHandler()
    handler.setFormatter(TerminalFormatter())
    logging.basicConfig(level=level, handlers=[handler])


def _quoted(value: str) -> str:
    return value if _PLAIN.fullmatch(value) else printable(json.dumps(value, ensure_ascii=False))


def log_structured(level: int = logging.INFO) -> None:
    """Send this process's log to standard error in that form, unless logging is set up already."""
    handler = logging.StreamHandler()
    handler.setFormatter(StructuredFormatter())
    logging.basicConfig(level=level, handlers=[handler])


def printable(value: object) -> str:
    r"""``str(value)`` on one line, with control characters and marks that reorder text escaped.

    Example:
        >>> printable("clip\x1b[2J\n7")
        'clip\\x1b[2J\\n7'
    """
    return "".join(_escaped(character) for character in str(value))


def _escaped(character: str) -> str:
    is_control = (ord(character) < 32 or 127 <= ord(character) < 160) and character not in _HARMLESS
    if is_control or character in _LINE_BREAKS or character in _DIRECTION_MARKS or 0xD800 <= ord(character) <= 0xDFFF:
        return character.encode("unicode_escape").decode("ascii")
    return character
