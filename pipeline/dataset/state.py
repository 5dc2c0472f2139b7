"""What an output already holds, read from the dataset itself: there is no second record that could disagree.

Millions of rows are held as arrays of hashes. Rows that are staged, and not yet merged, count as held.
"""

import logging
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.dataset.files import (
    PARALLEL_READS,
    BrokenFileError,
    mask_files,
    may_hold,
    read_columns_of_all,
    with_parquet,
)
from pipeline.dataset.layout import video_digest
from pipeline.dataset.notes import SOURCES, VideoNote, notes_from_metadata
from pipeline.dataset.owner import read_owner
from pipeline.dataset.sources import is_same, what_changed
from pipeline.dataset.staging import StagedFile, staged_since
from pipeline.dataset.versions import current_columns
from pipeline.schema import Status, VideoTask
from pipeline.storage import FileInfo, MissingFileError, scrub

logger = logging.getLogger(__name__)

_COLUMNS = ["video_id", "expression_id", "expression", "status"]
_STATUSES = (Status.OK, Status.NO_OBJECT, Status.FAILED)
_NOT_STAGED = -1
_NAMED = 3
"""Videos named in a message about many."""


@dataclass(frozen=True, kw_only=True)
class Counts:
    """How much a dataset holds. Expressions are counted once, whatever their number of rows."""

    videos: int
    expressions: int
    rows: int
    ok: int
    no_object: int
    failed: int


@dataclass(frozen=True)
class _Rows:
    """One entry a row, hashes of 64 bits: of the video, of video and expression, and of these with the text."""

    videos: np.ndarray
    keys: np.ndarray
    texts: np.ndarray
    statuses: np.ndarray
    origins: np.ndarray
    """Generation of the run that staged it; of two with one key, the later one counts."""


@dataclass(frozen=True, kw_only=True)
class _File:
    """What one file says."""

    file: FileInfo
    rows: _Rows
    metadata: dict[bytes, bytes] = field(default_factory=dict)
    is_broken: bool = False

    def notes(self) -> dict[str, VideoNote]:
        """On its videos; not kept, since of a million they take more memory than all else."""
        return notes_from_metadata(self.metadata)


class DatasetState:
    """A snapshot of which (video, expression) a dataset holds, and what became of each.

    Args:
        url: The dataset's directory; one that does not exist holds nothing.
    """

    def __init__(self, url: str) -> None:
        owner = read_owner(url)
        # staged files first: one that is merged while this goes on is then seen in its part
        staged = staged_since(url, owner.since) if owner else []
        with ThreadPoolExecutor(PARALLEL_READS) as pool:
            waiting = list(pool.map(lambda item: _read(item.file, item.name.origin), staged))
            self._merged = list(pool.map(_read, mask_files(url)))
        read = [*self._merged, *waiting]
        self.broken_files = [scrub(file.file.url) for file in read if file.is_broken]
        self._staged_notes, superseded = self._notes_of(staged, waiting)
        self._rows = _latest([file.rows for file in read], superseded)

    def counts(self) -> Counts:
        """How much there is, by status."""
        _, first = np.unique(self._rows.keys, return_index=True)
        by_status = np.bincount(self._rows.statuses[first], minlength=len(_STATUSES))
        return Counts(
            videos=len(np.unique(self._rows.videos)),
            expressions=len(first),
            rows=len(self._rows.keys),
            ok=int(by_status[0]),
            no_object=int(by_status[1]),
            failed=int(by_status[2]),
        )

    def remaining(self, tasks: Sequence[VideoTask], *, retry_failed: bool) -> list[VideoTask]:
        """``tasks`` without the expressions that are here.

        One whose text has changed since counts as not here, and so do all of a video that is not the same any more: at
        another location, with other frames or other content. That is logged.
        """
        done = self._rows.texts
        if retry_failed:
            done = done[self._rows.statuses != _STATUSES.index(Status.FAILED)]
        wanted = [hash((task.video_id, item.expression_id, item.text)) for task in tasks for item in task.expressions]
        here = np.isin(np.array(wanted, np.int64), done)
        changed = self._changed(tasks)
        remaining, first = [], 0
        for task in tasks:
            flags = here[first : first + len(task.expressions)]
            first += len(task.expressions)
            if task.video_id in changed or not flags.any():
                remaining.append(task)
            elif not flags.all():
                left = [item for item, is_here in zip(task.expressions, flags, strict=True) if not is_here]
                remaining.append(replace(task, expressions=tuple(left)))
        return remaining

    def _notes_of(
        self, staged: Sequence[StagedFile], waiting: Sequence[_File]
    ) -> tuple[dict[str, VideoNote], dict[int, int]]:
        """Notes on videos that have something staged; and by hash of id, which rows of these count no more.

        These are rows staged before the generation that is given: they are of what was another video.
        """
        notes: dict[str, VideoNote] = {}
        superseded: dict[int, int] = {}
        digests = {item.name.digest for item in staged}
        for file in self._merged if digests else ():
            if may_hold(file.file, digests):
                notes.update((name, note) for name, note in file.notes().items() if video_digest(name) in digests)
        for item, file in zip(staged, waiting, strict=True):
            for video_id, note in file.notes().items():
                earlier = notes.get(video_id, VideoNote())
                if not is_same(earlier.source, note.source):
                    superseded[hash(video_id)] = item.name.origin
                notes[video_id] = earlier.updated(note, ())
        return notes, superseded

    def _changed(self, tasks: Sequence[VideoTask]) -> dict[str, str]:
        """By video: how it differs from what its rows were made from."""
        asked = {task.video_id: task for task in tasks}

        def reasons(notes: Mapping[str, VideoNote]) -> dict[str, str]:
            known = {name: note.source for name, note in notes.items() if note.source and name in asked}
            found = {name: what_changed(source, asked[name]) for name, source in known.items() if source}
            return {name: why for name, why in found.items() if why}

        def reasons_of(file: _File) -> dict[str, str]:
            notes = file.notes().items()
            return reasons({name: note for name, note in notes if name not in self._staged_notes})

        changed = reasons(self._staged_notes)
        with ThreadPoolExecutor(PARALLEL_READS) as pool:
            for found in pool.map(reasons_of, self._merged):
                changed |= found
        if changed:
            some = "; ".join(f"{video_id!r}: {why}" for video_id, why in list(changed.items())[:_NAMED])
            logger.warning("%d videos have changed since, and are annotated again: %s", len(changed), some)
        return changed


def statuses(url: str) -> dict[str, dict[str, str]]:
    """``video_id -> {expression_id: status}`` of a dataset of moderate size, as Python objects."""
    found: dict[str, dict[str, str]] = {}
    for table, _ in _tables(url, ["video_id", "expression_id", "status"]):
        columns = (column.to_pylist() for column in table.columns)
        for video_id, expression_id, status in zip(*columns, strict=True):
            found.setdefault(video_id, {})[expression_id] = status
    return found


def failures(url: str) -> list[str | None]:
    """The error of every expression that failed, staged ones included."""
    found: dict[tuple[str, str], str | None] = {}
    for table, is_staged in _tables(url, ["video_id", "expression_id", "status", "error"]):
        failed = table.filter(pc.equal(table["status"], Status.FAILED.value))
        if is_staged:  # may have replaced a failure
            for key in zip(table["video_id"].to_pylist(), table["expression_id"].to_pylist(), strict=True):
                found.pop(key, None)
        keys = zip(failed["video_id"].to_pylist(), failed["expression_id"].to_pylist(), strict=True)
        found.update(zip(keys, failed["error"].to_pylist(), strict=True))
    return list(found.values())


def _tables(url: str, columns: list[str]) -> Iterator[tuple[pa.Table, bool]]:
    """Columns of every file of a dataset, then of what is staged, which is said; damaged files are logged."""
    owner = read_owner(url)
    staged = [item.file for item in staged_since(url, owner.since)] if owner else []
    for files, is_staged in ((mask_files(url), False), (staged, True)):
        yield from ((table, is_staged) for _, table in read_columns_of_all(files, columns) if table is not None)


def _read(file: FileInfo, origin: int = _NOT_STAGED) -> _File:
    try:
        table, metadata = _columns(file)
    except MissingFileError:
        return _File(file=file, rows=_rows_of(_EMPTY, origin))  # merged at this moment
    except BrokenFileError as error:
        logger.warning("%s; its rows count as missing", error)
        return _File(file=file, rows=_rows_of(_EMPTY, origin), is_broken=True)
    packed = {key: metadata[key] for key in (SOURCES.encode(),) if key in metadata}
    return _File(file=file, rows=_rows_of(table, origin), metadata=packed)


def _columns(file: FileInfo) -> tuple[pa.Table, dict[bytes, bytes]]:
    def read(parquet: pq.ParquetFile) -> tuple[pa.Table, dict[bytes, bytes]]:
        table = current_columns(parquet.read(columns=_COLUMNS), _COLUMNS)
        table.validate(full=True)  # text that is not UTF-8 would fail later, far from here
        return table, dict(parquet.metadata.metadata or {})

    return with_parquet(file, read)


def _rows_of(table: pa.Table, origin: int) -> _Rows:
    videos, expressions, texts, status = (table[name].to_pylist() for name in _COLUMNS)
    codes = {name.value: code for code, name in enumerate(_STATUSES)}
    return _Rows(
        videos=_hashes(videos),
        keys=_hashes(zip(videos, expressions, strict=True)),
        texts=_hashes(zip(videos, expressions, texts, strict=True)),
        statuses=np.array([codes.get(value, 2) for value in status], np.int8),
        origins=np.full(len(videos), origin, np.int32),
    )


def _hashes(values: Iterable[Hashable]) -> np.ndarray:
    return np.fromiter(map(hash, values), np.int64)


def _latest(read: Sequence[_Rows], superseded: Mapping[int, int]) -> _Rows:
    """All rows as one; of an expression that is staged and merged, or staged twice, only those that will stay.

    Args:
        read: Of each file.
        superseded: By the hash of a video's id: rows staged before this generation are of what was another video.
    """
    parts = [_rows_of(_EMPTY, _NOT_STAGED), *read]
    names = ("videos", "keys", "texts", "statuses", "origins")
    rows = _Rows(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))
    if not (rows.origins != _NOT_STAGED).any():
        return rows
    unique, index = np.unique(rows.keys, return_inverse=True)
    latest = np.full(len(unique), _NOT_STAGED, np.int32)
    np.maximum.at(latest, index, rows.origins)
    keep = rows.origins == latest[index]
    for video, origin in superseded.items():
        keep &= (rows.videos != video) | (rows.origins >= origin)
    return _Rows(*(getattr(rows, name)[keep] for name in names))


_EMPTY = pa.schema([(name, pa.string()) for name in _COLUMNS]).empty_table()
