"""What a dataset holds, a range of parts at a time, with every video in one piece: memory does not grow with it."""

import logging
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.dataset.files import PARALLEL_READS, BrokenFileError, mask_files, with_parquet
from pipeline.dataset.layout import digest_of_file, part_of_digest, part_of_file
from pipeline.dataset.notes import SOURCES, VideoNote, notes_from_metadata
from pipeline.dataset.owner import read_owner
from pipeline.dataset.sources import is_same
from pipeline.dataset.staging import StagedFile, staged_since
from pipeline.dataset.versions import current_columns
from pipeline.storage import FileInfo, MissingFileError

logger = logging.getLogger(__name__)

COLUMNS = ["video_id", "expression_id", "expression", "status"]
FILES_OF_A_PIECE = 64
_NOT_STAGED = -1
_LISTINGS = 3
"""Times that a piece is listed anew because files of it were merged while it was read."""


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Rows and notes of the videos of successive parts.

    Attributes:
        first: The first part.
        end: The part after the last one.
        rows: :data:`COLUMNS` of all rows that count: of an expression that is staged and merged, or staged twice, only
            those that will stay.
        files: What was read.
        staged_notes: On videos that have something staged.
    """

    first: int
    end: int
    rows: pa.Table
    files: "list[ReadFile]"
    staged_notes: dict[str, VideoNote]

    def notes(self) -> dict[str, VideoNote]:
        """On every video of the piece."""
        notes: dict[str, VideoNote] = {}
        for file in self.files:
            if file.staged is None:
                notes |= file.notes()
        return notes | self.staged_notes


@dataclass(frozen=True, kw_only=True)
class ReadFile:
    """What one file says."""

    file: FileInfo
    staged: StagedFile | None
    rows: pa.Table
    metadata: dict[bytes, bytes] = field(default_factory=dict)
    is_broken: bool = False
    is_gone: bool = False

    def notes(self) -> dict[str, VideoNote]:
        """On its videos."""
        return notes_from_metadata(self.metadata)


class Pieces:
    """The files of a dataset as they are now.

    Args:
        url: The dataset's directory; one that does not exist has no files.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        # staged files first: one that is merged while this goes on is then seen in its part
        self._staged = _staged(url)
        with ThreadPoolExecutor(PARALLEL_READS) as pool:
            self._waiting = list(pool.map(lambda item: _read(item.file, item), self._staged))
        self._files = mask_files(url)

    @property
    def is_empty(self) -> bool:
        """Whether there is no file at all."""
        return not self._files and not self._staged

    @property
    def number_of_files(self) -> int:
        """Of files, merged or staged."""
        return len(self._files) + len(self._staged)

    @property
    def parts(self) -> int | None:
        """The number of parts that the names of the files tell."""
        numbers = (part_of_file(file.url) for file in self._files)
        return next((number[1] for number in numbers if number is not None), None)

    def read(self, parts: int) -> Iterator[Piece]:
        """All pieces; together they cover all ``parts``, also those without a file."""
        groups = list(_groups(self._files, self._waiting, parts))
        with ThreadPoolExecutor(PARALLEL_READS) as pool:
            running: deque[tuple[_Group, list[Future[ReadFile]]]] = deque()
            for group in groups:
                running.append((group, [pool.submit(_read, file) for file in group.files]))
                if len(running) > 1:
                    yield self._piece(*running.popleft(), parts)
            while running:
                yield self._piece(*running.popleft(), parts)

    def _piece(self, group: "_Group", merged: "list[Future[ReadFile]]", parts: int) -> Piece:
        files = [future.result() for future in merged]
        waiting = group.waiting
        for _ in range(_LISTINGS):
            if not any(file.is_gone and part_of_file(file.file.url) is None for file in files):
                break
            # files of single videos, merged at this moment: their rows are staged now, or in the file of the part
            staged = [item for item in _staged(self._url) if group.has(part_of_digest(item.name.digest, parts))]
            waiting = [*waiting, *(_read(item.file, item) for item in staged)]
            again = [file for file in mask_files(self._url) if group.has(_part(file, parts) or 0)]
            files = [_read(file) for file in again]
        return _piece_of(group, files, waiting)


@dataclass(frozen=True)
class _Group:
    """The files of successive parts."""

    first: int
    end: int
    files: list[FileInfo]
    waiting: list[ReadFile]

    def has(self, part: int) -> bool:
        return self.first <= part < self.end


def _groups(files: Sequence[FileInfo], waiting: Sequence[ReadFile], parts: int) -> Iterator[_Group]:
    by_part: defaultdict[int, tuple[list[FileInfo], list[ReadFile]]] = defaultdict(lambda: ([], []))
    for file in files:
        part = _part(file, parts)
        if part is None:  # written by others, and may hold any video
            yield _Group(0, parts, list(files), list(waiting))
            return
        by_part[part][0].append(file)
    for item in waiting:
        if item.staged is not None:
            by_part[part_of_digest(item.staged.name.digest, parts)][1].append(item)
    group = _Group(0, 0, [], [])
    for part in sorted(by_part):
        group.files.extend(by_part[part][0])
        group.waiting.extend(by_part[part][1])
        if len(group.files) + len(group.waiting) >= FILES_OF_A_PIECE:
            yield _Group(group.first, part + 1, group.files, group.waiting)
            group = _Group(part + 1, part + 1, [], [])
    if group.first < parts:
        yield _Group(group.first, parts, group.files, group.waiting)


def _part(file: FileInfo, parts: int) -> int | None:
    """The part that all rows of a file belong to; None where its name does not tell."""
    number = part_of_file(file.url)
    if number is not None:
        return number[0] if number[1] == parts else None
    digest = digest_of_file(file.url)
    return None if digest is None else part_of_digest(digest, parts)


def _staged(url: str) -> list[StagedFile]:
    owner = read_owner(url)
    return staged_since(url, owner.since) if owner else []


def _piece_of(group: _Group, files: list[ReadFile], waiting: list[ReadFile]) -> Piece:
    merged_notes: dict[str, VideoNote] = {}
    for file in files if waiting else ():
        merged_notes |= file.notes()
    notes: dict[str, VideoNote] = {}
    superseded: dict[str, int] = {}
    for item in waiting:
        for video_id, note in item.notes().items():
            earlier = notes.get(video_id) or merged_notes.get(video_id) or VideoNote()
            if not is_same(earlier.source, note.source):
                superseded[video_id] = _origin(item)
            notes[video_id] = earlier.updated(note, ())
    tables = [
        file.rows.append_column("origin", pa.array([_origin(file)] * len(file.rows), pa.int32()))
        for file in [*files, *waiting]
    ]
    rows = pa.concat_tables([_NO_ROWS.append_column("origin", pa.array([], pa.int32())), *tables])
    if waiting:
        rows = _latest(rows, superseded)
    return Piece(
        first=group.first,
        end=group.end,
        rows=rows.select(COLUMNS),
        files=[*files, *waiting],
        staged_notes=notes,
    )


def _origin(file: ReadFile) -> int:
    """Generation of the run that staged a file's rows; of two with one key, the later one counts."""
    return _NOT_STAGED if file.staged is None else file.staged.name.origin


def _latest(rows: pa.Table, superseded: dict[str, int]) -> pa.Table:
    """Of each expression the rows of the latest run.

    Args:
        rows: Of a piece, with their origins.
        superseded: By video: rows staged before this generation are of what was another video.
    """
    keys = ["video_id", "expression_id"]
    latest = rows.group_by(keys).aggregate([("origin", "max")])
    rows = rows.join(latest, keys)
    rows = rows.filter(pc.equal(rows["origin"], rows["origin_max"]))
    for video_id, origin in superseded.items():
        is_other = pc.and_(pc.equal(rows["video_id"], video_id), pc.less(rows["origin"], origin))
        rows = rows.filter(pc.invert(is_other))
    return rows


def _read(file: FileInfo, staged: StagedFile | None = None) -> ReadFile:
    try:
        table, metadata = with_parquet(file, _columns)
    except MissingFileError:
        return ReadFile(file=file, staged=staged, rows=_NO_ROWS, is_gone=True)
    except BrokenFileError as error:
        logger.warning("%s; its rows count as missing", error)
        return ReadFile(file=file, staged=staged, rows=_NO_ROWS, is_broken=True)
    packed = {key: metadata[key] for key in (SOURCES.encode(),) if key in metadata}
    return ReadFile(file=file, staged=staged, rows=table, metadata=packed)


def _columns(parquet: pq.ParquetFile) -> tuple[pa.Table, dict[bytes, bytes]]:
    table = current_columns(parquet.read(columns=COLUMNS), COLUMNS)
    table.validate(full=True)  # text that is not UTF-8 would fail later, far from here
    return table.replace_schema_metadata(None).cast(_SCHEMA), dict(parquet.metadata.metadata or {})


_SCHEMA = pa.schema([(name, pa.string()) for name in COLUMNS])
_NO_ROWS = _SCHEMA.empty_table()
