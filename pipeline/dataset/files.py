"""Reading the dataset's Parquet files from any storage: their list, and columns of one of them."""

import io
import logging
import posixpath
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.dataset.layout import MASKS_FOLDER, digest_of_file, part_of_digest, part_of_file, video_digest
from pipeline.dataset.versions import check_version, current_columns
from pipeline.errors import PipelineError, UsageError
from pipeline.storage import (
    FileInfo,
    MissingFileError,
    is_local,
    join,
    list_files,
    open_filesystem,
    scrub,
    with_retries,
)

logger = logging.getLogger(__name__)

T = TypeVar("T")

PARALLEL_READS = 16
_FETCH_WHOLE_BYTES = 2**20  # below this one request for everything beats several for parts


_EXACT_RANGES = {"cache_type": "none"}  # reading ahead would fetch the columns that are not wanted


class BrokenFileError(PipelineError):
    """A file of the dataset does not read back as Parquet with the columns asked for.

    Attributes:
        file: Its URL.
    """

    def __init__(self, message: str, file: str = "") -> None:
        super().__init__(message, file)
        self.message, self.file = message, file

    def __str__(self) -> str:
        return self.message


def mask_files(url: str) -> list[FileInfo]:
    """The Parquet files of the dataset at ``url``, by name; none when it does not exist."""
    return list_files(join(url, MASKS_FOLDER), ".parquet")


def may_hold(file: FileInfo, digests: Collection[str]) -> bool:
    """Whether, by its name, a file may hold rows of one of the videos that the digests stand for."""
    part = part_of_file(file.url)
    if part is not None:
        return any(part_of_digest(digest, part[1]) == part[0] for digest in digests)
    own = digest_of_file(file.url)
    return own is None or own in digests


def file_of_video(files: Sequence[FileInfo], video_id: str) -> str | None:
    """The one of ``files`` that holds a video's rows by its name, relative to the dataset; None if none says so."""
    digest = video_digest(video_id)
    for file in files:
        part = part_of_file(file.url)
        if digest_of_file(file.url) == digest or (part and part_of_digest(digest, part[1]) == part[0]):
            return f"{MASKS_FOLDER}/{posixpath.basename(file.url)}"
    return None


def with_parquet(file: FileInfo, use: Callable[[pq.ParquetFile], T]) -> T:
    """Open ``file``, let ``use`` read from it, close it; again from the start where the storage failed for a moment.

    Raises:
        BrokenFileError: It is not a Parquet file, is cut short, or lacks a column.
        StorageError: It cannot be fetched.
    """
    fs, path = open_filesystem(file.url)

    def attempt() -> T:
        if file.size_bytes <= _FETCH_WHOLE_BYTES:
            source = _Source(io.BytesIO(fs.cat_file(path)))
        else:
            source = _Source(fs.open(path, "rb", **({} if is_local(file.url) else _EXACT_RANGES)))
        try:
            with source, pq.ParquetFile(source, pre_buffer=True, page_checksum_verification=True) as parquet:
                check_version(parquet.metadata.metadata)
                return use(parquet)
        except (pa.ArrowException, OSError, ValueError, KeyError, IndexError) as error:
            if source.failure is not None:
                raise source.failure from error
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            if "lists to be of size" in reason:
                reason += f" (a file of schema version 1 needs pyarrow 26 or later; this is {pa.__version__})"
            raise BrokenFileError(f"{scrub(file.url)}: does not read back: {reason}", file.url) from error

    return with_retries(attempt, file.url, "read")


class _Source:
    """A file that remembers its own failure: pyarrow reports damaged content as OSError too."""

    def __init__(self, file: Any) -> None:  # noqa: ANN401 - fsspec's files share no type
        self._file = file
        self.failure: Exception | None = None

    def read(self, size: int = -1) -> bytes:
        try:
            return bytes(self._file.read(size))
        except Exception as error:
            self.failure = error
            raise

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._file, name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()


def read_columns(file: FileInfo, columns: list[str]) -> pa.Table:
    """Some columns of a file. Raises BrokenFileError also where one of them is missing."""

    def read(parquet: pq.ParquetFile) -> pa.Table:
        table = current_columns(parquet.read(columns=columns), columns)
        table.validate(full=True)  # text that is not UTF-8 would fail later, far from here
        return table

    return with_parquet(file, read)


def read_row_group(parquet: pq.ParquetFile, group: int, columns: Sequence[str]) -> pa.Table:
    """Some columns of a row group, in the current schema. Raises KeyError where one of them is missing."""
    return current_columns(parquet.read_row_group(group, columns=list(columns)), columns)


def read_group(file: FileInfo, group: int, columns: Sequence[str]) -> pa.Table:
    """Some columns of a row group of a file. Raises BrokenFileError or StorageError."""
    return with_parquet(file, lambda parquet: read_row_group(parquet, group, columns))


def read_metadata(file: FileInfo) -> tuple[dict[bytes, bytes], int]:
    """A file's metadata, and its number of row groups. Raises BrokenFileError or StorageError."""
    return with_parquet(file, lambda parquet: (dict(parquet.metadata.metadata or {}), parquet.num_row_groups))


def read_columns_of_all(files: list[FileInfo], columns: list[str]) -> Iterator[tuple[FileInfo, pa.Table | None]]:
    """:func:`read_columns` for many files in parallel; None and a logged warning for one that does not read back."""

    def read(file: FileInfo) -> tuple[FileInfo, pa.Table | None]:
        try:
            return file, read_columns(file, columns)
        except BrokenFileError as error:
            logger.warning("%s; its rows count as missing", error)
            return file, None
        except MissingFileError:
            return file, None  # merged at this moment

    with ThreadPoolExecutor(max_workers=PARALLEL_READS) as pool:
        yield from pool.map(read, files)


def files_of_single_videos(url: str, parts: int) -> dict[int, list[str]]:
    """Files of an output that hold one video each, as in schema version 1, by the part they belong to.

    Raises:
        UsageError: A file is of another kind of dataset.
    """
    found: dict[int, list[str]] = {}
    for file in mask_files(url):
        digest, part = digest_of_file(file.url), part_of_file(file.url)
        if digest is not None:
            found.setdefault(part_of_digest(digest, parts), []).append(file.url)
        elif part is None or part[1] != parts:
            raise UsageError(
                f"{scrub(file.url)}: is not a file of this output, which has {parts} parts; move it elsewhere"
            )
    return found
