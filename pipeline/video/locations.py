"""Where a video lies: paths and URLs resolved once, storage failures in one line."""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import fsspec
from fsspec.implementations.local import LocalFileSystem

from pipeline.errors import VideoError
from pipeline.video.frames import VideoLimits

_FETCH_CHUNK_BYTES = 4 * 2**20


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
    def suffix(self) -> str:
        """Lower-case extension with its dot, of the file itself (not of a URL's query)."""
        return Path(self.path.split("?")[0]).suffix.lower()

    def open(self) -> BinaryIO:
        """Open the file for reading bytes; seekable."""
        with storage_errors(self.location):
            return self.filesystem.open(self.path, "rb")


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
        # A local file may well be called "a::b.mp4", which fsspec would take for chained URLs.
        if os.path.lexists(location) or not ("://" in location or "::" in location):
            filesystem, path = LocalFileSystem(), str(Path(location).expanduser().absolute())
        else:
            filesystem, path = fsspec.core.url_to_fs(location)
        if isinstance(filesystem, LocalFileSystem):
            return _find_local(location, filesystem, path)
        info = filesystem.info(path)
        is_folder = info["type"] == "directory"
        return Place(
            location=location, filesystem=filesystem, path=path, is_folder=is_folder, size_bytes=info.get("size")
        )


def _find_local(location: str, filesystem: LocalFileSystem, path: str) -> Place:
    status = Path(path).stat()  # follows links, so a loop or a dangling link says so here
    is_folder = Path(path).is_dir()
    if not is_folder and not Path(path).is_file():
        # Opening a named pipe would wait for a writer that never comes.
        raise VideoError(f"{location}: is neither a file nor a folder")
    return Place(location=location, filesystem=filesystem, path=path, is_folder=is_folder, size_bytes=status.st_size)


@contextmanager
def storage_errors(location: str) -> Iterator[None]:
    """Turn whatever a filesystem raises (each fsspec backend has its own classes) into a VideoError of one line."""
    try:
        yield
    except VideoError:
        raise
    except FileNotFoundError as error:
        raise VideoError(f"{location}: no such file or folder") from error
    except PermissionError as error:
        raise VideoError(f"{location}: permission denied; check its mode, or the credentials of its storage") from error
    except Exception as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error) or type(error).__name__
        raise VideoError(f"{location}: cannot be read ({type(error).__name__}: {' '.join(reason.split())})") from error


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
        total = 0
        with storage_errors(place.location), place.filesystem.open(place.path, "rb") as remote:
            while chunk := remote.read(_FETCH_CHUNK_BYTES):
                total += len(chunk)
                if total > limits.max_file_bytes:
                    raise _too_large(place, limits)
                self._file.write(chunk)
                progress()
            self._file.flush()

    def close(self) -> None:
        """Remove the temporary file, if there is one."""
        if self._file is not None:
            self._file.close()
            self._file = None
        if self._name is not None:
            Path(self._name).unlink(missing_ok=True)
            self._name = None


def _too_large(place: Place, limits: VideoLimits) -> VideoError:
    return VideoError(f"{place.location}: is over the limit of {limits.max_file_bytes} bytes for a remote video file")
