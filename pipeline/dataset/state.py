"""What an output already holds, read from the dataset itself: there is no second record that could disagree.

It is read a range of parts at a time. Rows that are staged, and not yet merged, count as held.
"""

import logging
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.dataset.files import PARALLEL_READS, mask_files, read_columns_of_all
from pipeline.dataset.layout import number_of_parts
from pipeline.dataset.owner import read_owner
from pipeline.dataset.pieces import Piece, Pieces
from pipeline.dataset.sources import what_changed
from pipeline.dataset.staging import staged_since
from pipeline.manifest.plan import Plan
from pipeline.schema import Status, VideoTask
from pipeline.storage import scrub

logger = logging.getLogger(__name__)

_KEY = ["video_id", "expression_id"]
_NAMED = 3
"""Videos named in a message about many."""
_LOOKED_AT_TOGETHER = 500


@dataclass(frozen=True, kw_only=True)
class Counts:
    """How much a dataset holds. Expressions are counted once, whatever their number of rows."""

    videos: int
    expressions: int
    rows: int
    ok: int
    no_object: int
    failed: int


class DatasetState:
    """A snapshot of which (video, expression) a dataset holds, and what became of each.

    Args:
        url: The dataset's directory; one that does not exist holds nothing.
    """

    def __init__(self, url: str) -> None:
        self._pieces = Pieces(url)
        self._tally: _Tally | None = None

    @property
    def broken_files(self) -> list[str]:
        """Files that do not read back."""
        return self._counted().broken_files

    def counts(self) -> Counts:
        """How much there is, by status."""
        return self._counted().counts()

    def compare(self, plan: Plan, *, retry_failed: bool) -> None:
        """Take what is here out of ``plan``, which arranges it by parts if that has not been done.

        An expression whose text has changed since counts as not here, and so do all of a video that is not the same
        any more: at another location, with other frames or other content. That is logged.

        Args:
            plan: What should be here.
            retry_failed: Expressions that failed count as not here.
        """
        if not plan.parts:
            plan.arrange(self._pieces.parts or number_of_parts(plan.total.videos))
        self._tally = _Tally()
        if self._pieces.is_empty:
            plan.all_missing()
            return
        plan.begin_comparison()
        changed: dict[str, str] = {}
        with ThreadPoolExecutor(PARALLEL_READS) as pool:
            for piece in self._pieces.read(plan.parts):
                self._tally.add(piece)
                changed_here = _changed(piece, plan, pool)
                done = piece.rows
                if retry_failed:
                    done = done.filter(pc.not_equal(done["status"], Status.FAILED.value))
                if changed_here:
                    done = done.filter(pc.invert(pc.is_in(done["video_id"], pa.array(list(changed_here)))))
                    changed |= changed_here
                plan.keep_missing(piece.first, piece.end, done.select([*_KEY, "expression"]))
        if changed:
            some = "; ".join(f"{video_id!r}: {why}" for video_id, why in list(changed.items())[:_NAMED])
            logger.warning("%d videos have changed since, and are annotated again: %s", len(changed), some)

    def _counted(self) -> "_Tally":
        if self._tally is None:
            self._tally = _Tally()
            for piece in self._pieces.read(self._pieces.parts or number_of_parts(self._pieces.number_of_files)):
                self._tally.add(piece)
        return self._tally


class _Tally:
    """Counts of the pieces that were read."""

    def __init__(self) -> None:
        self.broken_files: list[str] = []
        self._videos = self._rows = 0
        self._by_status: Counter[str] = Counter()

    def add(self, piece: Piece) -> None:
        self.broken_files += [scrub(file.file.url) for file in piece.files if file.is_broken]
        self._videos += len(piece.rows["video_id"].unique())
        self._rows += len(piece.rows)
        keys = piece.rows.group_by(_KEY).aggregate([("status", "min")])
        for entry in keys["status_min"].value_counts().to_pylist():
            self._by_status[entry["values"]] += entry["counts"]

    def counts(self) -> Counts:
        expressions = self._by_status.total()
        ok, no_object = self._by_status[Status.OK.value], self._by_status[Status.NO_OBJECT.value]
        return Counts(
            videos=self._videos,
            expressions=expressions,
            rows=self._rows,
            ok=ok,
            no_object=no_object,
            failed=expressions - ok - no_object,
        )


def _changed(piece: Piece, plan: Plan, pool: ThreadPoolExecutor) -> dict[str, str]:
    """By video: how it differs from what its rows were made from."""
    sources = {video_id: note.source for video_id, note in piece.notes().items() if note.source is not None}
    if not sources:
        return {}
    asked = [task for task in plan.videos_of_parts(piece.first, piece.end) if task.video_id in sources]

    def reasons(tasks: list[VideoTask]) -> dict[str, str]:
        found = {task.video_id: what_changed(sources[task.video_id], task) for task in tasks}
        return {video_id: why for video_id, why in found.items() if why}

    # many to a thread: of a remote video only its location is looked at
    chunks = [asked[first : first + _LOOKED_AT_TOGETHER] for first in range(0, len(asked), _LOOKED_AT_TOGETHER)]
    return {video_id: why for found in pool.map(reasons, chunks) for video_id, why in found.items()}


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
