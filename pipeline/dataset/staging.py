"""Committed rows that wait beside the dataset until they are merged into their part: one file a commit.

A run merges its own staged files only. What an earlier run left, the next one takes over by renaming it; whatever a
run that lost its output still writes stays in a folder that nobody looks into any more.
"""

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from pipeline.dataset.files import PARALLEL_READS
from pipeline.dataset.layout import (
    STAGED_FOLDER,
    StagedName,
    digest_of_file,
    parse_staged,
    part_of_digest,
    staged_folder,
)
from pipeline.storage import (
    FileInfo,
    MissingFileError,
    atomic_write,
    delete,
    join,
    list_files,
    list_tree,
    make_directory,
    move,
    read_bytes,
    remove_empty_folders,
)

logger = logging.getLogger(__name__)

_OLDEST = 0
"""Origin of rows that stood in the dataset before any run with parts."""


@dataclass(frozen=True, kw_only=True)
class StagedFile:
    """One staged commit."""

    name: StagedName
    file: FileInfo


def staged_of_part(url: str, generation: int, part: int) -> list[StagedFile]:
    """What the run of this generation has to merge into a part, oldest rows first."""
    return _parsed(list_files(join(url, staged_folder(generation, part)), ".parquet"))


def staged_since(url: str, generation: int) -> list[StagedFile]:
    """What runs from this generation on have staged, oldest rows first."""
    files = _parsed(list_tree(join(url, STAGED_FOLDER), ".parquet"))
    return [staged for staged in files if staged.name.run >= generation]


def adopt(url: str, generation: int, parts: int, *, since: int) -> set[int]:
    """Take over what the runs from generation ``since`` on left; returns the parts that have something to merge."""
    files = staged_since(url, since)
    left = [staged for staged in files if staged.name.run < generation]

    def take(staged: StagedFile) -> None:
        name = replace(staged.name, run=generation, part=part_of_digest(staged.name.digest, parts))
        move(staged.file.url, join(url, name.path()))

    with ThreadPoolExecutor(PARALLEL_READS) as pool:
        list(pool.map(take, left))
    return {part_of_digest(staged.name.digest, parts) for staged in files}


def stage_video_files(url: str, generation: int, part: int, files: Sequence[str]) -> None:
    """Copy files of single videos out of ``masks``, as the oldest rows of their part; safe to repeat."""
    make_directory(join(url, staged_folder(generation, part)))

    def copy(file: str) -> None:
        try:
            content = read_bytes(file)
        except MissingFileError:
            return  # taken over before
        video = file.rpartition("/")[2].removesuffix(".parquet")
        name = StagedName(
            run=generation,
            part=part,
            video=video,
            digest=digest_of_file(file) or "",
            expressions="0" * 16,
            origin=_OLDEST,
        )
        atomic_write(join(url, name.path()), content)

    with ThreadPoolExecutor(PARALLEL_READS) as pool:
        list(pool.map(copy, files))


def delete_all(urls: Sequence[str]) -> None:
    """Delete files, several at a time; missing ones are fine."""
    with ThreadPoolExecutor(PARALLEL_READS) as pool:
        list(pool.map(delete, urls))


def tidy(url: str) -> None:
    """Remove the folders that staging leaves behind, where nothing is staged."""
    remove_empty_folders(join(url, STAGED_FOLDER))


def _parsed(files: Sequence[FileInfo]) -> list[StagedFile]:
    named = [(parse_staged(file.url), file) for file in files]
    staged = [StagedFile(name=name, file=file) for name, file in named if name is not None]
    return sorted(staged, key=lambda item: (item.name.origin, item.file.url))
