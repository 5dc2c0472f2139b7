"""Zip and tar archives of frame images, read in place: nothing is extracted, no member name becomes a path on disk."""

import lzma
import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Self

from pipeline.errors import VideoError
from pipeline.storage import scrub
from pipeline.video.folder import ImageStore, is_image_path
from pipeline.video.frames import VideoLimits, no_progress
from pipeline.video.locations import LocalCopy, Place, storage_errors

ARCHIVE_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")

_MAX_RATIO = 200
"""Unpacked over packed size of a zip member. Deflate reaches 1000 on zeros; images hardly shrink at all."""

_SMALL_BYTES = 2**20
"""Members below this unpacked size are harmless whatever their ratio; no long name or list of attributes is larger."""

_TAR_EXTENSIONS = (
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
)


def open_archive(place: Place, limits: VideoLimits, progress: Callable[[], None] = no_progress) -> ImageStore:
    """Open an archive and list its images.

    Reading a compressed tar in another order than it was packed in unpacks it from the start each time; pack frames
    sorted by name, or use a zip.

    Args:
        place: The archive.
        limits: What to refuse.
        progress: Called for every file that is listed, which takes long in a large compressed tar.

    Raises:
        VideoError: If it is no archive, holds links or names that climb out, is over ``limits``, or spreads its images
            over several folders.
    """
    if place.size_bytes == 0:
        raise VideoError(f"{scrub(place.location)}: the file is empty")
    if place.file_name.endswith(".zip"):
        return _ZipStore(place, limits, progress)
    return _TarStore(place, limits, progress)


def _open_seekable(place: Place, limits: VideoLimits, progress: Callable[[], None]) -> BinaryIO:
    """The archive's file; a temporary copy of it where the server gives neither its size nor parts of it."""
    file = place.open()
    try:
        file.seek(0, os.SEEK_END)  # seekable() says yes of a stream, too
    except ValueError:
        file.close()
    else:
        file.seek(0)
        return file
    copy = LocalCopy(place, limits, progress)
    try:
        return Path(copy.path).open("rb")
    finally:
        copy.close()  # a file without a name stays readable while it is open


class _ZipStore:
    def __init__(self, place: Place, limits: VideoLimits, progress: Callable[[], None]) -> None:
        self._location = scrub(place.location)
        self._limits = limits
        self._file = _open_seekable(place, limits, progress)
        try:
            with _archive_errors(self._location):
                self._zip = zipfile.ZipFile(self._file)
                # Windows tools may write backslashes; zipfile itself reads them as part of the name.
                self._members = {
                    member.filename.replace("\\", "/"): member for member in self._zip.infolist() if _is_file(member)
                }
                _check_names(self._location, self._zip.namelist())
        except BaseException:
            self._file.close()
            raise

    def sizes(self) -> dict[str, int | None]:
        images = {name: member for name, member in self._members.items() if _is_frame(name)}
        for name, member in images.items():
            packed = max(member.compress_size, 1)
            if member.file_size > _SMALL_BYTES and member.file_size / packed > _MAX_RATIO:
                raise VideoError(f"{self._location}: {name} unpacks to {member.file_size} bytes, possibly a bomb")
        return _one_folder(self._location, {name: member.file_size for name, member in images.items()})

    def read(self, paths: Sequence[str]) -> Iterator[bytes]:
        for path in paths:
            with _archive_errors(f"{self._location}: {path}"), self._zip.open(self._members[path]) as member:
                data = member.read(self._limits.max_image_bytes + 1)  # a member may be larger than it declares
            if len(data) > self._limits.max_image_bytes:
                raise VideoError(f"{self._location}: {path} is over the limit of {self._limits.max_image_bytes} bytes")
            yield data

    def close(self) -> None:
        self._zip.close()
        self._file.close()


def _is_file(member: zipfile.ZipInfo) -> bool:
    return not member.filename.endswith(("/", "\\"))  # as is_dir() tells it, which fails on a name that is empty


class _BoundedMember(tarfile.TarInfo):
    """A member whose long names and attributes are refused when they are huge: tarfile reads them into memory."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        member = super().frombuf(buf, encoding, errors)
        if member.type in _TAR_EXTENSIONS and member.size > _SMALL_BYTES:
            raise tarfile.ReadError(f"a member's name or attributes take {member.size} bytes, possibly a bomb")
        return member


class _TarStore:
    def __init__(self, place: Place, limits: VideoLimits, progress: Callable[[], None]) -> None:
        self._location = scrub(place.location)
        self._file = _open_seekable(place, limits, progress)
        try:
            with _archive_errors(self._location):
                self._tar = tarfile.open(fileobj=self._file, mode="r:*", tarinfo=_BoundedMember)  # noqa: SIM115
                self._members = self._list(limits, progress)
                _check_names(self._location, list(self._members))
        except BaseException:
            self._file.close()
            raise

    def _list(self, limits: VideoLimits, progress: Callable[[], None]) -> dict[str, tarfile.TarInfo]:
        members: dict[str, tarfile.TarInfo] = {}
        unpacked = 0
        for member in self._tar:
            progress()
            unpacked += member.size
            if unpacked > limits.max_file_bytes:
                raise VideoError(f"{self._location}: unpacks to more than the limit of {limits.max_file_bytes} bytes")
            # Checked member by member: going on to the next one would unpack this one first.
            if member.size > limits.max_image_bytes:
                raise VideoError(f"{self._location}: {member.name} is over the limit of {limits.max_image_bytes} bytes")
            if member.isdir():
                continue
            if not member.isfile():
                if is_image_path(member.name):
                    raise VideoError(f"{self._location}: {member.name} is a link or device; pack the files themselves")
                continue
            members[member.name] = member
            limits.check_count(len(members), self._location)
        return members

    def sizes(self) -> dict[str, int | None]:
        return _one_folder(
            self._location, {name: member.size for name, member in self._members.items() if _is_frame(name)}
        )

    def read(self, paths: Sequence[str]) -> Iterator[bytes]:
        for path in paths:
            with _archive_errors(f"{self._location}: {path}"):
                member = self._tar.extractfile(self._members[path])
                assert member is not None  # only regular files are listed
                data = member.read()
            yield data

    def close(self) -> None:
        self._tar.close()
        self._file.close()


def _is_frame(name: str) -> bool:
    return is_image_path(name) and PurePosixPath(name).parts[0] != "__MACOSX"


def _check_names(location: str, names: list[str]) -> None:
    for name in names:
        path = PurePosixPath(name.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or ":" in (path.parts or ("",))[0]:
            raise VideoError(f"{location}: member {name!r} climbs out of the archive; refused")


def _one_folder(location: str, sizes: dict[str, int | None]) -> dict[str, int | None]:
    folders = sorted({str(PurePosixPath(name).parent) for name in sizes})
    if len(folders) > 1:
        raise VideoError(
            f"{location}: holds images in {len(folders)} folders ({folders[0]}, {folders[1]}, ...); one video each"
        )
    return sizes


@contextmanager
def _archive_errors(what: str) -> Iterator[None]:
    with storage_errors(what):
        try:
            yield
        except (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError) as error:
            reason = " ".join(str(error).split())  # tarfile lists in lines what it tried
            raise VideoError(f"{what}: the archive is damaged ({reason})") from error
        except NotImplementedError as error:
            raise VideoError(f"{what}: packed by a method that cannot be read ({error}); pack it again") from error
        except RuntimeError as error:  # zipfile's word for a password
            raise VideoError(f"{what}: cannot be unpacked ({error})") from error
