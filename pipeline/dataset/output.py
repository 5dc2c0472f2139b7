"""One run's hold on an output directory: the lock, the configuration it is bound to, commits, the closing papers."""

import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pipeline.dataset.card import dataset_card
from pipeline.dataset.files import MASKS_FOLDER, mask_files
from pipeline.dataset.identity import differences, identity_hash, without_secrets
from pipeline.dataset.lock import RunLock
from pipeline.dataset.state import Counts, DatasetState
from pipeline.dataset.writer import DatasetWriter
from pipeline.errors import UsageError
from pipeline.schema import SCHEMA_VERSION, MaskRow, VideoTask
from pipeline.storage import (
    MissingFileError,
    absolute,
    atomic_write,
    exists,
    is_local,
    join,
    make_directory,
    read_bytes,
    remove_leftovers,
    scrub,
)

logger = logging.getLogger(__name__)

RUN_FILE = "run.json"
CARD_FILE = "README.md"
STATE_FOLDER = "_state"
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

    @property
    def run_id(self) -> str:
        """This run's id, as in the lock and in ``run.json``."""
        return self._lock.run_id

    @property
    def writer(self) -> DatasetWriter:
        """A writer for worker processes: it commits as :meth:`commit` does, and can be sent to them.

        Every file says in its metadata what made it: the model and all else that decides masks.
        """
        made_by = {name: self._run[name] for name in ("identity", "model") if name in self._run}
        metadata = {"identity": self._run.get("identity_hash", ""), "made_by": json.dumps(made_by, sort_keys=True)}
        return DatasetWriter(self.url, {f"sa2va_i_pipeline.{name}": value for name, value in metadata.items()})

    def begin(self, *, identity: Mapping[str, Any], description: Mapping[str, Any]) -> None:
        """Create or open the directory, lock it, and bind it to ``identity``.

        Args:
            identity: Flat and JSON-able: everything that decides masks (model hash, procedure, ...). Another run into
                the same directory must have the same.
            description: What else ``run.json`` should say from the start: resolved configuration, versions.

        Raises:
            UsageError: Another run holds the directory, it is bound to another identity (every difference is listed),
                or it is something other than a mask dataset.
            StorageError: It cannot be written.
        """
        self._check_place()
        make_directory(join(self.url, MASKS_FOLDER))
        make_directory(join(self.url, STATE_FOLDER))
        self._lock.acquire()
        try:
            stored = self._stored_run() or {}
            self._check_identity(stored, identity)
            for folder in (self.url, join(self.url, MASKS_FOLDER), join(self.url, STATE_FOLDER)):
                remove_leftovers(folder)
            self._earlier = {name: stored[name] for name in _OF_LAST_WORK if name in stored}
            self._run = {
                **self._earlier,
                **without_secrets(description),
                "schema_version": SCHEMA_VERSION,
                "run_id": self.run_id,
                "state": "running",
                "started_at": _now(),
                "identity": without_secrets(identity),
                "identity_hash": identity_hash(identity),
            }
            self._write_run()
            if not exists(join(self.url, CARD_FILE)):
                self._write_card(Counts(videos=0, expressions=0, rows=0, ok=0, no_object=0, failed=0), finished=False)
        except BaseException:
            self._lock.release()
            raise

    def done(self) -> dict[str, dict[str, str]]:
        """``video_id -> {expression_id: status}`` of what is committed; unreadable files are logged and left out."""
        return DatasetState(self.url).statuses()

    def remaining(self, tasks: list[VideoTask], *, retry_failed: bool) -> list[VideoTask]:
        """``tasks`` reduced to the expressions still to do; videos with none left are dropped.

        To do is what is missing, what has another text than the dataset's row, and with ``retry_failed`` what failed.
        """
        return DatasetState(self.url).remaining(tasks, retry_failed=retry_failed)

    def commit(self, rows: Sequence[MaskRow]) -> None:
        """Commit all new rows of one video in one step; see :meth:`DatasetWriter.commit`.

        Raises:
            StorageError: Also when another run has taken the directory over.
        """
        self._lock.check()
        self.writer.commit(rows)

    def check_lock(self) -> None:
        """Raise StorageError when another run has taken the directory over."""
        self._lock.check()

    def finish(self, summary: Mapping[str, Any], *, idle: bool = False) -> Counts:
        """Write ``run.json`` and the card, and release the lock.

        Args:
            summary: What to add to ``run.json``: timings, throughput. ``counts`` is filled from the dataset itself.
            idle: This run found nothing to do: what ``run.json`` says of the last one that did stays.

        Returns:
            What the dataset holds now.
        """
        self._lock.check()
        counts = DatasetState(self.url).counts()
        added = {**without_secrets(summary), **self._earlier} if idle else without_secrets(summary)
        self._run = {**self._run, **added, "counts": asdict(counts)}
        self._run.update(state="finished", finished_at=_now())
        self._write_run()
        self._write_card(counts, finished=True)
        self._lock.release()
        return counts

    def release(self) -> None:
        """Let go of the directory without closing papers, after a failure; a later run goes on from here."""
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def _check_place(self) -> None:
        """Refuse to mix into, or overwrite, what is not ours."""
        if is_local(self.url) and Path(self.url).exists() and not Path(self.url).is_dir():
            raise UsageError(f"{self.url}: --output must name a folder, this is a file")
        if exists(join(self.url, RUN_FILE)):
            return
        if exists(join(self.url, CARD_FILE)) or mask_files(self.url):
            raise UsageError(
                f"{scrub(self.url)}: holds files but no {RUN_FILE}, so it is not the output of a run; name a new folder"
            )

    def _stored_run(self) -> dict[str, Any] | None:
        file = join(self.url, RUN_FILE)
        try:
            stored = json.loads(read_bytes(file))
        except MissingFileError:
            return None
        except ValueError as error:
            raise UsageError(f"{scrub(file)}: not readable as JSON ({error}); name a new --output") from error
        if not isinstance(stored, dict) or not isinstance(stored.get("identity"), dict):
            raise UsageError(f"{scrub(file)}: not written by this program; name a new --output")
        return stored

    def _check_identity(self, stored: Mapping[str, Any], identity: Mapping[str, Any]) -> None:
        if not stored or stored.get("identity_hash") == identity_hash(identity):
            return
        changes = "; ".join(differences(stored["identity"], identity))
        if not changes and stored.get("schema_version") == "1":
            return  # its hash was made in another way
        changes = changes or "they differ in a part that is kept secret, the password of a URL for example"
        raise UsageError(
            f"{scrub(self.url)}: made with another configuration, and masks of two must not mix: {changes}; "
            "use the old configuration or name a new --output"
        )

    def _write_run(self) -> None:
        text = json.dumps(self._run, indent=2, ensure_ascii=False, default=str)
        atomic_write(join(self.url, RUN_FILE), text.encode("utf-8", "replace"))

    def _write_card(self, counts: Counts, *, finished: bool) -> None:
        card = dataset_card(self.url, counts, run=self._run["identity"], finished=finished)
        atomic_write(join(self.url, CARD_FILE), card.encode("utf-8", "replace"))


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
