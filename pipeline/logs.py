"""Log lines of workers: readable, and ``name=value`` for a log collector to search, by the video's id first of all."""

import json
import logging
import re

_PLAIN = re.compile(r"[^\s\"=\x00-\x1f\x7f]+")


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


def _quoted(value: str) -> str:
    return value if _PLAIN.fullmatch(value) else json.dumps(value, ensure_ascii=False)


def log_structured(level: int = logging.INFO) -> None:
    """Send this process's log to standard error in that form, unless logging is set up already."""
    handler = logging.StreamHandler()
    handler.setFormatter(StructuredFormatter())
    logging.basicConfig(level=level, handlers=[handler])
