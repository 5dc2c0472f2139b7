"""Files of a dataset that do not read back: which they are, why, and whose rows they held."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.dataset.files import BrokenFileError, mask_files, read_columns, read_group, read_row_group, with_parquet
from pipeline.errors import PipelineError, StorageError
from pipeline.schema import MASKS_SCHEMA
from pipeline.storage import FileInfo, is_local, scrub

_NAMED_VIDEOS = 5
_QUICK_BYTES, _QUICK_REMOTE_BYTES = 2**30, 2**26


@dataclass(frozen=True, kw_only=True)
class DamagedFile:
    """One file, or one row group of a file, that does not read back."""

    url: str
    reason: str
    """One line that names the file."""
    videos: tuple[str, ...] | None
    """Ids of the videos whose rows it holds; None if not even these can be read."""

    def __str__(self) -> str:
        if self.videos is None:
            return f"{self.reason}; which videos it holds cannot be read either"
        named = ", ".join(map(repr, self.videos[:_NAMED_VIDEOS]))
        more = len(self.videos) - _NAMED_VIDEOS
        return f"{self.reason}; it holds rows of {named}" + (f" and {more} more videos" if more > 0 else "")


class DamagedDatasetError(PipelineError):
    """A dataset cannot be read in full. Nothing that was to be made of it is complete.

    Attributes:
        files: What does not read back.
    """

    def __init__(self, files: Sequence[DamagedFile]) -> None:
        more = f" (and {len(files) - 1} more files)" if len(files) > 1 else ""
        super().__init__(
            f"damaged dataset: {files[0]}{more}; the same annotate command does these videos again, "
            "--allow-missing goes on without their rows"
        )
        self.files = tuple(files)

    def __reduce__(self) -> tuple[type["DamagedDatasetError"], tuple[tuple[DamagedFile, ...]]]:
        """Made from its files, also in another process: an exception is copied by its message otherwise."""
        return type(self), (self.files,)


def damaged_file(file: FileInfo, error: BrokenFileError, group: int | None = None) -> DamagedFile:
    """Describe a file that did not read back; its ids are read once more by themselves.

    Args:
        file: The file.
        error: What reading it raised.
        group: The row group that was read; None if it was the file as a whole.
    """
    try:
        if group is None:
            table = read_columns(file, ["video_id"])
        else:
            table = with_parquet(file, lambda parquet: read_row_group(parquet, group, ["video_id"]))
        videos = tuple(dict.fromkeys(table.column("video_id").to_pylist()))
    except (BrokenFileError, StorageError):
        videos = None
    return DamagedFile(url=file.url, reason=scrub(str(error)), videos=videos)


def row_groups_of(file: FileInfo) -> int:
    """The number of row groups of a file; 0 if its footer does not read back."""
    try:
        return with_parquet(file, lambda parquet: int(parquet.num_row_groups))
    except BrokenFileError:
        return 0


def quick_bytes(url: str) -> int:
    """So much of a dataset is read in seconds: commands that only look at one read all of it up to this size."""
    return _QUICK_BYTES if is_local(url) else _QUICK_REMOTE_BYTES


def find_damage(url: str, *, most_bytes: int | None = None) -> list[DamagedFile] | None:
    """Read every page of a dataset, one row group at a time, and list what does not read back.

    Args:
        url: The dataset's directory.
        most_bytes: Do not begin if the files are larger than this together.

    Returns:
        The damaged files; None if the dataset is too large.

    Raises:
        StorageError: The storage failed.
    """
    damaged: list[DamagedFile] = []
    files = mask_files(url)
    if most_bytes is not None and sum(file.size_bytes for file in files) > most_bytes:
        return None
    for file in files:
        groups = row_groups_of(file)
        for group in range(groups) if groups else [None]:
            try:
                if group is None:
                    read_columns(file, ["video_id"])
                else:
                    read_group(file, group, MASKS_SCHEMA.names)
            except BrokenFileError as error:
                damaged.append(damaged_file(file, error, group))
    return damaged


def lost_rows(run: Mapping[str, Any], rows: int) -> int:
    """Rows that a finished run counted and that are not in its dataset any more: files are gone.

    Args:
        run: The content of ``run.json``.
        rows: Rows that the dataset holds now, damaged ones included.
    """
    counts = run.get("counts")
    counted = counts.get("rows") if isinstance(counts, dict) else None
    if run.get("state") != "finished" or type(counted) is not int:
        return 0
    return max(counted - rows, 0)


def rows_of_files(url: str) -> int:
    """Rows of all files of a dataset as their footers state them; files without a readable footer have none."""
    total = 0
    for file in mask_files(url):
        try:
            total += with_parquet(file, lambda parquet: int(parquet.metadata.num_rows))
        except BrokenFileError:
            continue
    return total
