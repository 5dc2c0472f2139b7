"""Where a video lies: paths and URLs resolved once, storage failures in one line."""

import errno
import os
import tempfile
import unicodedata
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import fsspec
from fsspec.implementations.local import LocalFileSystem

from pipeline.errors import (
    AccessDeniedError,
    NodeError,
    StorageError,
    StorageUnavailableError,
    UnreachableVideoError,
    VideoError,
)
from pipeline.storage import MissingFileError, local_path, open_filesystem, scrub, with_retries
from pipeline.video.frames import VideoLimits

_FETCH_CHUNK_BYTES = 4 * 2**20

PROTOCOLS = ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "hf", "http", "https", "memory")
"""URLs of videos beside local paths and ``file://``; all of them only fetch bytes."""

_NODE_ERRNOS = (
    *(errno.ENOSPC, errno.EDQUOT, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EROFS),
    *(errno.ESTALE, errno.ENOTCONN, errno.EHOSTDOWN),  # a network or FUSE file system whose server is gone
)


@dataclass(frozen=True, kw_only=True)
class Place:
    """An existing file or folder on some filesystem."""

    location: str
    """As the user wrote it; what errors name."""
    filesystem: fsspec.AbstractFileSystem
    path: str
    is_folder: bool
    size_bytes: int | None
    """Of a file, where the filesystem knows it."""

    @property
    def is_local(self) -> bool:
        """Whether ordinary file functions can open ``path``."""
        return isinstance(self.filesystem, LocalFileSystem)

    @property
    def file_name(self) -> str:
        """Lower-case name of the file itself; of a web address without query and fragment, as presigned ones have."""
        if self.location.startswith(("http://", "https://")):
            return urllib.parse.urlsplit(self.path).path.rpartition("/")[2].lower()
        return self.path.rpartition("/")[2].lower()

    @property
    def suffix(self) -> str:
        """Lower-case extension with its dot, of the file itself (not of a URL's query)."""
        return Path(self.file_name).suffix

    def open(self) -> BinaryIO:
        """Open the file for reading bytes; seekable."""
        with storage_errors(self.location):
            return with_retries(lambda: self.filesystem.open(self.path, "rb"), self.location, "read")


def find(location: str) -> Place:
    """Resolve a path or fsspec URL.

    Raises:
        VideoError: If nothing readable is there.
    """
    if not location.strip():
        raise VideoError("the video's location is empty")
    with storage_errors(location):
        if "\0" in location:
            raise ValueError("a path cannot contain a null character")
        if is_local_path(location):
            # A file of this very name goes before a home folder.
            path = location if os.path.lexists(location) else local_path(location)
            return _find_local(location, LocalFileSystem(), str(Path(path).absolute()))
        check_protocol(location)

        def look_up() -> Place:
            filesystem, path = open_filesystem(location)
            info = filesystem.info(path)
            is_folder = info["type"] == "directory"
            return Place(
                location=location, filesystem=filesystem, path=path, is_folder=is_folder, size_bytes=info.get("size")
            )

        return with_retries(look_up, location, "read")


def is_local_path(location: str) -> bool:
    """Whether ``location`` is a path or ``file://`` URL; a local file may well be called ``a::b.mp4``."""
    plain = os.path.lexists(location) or not ("://" in location or "::" in location)
    return plain or (location.startswith("file://") and "::" not in location)


def needs_credentials(location: str) -> bool:
    """Whether reading takes credentials of the run: neither a local file nor a web address, which carries its own."""
    return not is_local_path(location) and not location.startswith(("http://", "https://"))


def check_protocol(location: str) -> None:
    """Refuse a URL whose protocol could do more than fetch bytes, before fsspec makes anything of it.

    Raises:
        VideoError: For chained URLs (``a::b``), for protocols that are not in :data:`PROTOCOLS`, and for a password in
            the URL of a storage that takes none there.
    """
    protocol = location.partition("://")[0].lower()
    if "::" in location.partition("?")[0]:
        raise VideoError(f"{scrub(location)}: chained URLs (::) are not allowed for videos")
    user, at, _ = location.partition("://")[2].partition("/")[0].rpartition("@")
    if at and ":" in user and not protocol.startswith("http"):
        raise VideoError(
            f"{scrub(location)}: {protocol} URLs take no password; set the storage's environment variables"
        )
    if protocol not in PROTOCOLS:
        raise VideoError(f"{scrub(location)}: protocol {protocol!r} is not allowed for videos: {', '.join(PROTOCOLS)}")


def _find_local(location: str, filesystem: LocalFileSystem, path: str) -> Place:
    try:
        status = Path(path).stat()  # follows links, so a loop or a dangling link says so here
    except FileNotFoundError:
        for form in ("NFC", "NFD"):
            if Path(unicodedata.normalize(form, path)).exists():
                raise VideoError(
                    f"{scrub(location)}: no such file or folder; one exists whose name is the same in another Unicode "
                    f"form ({form}): write it in this form"
                ) from None
        raise
    is_folder = Path(path).is_dir()
    if not is_folder and not Path(path).is_file():
        # Opening a named pipe would wait for a writer that never comes.
        raise VideoError(f"{scrub(location)}: is neither a file nor a folder")
    return Place(location=location, filesystem=filesystem, path=path, is_folder=is_folder, size_bytes=status.st_size)


@contextmanager
def storage_errors(location: str) -> Iterator[None]:
    """Turn what a filesystem raises (each fsspec backend has its own classes) into one of this project's errors.

    Raises:
        VideoError: It is the file's own fault; UnreachableVideoError: that of the one host of an ``http(s)://`` URL.
        StorageUnavailableError, AccessDeniedError: A store with credentials of the run does not serve it.
        NodeError: This machine is out of disk, memory, descriptors or processes.
    """
    shown = scrub(location)
    try:
        yield
    except (VideoError, NodeError):
        raise
    except (StorageUnavailableError, AccessDeniedError) as error:
        if location.startswith(("http://", "https://")):
            raise UnreachableVideoError(str(error)) from error
        raise
    except (FileNotFoundError, MissingFileError) as error:
        raise VideoError(f"{shown}: no such file or folder") from error
    except StorageError as error:
        raise VideoError(str(error)) from error
    except PermissionError as error:
        raise VideoError(f"{shown}: permission denied; check its mode, or the credentials of its storage") from error
    except Exception as error:
        if is_node_trouble(error):
            raise NodeError(f"{shown}: this machine cannot work: {error}; free disk space, memory or files") from error
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error) or type(error).__name__
        reason = scrub(" ".join(reason.split()))
        raise VideoError(f"{shown}: cannot be read ({type(error).__name__}: {reason})") from error


def is_node_trouble(error: BaseException) -> bool:
    """Whether this machine and not the input is to blame: no disk space, memory, descriptors or processes."""
    return isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in _NODE_ERRNOS)


class LocalCopy:
    """A video file where FFmpeg can open it: itself if local, else fetched to a temporary file.

    On Linux the temporary file has no name any more once it is open: even a killed process leaves nothing behind.
    """

    def __init__(self, place: Place, limits: VideoLimits, progress: Callable[[], None]) -> None:
        """Fetch ``place`` if it is not local.

        Args:
            place: The file.
            limits: For the size to refuse.
            progress: Called after every chunk, so that a deadline can measure standstill and not the file's size.

        Raises:
            VideoError: If the file cannot be fetched or is over the limit.
        """
        self._file: BinaryIO | None = None
        self._name: str | None = None
        self.path = place.path
        if place.is_local:
            return
        if place.size_bytes is not None and place.size_bytes > limits.max_file_bytes:
            raise _too_large(place, limits)
        with storage_errors(tempfile.gettempdir()):
            descriptor, self._name = tempfile.mkstemp(prefix="video-", suffix=place.suffix)
        self._file = os.fdopen(descriptor, "wb")
        self.path = self._name
        by_descriptor = Path(f"/proc/self/fd/{descriptor}")
        if by_descriptor.exists():
            Path(self._name).unlink()
            self._name, self.path = None, str(by_descriptor)
        try:
            self._fetch(place, limits, progress)
        except BaseException:
            self.close()
            raise

    def _fetch(self, place: Place, limits: VideoLimits, progress: Callable[[], None]) -> None:
        assert self._file is not None
        file = self._file

        def fetch() -> None:
            file.seek(0)
            file.truncate()
            with place.filesystem.open(place.path, "rb") as remote:
                while chunk := remote.read(_FETCH_CHUNK_BYTES):
                    if file.tell() + len(chunk) > limits.max_file_bytes:
                        raise _too_large(place, limits)
                    _write(file, chunk)
                    progress()
            file.flush()

        with storage_errors(place.location):
            with_retries(fetch, place.location, "read")

    def close(self) -> None:
        """Remove the temporary file, if there is one."""
        if self._file is not None:
            self._file.close()
            self._file = None
        if self._name is not None:
            Path(self._name).unlink(missing_ok=True)
            self._name = None


def _write(file: BinaryIO, chunk: bytes) -> None:
    try:
        file.write(chunk)
    except OSError as error:  # of the temporary folder, not of the storage that is read
        raise NodeError(f"cannot write to {tempfile.gettempdir()}: {error}; free space or set TMPDIR") from error


def _too_large(place: Place, limits: VideoLimits) -> VideoError:
    return VideoError(
        f"{scrub(place.location)}: is over the limit of {limits.max_file_bytes} bytes for a remote video file"
    )
