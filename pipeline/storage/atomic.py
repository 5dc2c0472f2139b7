"""Files that appear under their name in one step or not at all, whatever is killed meanwhile."""

import os
import tempfile
import uuid
from pathlib import Path
from typing import IO

from pipeline.storage.retries import with_retries
from pipeline.storage.urls import absolute, is_local, open_filesystem

TEMPORARY_PREFIX = ".tmp-"
"""Files of unfinished local writes; hidden and without the final suffix, so no reader's pattern matches them."""


class PendingFile:
    """A file being written, of any size, that appears under its name in one step or not at all.

    Args:
        url: Where it appears; its folder must exist on a local disk.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._path: Path | None = None
        if is_local(url):
            temporary = _temporary_beside(Path(absolute(url)))
            self._path = temporary
            self.file: IO[bytes] = with_retries(lambda: temporary.open("wb"), url, "write")
        else:
            self.file = tempfile.NamedTemporaryFile(prefix=TEMPORARY_PREFIX)  # noqa: SIM115 - closed by __exit__

    def __enter__(self) -> "PendingFile":
        return self

    def publish(self) -> None:
        """Make what was written the file at ``url``, replacing an older one. Raises StorageError."""
        self.file.flush()
        if self._path is not None:
            with_retries(lambda: _publish_local(self.file, self._path, Path(absolute(self._url))), self._url, "write")
            return
        fs, path = open_filesystem(self._url)
        with_retries(lambda: fs.put_file(self.file.name, path), self._url, "write")

    def __exit__(self, *exception: object) -> None:
        self.file.close()
        if self._path is not None:
            self._path.unlink(missing_ok=True)


def replace_file(path: Path, data: bytes) -> None:
    """Write a local file and give it its name once it is on the disk. Raises OSError."""
    temporary = _temporary_beside(path)
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _temporary_beside(path: Path) -> Path:
    return path.parent / f"{TEMPORARY_PREFIX}{os.getpid()}-{uuid.uuid4().hex}"


def _publish_local(file: IO[bytes], temporary: Path | None, path: Path) -> None:
    assert temporary is not None
    os.fsync(file.fileno())
    temporary.replace(path)
    _sync_folder(path.parent)


def _sync_folder(path: Path) -> None:
    """The rename itself must survive a power cut too."""
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
