"""What a video's rows were made from, so that another run sees when the video is not the same any more.

Compared is what is cheap: the location, the manifest's list of frames, and, of local files, size and time of change;
only where the times differ (a copy on another machine) a few blocks of the content.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.schema import VideoTask
from pipeline.storage import absolute, is_local, scrub

_FILE_BLOCK = 64 * 2**10
_FRAME_BLOCK = 4 * 2**10


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """What rows were made from.

    Attributes:
        location: Of the video, without credentials and query.
        frames: Stands for the manifest's list of frames; None without one.
        size_bytes: Of the local file, or of all files in the local folder; None where that is not known.
        modified_ns: When the last of them was changed.
        content: Stands for some blocks of the content.
    """

    location: str
    frames: str | None = None
    size_bytes: int | None = None
    modified_ns: int | None = None
    content: str | None = None


def source_of(task: VideoTask) -> Source:
    """What rows made from ``task`` now are made from."""
    files = _files(task.video)
    return Source(
        location=scrub(task.video),
        frames=_frames_digest(task),
        size_bytes=_size(files),
        modified_ns=_modified(files),
        content=_content(files),
    )


def is_same(then: Source | None, now: Source | None) -> bool:
    """Whether rows made from the two are rows of one video, as far as is known."""
    if then is None or now is None:
        return True
    if then.frames != now.frames:
        return False
    if then.content is not None and now.content is not None:
        return then.content == now.content
    return then.location == now.location


def what_changed(then: Source, task: VideoTask) -> str | None:
    """How ``task`` differs from what its rows were made from; None where no difference is seen.

    A local video that is not there any more counts as unchanged: its masks are all that is left of it.
    """
    if then.frames != _frames_digest(task):
        return "its list of frames has changed"
    moved = then.location != task.video and then.location != scrub(task.video)  # of millions, most are as they were
    if then.size_bytes is None:
        return f"its location has changed from {then.location}" if moved else None
    if not is_local(task.video):
        return f"its location has changed from {then.location}" if moved else None
    files = _files(task.video)
    if not files:
        return None
    if _size(files) != then.size_bytes:
        return f"its size has changed from {then.size_bytes} to {_size(files)} bytes"
    if (moved or _modified(files) != then.modified_ns) and _content(files) != then.content:
        return "its content has changed"
    return None


@dataclass(frozen=True, slots=True)
class _File:
    path: str
    name: str
    size: int
    modified_ns: int


def _files(location: str) -> list[_File]:
    """The local file, or the visible files of the local folder, by name; empty where there is none or it is remote."""
    if not is_local(location):
        return []
    path = absolute(location)
    try:
        if not Path(path).is_dir():
            stat = os.stat(path)  # noqa: PTH116 - a million of them
            return [_File(path, "", stat.st_size, stat.st_mtime_ns)]
        return sorted(_entries(path), key=lambda file: file.name)
    except (OSError, ValueError):
        return []


def _entries(folder: str) -> Iterator[_File]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_file() and not entry.name.startswith("."):
                stat = entry.stat()
                yield _File(entry.path, entry.name, stat.st_size, stat.st_mtime_ns)


def _size(files: list[_File]) -> int | None:
    return sum(file.size for file in files) if files else None


def _modified(files: list[_File]) -> int | None:
    return max(file.modified_ns for file in files) if files else None


def _content(files: list[_File]) -> str | None:
    """A hash of names, sizes and the first, middle and last block of every file."""
    if not files:
        return None
    digest = hashlib.sha256()
    block = _FILE_BLOCK if len(files) == 1 else _FRAME_BLOCK
    for file in files:
        digest.update(json.dumps([file.name, file.size]).encode())
        try:
            with Path(file.path).open("rb") as content:
                for start in (0, max(0, (file.size - block) // 2), max(0, file.size - block)):
                    content.seek(start)
                    digest.update(content.read(block))
        except OSError:
            digest.update(b"unreadable")
    return digest.hexdigest()[:32]


def _frames_digest(task: VideoTask) -> str | None:
    if task.frames is None:
        return None
    return hashlib.sha256(json.dumps(task.frames).encode()).hexdigest()[:32]
