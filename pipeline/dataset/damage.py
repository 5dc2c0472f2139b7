"""What of a damaged file still reads back, and where the damaged file is kept."""

import logging
import posixpath
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.dataset.files import PARALLEL_READS, BrokenFileError, mask_files, read_group, read_metadata
from pipeline.dataset.layout import DAMAGED_FOLDER, digest_of_file, part_of_digest, part_of_file
from pipeline.schema import MASKS_SCHEMA
from pipeline.storage import FileInfo, MissingFileError, atomic_write, delete, join, make_directory, read_bytes

logger = logging.getLogger(__name__)

CHECKED_BYTES = 2 * 2**30
"""So much is read through for damage when a run begins."""
Key = tuple[str, str]
"""Video and expression."""


@dataclass(frozen=True, kw_only=True)
class Sound:
    """What of a file reads back; all of it unless something else is said.

    Attributes:
        is_unreadable: Nothing does.
        damaged_groups: Row groups that do not.
        lost: Expressions with rows in these, as far as that is known.
    """

    is_unreadable: bool = False
    damaged_groups: frozenset[int] = frozenset()
    lost: frozenset[Key] = frozenset()

    def without_lost(self, rows: pa.Table) -> pa.Table:
        """``rows`` without those of expressions of which other rows are lost."""
        if not self.lost:
            return rows
        pairs = zip(rows["video_id"].to_pylist(), rows["expression_id"].to_pylist(), strict=True)
        return rows.filter(pa.array([pair not in self.lost for pair in pairs], pa.bool_()))

    def lost_text(self) -> str:
        """How much is lost, for a message."""
        if self.is_unreadable:
            return "all rows of its videos have"
        if not self.lost:
            return "some of its rows have"
        example = min(self.lost)
        return (
            f"at least {len(self.lost)} expressions of {len({video for video, _ in self.lost})} videos "
            f"(video {example[0]!r}, expression {example[1]!r} for example) have"
        )


def is_sound(file: FileInfo) -> bool:
    """Whether all rows of a file read back, checksums included."""
    return sound_rows(file) == Sound()


def sound_rows(file: FileInfo) -> Sound:
    """Read all of a file and say what reads back. Raises StorageError where the storage fails."""
    try:
        _, groups = read_metadata(file)
    except BrokenFileError:
        return Sound(is_unreadable=True)
    damaged: set[int] = set()
    lost: set[Key] = set()
    ends: list[tuple[Key, Key] | None] = []
    """First and last expression of each group."""
    for group in range(groups):
        keys = _keys(file, group)
        ends.append((keys[0], keys[-1]) if keys else None)
        try:
            read_group(file, group, MASKS_SCHEMA.names).validate(full=True)
        except (BrokenFileError, pa.ArrowException):
            damaged.add(group)
            lost.update(keys or ())
    for group in damaged:
        if ends[group] is None:  # what stood at its ends may go on in its neighbours
            lost.update(end[1] for end in ends[max(0, group - 1) : group] if end)
            lost.update(end[0] for end in ends[group + 1 : group + 2] if end)
    return Sound(damaged_groups=frozenset(damaged), lost=frozenset(lost))


def keep_damaged(url: str, file: FileInfo, *, copy: bool = False) -> None:
    """Put a damaged file where nobody reads it, instead of deleting it.

    Args:
        url: The output.
        file: The file.
        copy: It is about to be replaced, so leave it until then.
    """
    folder = join(url, DAMAGED_FOLDER)
    make_directory(folder)
    try:
        atomic_write(join(folder, posixpath.basename(file.url)), read_bytes(file.url))
    except MissingFileError:
        return
    if not copy:
        delete(file.url)


def _keys(file: FileInfo, group: int) -> list[Key] | None:
    """Video and expression of each row; None where even these do not read back."""
    try:
        rows = read_group(file, group, ["video_id", "expression_id"])
        if pc.any(pc.is_null(rows["video_id"])).as_py():
            return None
        rows.validate(full=True)
    except (BrokenFileError, pa.ArrowException):
        return None
    return list(zip(rows["video_id"].to_pylist(), rows["expression_id"].to_pylist(), strict=True))


def damaged_files(url: str, parts: int, parts_to_do: Collection[int]) -> list[FileInfo]:
    """Files of an output that do not read back, among the first :data:`CHECKED_BYTES`.

    Args:
        url: Of the output.
        parts: That it has.
        parts_to_do: Whose files will be written anew; they are read first.
    """

    def is_concerned(file: FileInfo) -> bool:
        number, digest = part_of_file(file.url), digest_of_file(file.url)
        return (number[0] if number else part_of_digest(digest or "0", parts)) in parts_to_do

    files, size_bytes = [], 0
    for file in sorted(mask_files(url), key=lambda file: not is_concerned(file)):
        size_bytes += file.size_bytes
        if size_bytes > CHECKED_BYTES:
            break  # what will be written anew is read when it is merged
        files.append(file)
    with ThreadPoolExecutor(PARALLEL_READS) as pool:
        return [file for file, sound in zip(files, pool.map(is_sound, files), strict=True) if not sound]
