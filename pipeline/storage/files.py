"""Whole files: read, written in one step, moved, deleted."""

import contextlib
import io
import os
from pathlib import Path
from typing import IO

from pipeline.storage.atomic import TEMPORARY_PREFIX, replace_file
from pipeline.storage.failures import MissingFileError
from pipeline.storage.listing import details
from pipeline.storage.retries import with_retries
from pipeline.storage.urls import absolute, is_local, open_filesystem, parent

_COPIES_LATER = ("az://", "abfs://", "abfss://")
"""Azure may only begin a copy before it answers; the source must stay until the copy is complete."""


def exists(url: str) -> bool:
    """Whether a file or folder is there. Raises StorageError when that cannot be found out."""
    return details(url) is not None


def read_bytes(url: str) -> bytes:
    """The whole file. Raises MissingFileError, AccessDeniedError or StorageError."""
    fs, path = open_filesystem(url)
    return with_retries(lambda: bytes(fs.cat_file(path)), url, "read")


def open_input(url: str) -> IO[bytes]:
    """The file, open for reading and seeking; remote ones are fetched whole, so that reading cannot fail later."""
    if is_local(url):
        return with_retries(lambda: Path(absolute(url)).open("rb"), url, "read")
    return io.BytesIO(read_bytes(url))


def atomic_write(url: str, data: bytes) -> None:
    """Write ``data`` so that a reader sees the old file or the whole new one, whatever is killed meanwhile.

    Raises:
        StorageError: Full disk, missing permission, missing bucket, or a storage that stays unavailable.
    """
    if is_local(url):
        with_retries(lambda: replace_file(Path(absolute(url)), data), url, "write")
        return
    fs, path = open_filesystem(url)
    with_retries(lambda: fs.pipe_file(path, data), url, "write")  # an object appears when its upload is complete


def delete(url: str) -> None:
    """Delete a file; a missing one is fine."""
    fs, path = open_filesystem(url)

    def remove() -> None:
        try:
            fs.rm_file(path)
        except FileNotFoundError:
            return

    with_retries(remove, url, "delete")


def move(url: str, target: str) -> None:
    """Give a file another name on the same storage; safe to repeat."""
    make_directory(parent(target))
    fs, path = open_filesystem(url)
    target_path = open_filesystem(target)[1]

    def rename() -> None:
        if is_local(url):
            Path(path).replace(target_path)
            return
        if url.startswith(_COPIES_LATER):
            fs.pipe_file(target_path, fs.cat_file(path))
        else:
            fs.cp_file(path, target_path)
        fs.rm_file(path)

    try:
        with_retries(rename, url, "move")
    except MissingFileError:
        if not exists(target):
            raise


def file_version(url: str) -> str | None:
    """A text that differs once the file has been replaced; None when there is no file."""
    info = details(url)
    if info is None:
        return None
    keys = ("ETag", "etag", "md5Hash", "generation", "LastModified", "last_modified", "updated", "mtime", "ino", "size")
    return " ".join(str(info.get(key)) for key in keys)


def make_directory(url: str) -> None:
    """Make a local folder and its parents; object stores have none, so nothing happens there."""
    if is_local(url):
        with_retries(lambda: Path(absolute(url)).mkdir(parents=True, exist_ok=True), url, "create")


def remove_leftovers(url: str) -> None:
    """Delete what killed writers left at any depth of a local folder; an object store shows no unfinished uploads."""
    if not is_local(url):
        return
    for leftover in Path(absolute(url)).rglob(f"{TEMPORARY_PREFIX}*"):
        leftover.unlink(missing_ok=True)


def remove_empty_folders(url: str) -> None:
    """Remove the empty folders below a local ``url``, and itself if nothing is left; object stores have none."""
    if not is_local(url):
        return
    for folder, _, _ in os.walk(absolute(url), topdown=False):
        with contextlib.suppress(OSError):
            Path(folder).rmdir()
