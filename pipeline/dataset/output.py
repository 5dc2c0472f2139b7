"""One run's hold on an output directory: the lock, the configuration it is bound to, commits, the closing papers."""

import json
import logging
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict
from types import TracebackType
from typing import Any, Self

import pyarrow as pa

from pipeline.dataset.card import dataset_card
from pipeline.dataset.damage import damaged_files, keep_damaged
from pipeline.dataset.files import files_of_single_videos
from pipeline.dataset.identity import check_identity, identity_hash, without_secrets
from pipeline.dataset.layout import (
    CARD_FILE,
    MASKS_FOLDER,
    MOST_PARTS,
    STATE_FOLDER,
    digest_of_file,
    part_of,
    part_of_digest,
    part_of_file,
)
from pipeline.dataset.lock import RunLock
from pipeline.dataset.merge import PartMerger
from pipeline.dataset.merging import Merge, Merging
from pipeline.dataset.owner import Owner, check_owner, disown_earlier, take_ownership
from pipeline.dataset.run_file import check_place, stored_run, write_run
from pipeline.dataset.staging import adopt, staged_since, tidy
from pipeline.dataset.state import Counts, DatasetState, statuses
from pipeline.dataset.terms import Terms, terms_of
from pipeline.dataset.writer import DatasetWriter, RunHold
from pipeline.errors import StorageError, UsageError
from pipeline.manifest.plan import Plan
from pipeline.schema import SCHEMA_VERSION, MaskRow, VideoTask
from pipeline.storage import (
    absolute,
    atomic_write,
    exists,
    join,
    make_directory,
    remove_leftovers,
    scrub,
)

logger = logging.getLogger(__name__)

_OF_LAST_WORK = ("timings", "this_run")
"""Of run.json: what a run that finds nothing to do leaves as it was."""


class OutputDirectory:
    """A mask dataset being written by one run.

    Example:
        >>> with OutputDirectory("out") as output:
        ...     output.begin(identity={"model": "3f2a", "num_keyframes": 5}, description={"manifest": "clips.jsonl"})
        ...     for task in output.remaining(tasks, retry_failed=False):
        ...         output.commit(rows_of(task))
        ...     output.finish({"seconds": 12.5})

    Args:
        url: Local path or fsspec URL; need not exist.
        lock: For tests, a lock with other times.
    """

    def __init__(self, url: str, *, lock: RunLock | None = None) -> None:
        self.url = absolute(url)
        self._lock = lock if lock is not None else RunLock(self.url)
        self._run: dict[str, Any] = {}
        self._earlier: dict[str, Any] = {}
        self._owner: Owner | None = None
        self._hold: RunHold | None = None
        self._merging: Merging | None = None

    @property
    def run_id(self) -> str:
        """This run's id, as in the lock and in ``run.json``."""
        return self._lock.run_id

    @property
    def writer(self) -> DatasetWriter:
        """A writer for worker processes: it commits as :meth:`commit` does, and can be sent to them."""
        return DatasetWriter(self.url, self._metadata(), run=self._held())

    @property
    def merger(self) -> PartMerger:
        """What merges parts; can be sent to worker processes."""
        return PartMerger(url=self.url, run=self._held(), metadata=self._metadata())

    def begin(
        self,
        *,
        identity: Mapping[str, Any],
        description: Mapping[str, Any],
        parts: int = 1,
        earlier_identity: Callable[[], Mapping[str, Any]] | None = None,
    ) -> None:
        """Create or open the directory, lock it, bind it to ``identity``, and take up what earlier runs left.

        Args:
            identity: Flat and JSON-able: everything that decides masks (model hash, procedure, ...). Another run into
                the same directory must have the same.
            description: What else ``run.json`` should say from the start: resolved configuration, versions.
            parts: Number of parts of a new output; an older one keeps its own. 0: the caller writes all files itself.
            earlier_identity: What an earlier version of this program called the same configuration, made when it is
                needed; an output that is bound to it is taken over.

        Raises:
            UsageError: Another run holds the directory, it is bound to another identity (every difference is listed),
                or it is something other than a mask dataset.
            StorageError: It cannot be written.
        """
        check_place(self.url)
        make_directory(join(self.url, MASKS_FOLDER))
        make_directory(join(self.url, STATE_FOLDER))
        self._lock.acquire()
        try:
            stored = stored_run(self.url)
            check_identity(self.url, stored, identity, earlier_identity)
            parts = _checked_parts(stored.get("parts", 0)) or _checked_parts(parts)
            owner = self._owner = take_ownership(self.url, self.run_id)
            remove_leftovers(self.url)
            self._earlier = {name: stored[name] for name in _OF_LAST_WORK if name in stored}
            self._run = {
                **self._earlier,
                **without_secrets(description),
                "schema_version": SCHEMA_VERSION,
                **({"parts": parts} if parts else {}),
                "run_id": self.run_id,
                "state": "running",
                "started_at": _now(),
                "identity": without_secrets(identity),
                "identity_hash": identity_hash(identity),
            }
            self._write_run()
            if not exists(join(self.url, CARD_FILE)):
                self._write_card(Counts(videos=0, expressions=0, rows=0, ok=0, no_object=0, failed=0), finished=False)
            if parts:
                self._hold = RunHold(owner=owner, parts=parts)
                self._take_up(owner, parts)
        except BaseException:
            self._lock.release()
            raise

    def done(self) -> dict[str, dict[str, str]]:
        """``video_id -> {expression_id: status}`` of what is committed; unreadable files are logged and left out."""
        return statuses(self.url)

    def compare(self, plan: Plan, *, retry_failed: bool) -> None:
        """Reduce ``plan`` to what is still to do, arranged by the parts of this output.

        To do is what is missing, what has another text than the dataset's row, with ``retry_failed`` what failed, and
        all of a video that has changed. Files that will be written anew are read through first: rows that turn out to
        be damaged are taken out of the dataset, which is logged, and are to do as well.
        """
        if not plan.parts and self._hold is not None:
            plan.arrange(self._hold.parts)
        DatasetState(self.url).compare(plan, retry_failed=retry_failed)
        if self._merging is not None and self._take_out_damage(set(plan.videos_by_part())):
            DatasetState(self.url).compare(plan, retry_failed=retry_failed)

    def remaining(self, tasks: Iterable[VideoTask], *, retry_failed: bool) -> list[VideoTask]:
        """:meth:`compare` for tasks that were made otherwise; videos with nothing left are dropped."""
        with Plan.of_tasks(tasks) as plan:
            self.compare(plan, retry_failed=retry_failed)
            return plan.all_tasks()

    def merge_by(self, merge: Merge) -> None:
        """Let ``merge`` do the work of :attr:`merger` from now on, in tasks on a cluster for example."""
        self._merger_thread().merge = merge

    def expect(self, tasks: Iterable[VideoTask]) -> None:
        """Say what will be committed, one commit a task, so that a part is merged as soon as it is complete."""
        parts = self._held().parts
        self.expect_in_parts(Counter(part_of(task.video_id, parts) for task in tasks))

    def expect_in_parts(self, commits: Mapping[int, int]) -> None:
        """:meth:`expect`, as the number of further commits in each part."""
        self._merger_thread().expect(commits)

    def committed(self, video_id: str) -> None:
        """Take note of a commit of a worker. Raises StorageError, also when another run has taken the output over."""
        self._lock.check()
        self._merger_thread().staged(part_of(video_id, self._held().parts))

    def commit(self, rows: pa.Table | Sequence[MaskRow]) -> None:
        """Commit all new rows of one video in one step; see :meth:`DatasetWriter.commit`.

        They are in ``masks`` within five minutes, or when the run finishes.

        Raises:
            StorageError: Also when another run has taken the directory over.
        """
        self._lock.check()
        self.writer.commit(rows)
        video_id = rows["video_id"][0].as_py() if isinstance(rows, pa.Table) else rows[0].video_id
        self.committed(video_id)

    def check_lock(self) -> None:
        """Raise StorageError when another run has taken the directory over, as far as the heartbeat has noticed."""
        self._lock.check()

    def _check_ours(self) -> None:
        """Raise StorageError when another run has taken the directory over, also since the last heartbeat."""
        self._lock.check()
        if self._owner is not None:
            check_owner(self.url, self._owner)

    def has_unmerged(self) -> int:
        """Number of parts for which earlier runs, also of the older layout, left something to merge."""
        return 0 if self._merging is None else self._merging.number_waiting

    def finish(self, summary: Mapping[str, Any], *, idle: bool = False) -> Counts:
        """Merge what is staged, write ``run.json`` and the card, and release the lock.

        Args:
            summary: What to add to ``run.json``: timings, throughput. ``counts`` is filled from the dataset itself.
            idle: This run found nothing to do: what ``run.json`` says of the last one that did stays.

        Returns:
            What the dataset holds now.

        Raises:
            StorageError: Also when rows turned out to be damaged, which the next start does again.
        """
        self._check_ours()
        if self._merging is not None:
            self._merge_all(self._merging)
            if self._merging.damage:
                raise StorageError(f"{'; '.join(self._merging.damage)}; start the same command again")
        counts = DatasetState(self.url).counts()
        added = {**without_secrets(summary), **self._earlier} if idle else without_secrets(summary)
        self._run = {**self._run, **added, "counts": asdict(counts)}
        self._run.update(state="finished", finished_at=_now())
        self._check_ours()
        self._write_run()
        self._write_card(counts, finished=True, terms=terms_of(self.url))
        self._merging = None
        self._lock.release()
        return counts

    def release(self) -> None:
        """Let go of the directory without closing papers, after a failure; a later run goes on from here.

        What is staged is merged if that is possible.
        """
        merging, self._merging = self._merging, None
        try:
            if merging is not None:
                self._lock.check()
                self._merge_all(merging)
        except Exception as error:  # noqa: BLE001 - another error is on its way; what is staged is not lost
            logger.warning("%s: what is staged was not merged: %s", scrub(self.url), scrub(str(error)))
        finally:
            if merging is not None:
                merging.close()
            self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def _merge_all(self, merging: Merging) -> None:
        """Merge all that is staged, also by workers of which this run took no note."""
        merging.left_behind(staged.name.part for staged in staged_since(self.url, self._held().owner.generation))
        merging.finish()
        tidy(self.url)

    def _metadata(self) -> dict[str, str]:
        """What every file says of what made it: the model and all else that decides masks."""
        made_by = {name: self._run[name] for name in ("identity", "model") if name in self._run}
        metadata = {"identity": self._run.get("identity_hash", ""), "made_by": json.dumps(made_by, sort_keys=True)}
        return {f"sa2va_i_pipeline.{name}": value for name, value in metadata.items()}

    def _held(self) -> RunHold:
        if self._hold is None:
            raise ValueError("begin() must come first, with parts")
        return self._hold

    def _merger_thread(self) -> Merging:
        if self._merging is None:
            raise ValueError("begin() must come first, and finish() last")
        return self._merging

    def _take_up(self, owner: Owner, parts: int) -> None:
        """Adopt what earlier runs staged, and find the files of single videos, which the older layout had."""
        unmerged = adopt(self.url, owner.generation, parts, since=owner.since)
        disown_earlier(self.url, owner)
        video_files = files_of_single_videos(self.url, parts)
        self._merging = Merging(self.merger.merge, video_files=video_files)
        self._merging.left_behind({*unmerged, *video_files})
        self._merging.start()

    def _take_out_damage(self, parts_to_do: Collection[int]) -> bool:
        """Read files through, first those that will be written anew; returns whether any was damaged."""
        parts = self._held().parts
        damaged = damaged_files(self.url, parts, parts_to_do)
        for file in damaged:
            number = part_of_file(file.url)
            if number:
                self._merger_thread().repair(number[0], self.merger.repair)
                continue
            logger.error("%s: does not read back; its rows have to be done again", scrub(file.url))
            keep_damaged(self.url, file)
            self._merger_thread().forget_file(part_of_digest(digest_of_file(file.url) or "", parts), file.url)
        return bool(damaged)

    def _write_run(self) -> None:
        write_run(self.url, self._run)

    def _write_card(self, counts: Counts, *, finished: bool, terms: Terms | None = None) -> None:
        card = dataset_card(self.url, counts, run=self._run["identity"], finished=finished, terms=terms)
        atomic_write(join(self.url, CARD_FILE), card.encode("utf-8", "replace"))


def _checked_parts(parts: object) -> int:
    if not isinstance(parts, int) or not 0 <= parts <= MOST_PARTS:
        raise UsageError(f"an output of {parts!r} parts; there can be at most {MOST_PARTS}")
    return parts


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
