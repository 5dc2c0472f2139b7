"""Where an export goes: a zip file, a folder or a single file; under its final name only when it is complete."""

import os
import shutil
import tempfile
import uuid
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from pipeline.errors import StorageError, UsageError
from pipeline.export.names import safe_path
from pipeline.storage import (
    TEMPORARY_PREFIX,
    absolute,
    atomic_write,
    is_local,
    join,
    open_filesystem,
    scrub,
    with_retries,
)

_EPOCH = (1980, 1, 1, 0, 0, 0)
"""Every entry gets this time, so that the same export is the same file."""


class Sink(Protocol):
    """Takes files by their path in the export."""

    def write(self, path: str, data: bytes) -> None:
        """Add one file. Raises UnsafePathError for a path that leaves the export."""


class _ZipSink:
    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive

    def write(self, path: str, data: bytes) -> None:
        # PNG is compressed already; storing it is faster and no larger.
        self._archive.writestr(zipfile.ZipInfo(safe_path(path), _EPOCH), data)


class _FolderSink:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, path: str, data: bytes) -> None:
        target = self._folder / safe_path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)


class _RemoteFolderSink:
    def __init__(self, url: str) -> None:
        self._url = url

    def write(self, path: str, data: bytes) -> None:
        atomic_write(join(self._url, safe_path(path)), data)


@contextmanager
def open_sink(output: str) -> Iterator[Sink]:
    """Open ``output`` for writing: a zip file when it ends in ``.zip``, else a folder.

    It appears under its name when the block ends well, and leaves nothing when it does not; only on an object store
    the files of a folder appear one by one.

    Raises:
        UsageError: The folder exists and holds something.
        StorageError: It cannot be written.
    """
    if output.lower().endswith(".zip"):
        with finished_file(output) as path, zipfile.ZipFile(path, "w") as archive:
            yield _ZipSink(archive)
    elif is_local(output):
        with _finished_folder(Path(absolute(output))) as folder:
            yield _FolderSink(folder)
    else:
        yield _RemoteFolderSink(output)


@contextmanager
def finished_file(url: str) -> Iterator[Path]:
    """A local path to write to, moved or uploaded to ``url`` when the block ends well. Raises StorageError."""
    if not is_local(url):
        with tempfile.TemporaryDirectory(prefix="export-") as folder:
            path = Path(folder) / "file"
            yield path
            fs, target = open_filesystem(url)
            with_retries(lambda: fs.put_file(str(path), target), url, "write")
        return
    target_path = Path(absolute(url))
    temporary = _temporary_beside(target_path)
    with _storage_errors(target_path):
        try:
            target_path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.replace(target_path)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def _finished_folder(target: Path) -> Iterator[Path]:
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UsageError(f"{target}: exists already; name a new folder, so that two exports do not mix")
    temporary = _temporary_beside(target)
    with _storage_errors(target):
        try:
            temporary.mkdir(parents=True)
            yield temporary
            if target.exists():
                target.rmdir()
            temporary.rename(target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _temporary_beside(target: Path) -> Path:
    return target.parent / f"{TEMPORARY_PREFIX}{os.getpid()}-{uuid.uuid4().hex}"


@contextmanager
def _storage_errors(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(f"{scrub(str(target))}: cannot write: {error.strerror or error}") from error
