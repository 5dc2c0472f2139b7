"""A model directory on any fsspec URL: which files it has, and copying them here."""

import fnmatch
import hashlib
import logging
import os
import posixpath
import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pipeline.errors import CheckpointError
from pipeline.model.checkpoint.fetch_once import CACHE_VARIABLE, MODEL_FILES
from pipeline.storage import list_names, open_filesystem, scrub, with_retries

log = logging.getLogger(__name__)

_VERSION_KEYS = ("ETag", "etag", "md5Hash", "content_md5", "mtime", "LastModified", "last_modified", "created")
"""What file systems call the thing that changes when a file's content does; the first one present counts."""


@dataclass(frozen=True)
class _RemoteFile:
    name: str
    path: str
    size_bytes: int | None
    version: str


def revision_of(url: str) -> str:
    """A hash of names, sizes and versions of the model's files: another one means another content.

    Raises:
        CheckpointError: no model there.
        StorageError: the storage does not answer.
    """
    lines = [f"{file.name}\0{file.size_bytes}\0{file.version}\n" for file in _files(url)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:40]


def download(url: str, revision: str, folder: Path) -> Path:
    """Copy the model's files into ``folder``; files that an interrupted attempt had finished are kept.

    Raises:
        CheckpointError: no model there, not of this revision any more, or no room for it.
        StorageError: the storage does not answer.
    """
    if revision_of(url) != revision:
        raise CheckpointError(f"{scrub(url)}: changed while this run was starting; start it again")
    files = _files(url)
    wanted = {file.name: file.size_bytes for file in files}
    for stray in folder.iterdir():
        if stray.name not in wanted or stray.stat().st_size != wanted[stray.name]:
            stray.unlink()
    missing = [file for file in files if not (folder / file.name).is_file()]
    needed, free = sum(file.size_bytes or 0 for file in missing), shutil.disk_usage(folder).free
    if needed > free:
        raise CheckpointError(
            f"{scrub(url)}: needs {needed / 1e9:.1f} GB, {folder} has {free / 1e9:.1f} GB left; set "
            f"{CACHE_VARIABLE} to a folder with room"
        )
    fs, _ = open_filesystem(url)
    for file in missing:
        log.info("fetching %s/%s", scrub(url), file.name)
        part = folder / f"{file.name}.part"
        with_retries(partial(fs.get_file, file.path, str(part)), f"{url}/{file.name}", "read")
        _check_size(file, part, url)
        part.rename(folder / file.name)
    return folder


def _files(url: str) -> list[_RemoteFile]:
    fs, folder = open_filesystem(url)
    names = [name for name in list_names(url) if any(fnmatch.fnmatch(name, pattern) for pattern in MODEL_FILES)]
    if "config.json" not in names:
        raise CheckpointError(f"{scrub(url)}: not a model directory (it has no config.json)")
    found = []
    for name in names:
        path = posixpath.join(folder, name)
        info: dict[str, Any] = with_retries(partial(fs.info, path), f"{url}/{name}", "look up")
        version = next((str(info[key]) for key in _VERSION_KEYS if info.get(key) is not None), "")
        found.append(_RemoteFile(name, path, info.get("size"), version))
    return found


def _check_size(file: _RemoteFile, part: Path, url: str) -> None:
    size = part.stat().st_size
    if file.size_bytes is not None and size != file.size_bytes:
        raise CheckpointError(
            f"{scrub(url)}/{file.name}: got {size} of {file.size_bytes} bytes; start the same command again"
        )
    with part.open("rb") as written:
        os.fsync(written.fileno())  # the marker that follows must not outlive the data in a power cut
