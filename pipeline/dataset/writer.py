"""Committing one video's rows, from any process."""

import io
import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.dataset.files import BrokenFileError
from pipeline.dataset.layout import RUN_FILE, staged_name, video_file
from pipeline.dataset.notes import RowKey, VideoNote, notes_from_metadata, notes_to_metadata
from pipeline.dataset.owner import Owner, check_owner
from pipeline.dataset.sources import Source, is_same
from pipeline.dataset.tables import rows_table, sorted_rows, to_parquet
from pipeline.dataset.versions import current_columns
from pipeline.errors import UsageError
from pipeline.schema import MASKS_SCHEMA, MaskRow
from pipeline.storage import MissingFileError, atomic_write, join, make_directory, parent, read_bytes, scrub

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class RunHold:
    """A run's right to write to an output, as its workers carry it.

    Attributes:
        owner: The run.
        parts: Number of parts of the output.
    """

    owner: Owner
    parts: int


class DatasetWriter:
    """Commits rows; holds no lock and no connection, so it travels between processes.

    Without a run, a commit writes the video's own file under ``masks/``, from as many processes as there are, each with
    videos of its own. A run's writer stages the rows, and the run merges them into the files of their parts.

    Example:
        >>> DatasetWriter("out").commit(model.segment("dog.mp4", ["the dog"]))

    Args:
        url: The dataset's directory.
        metadata: Strings stored in every file beside the schema's version.
        run: Set by :class:`pipeline.dataset.output.OutputDirectory`.
    """

    def __init__(self, url: str, metadata: Mapping[str, str] | None = None, *, run: RunHold | None = None) -> None:
        self.url = url
        self._metadata = dict(metadata or {})
        self._run = run
        self._is_checked = False

    def commit(
        self,
        rows: pa.Table | Sequence[MaskRow],
        shared: Mapping[RowKey, RowKey] | None = None,
        source: Source | None = None,
    ) -> None:
        """Add rows of one video, in one step: a reader sees none of them or all.

        Rows that the video already has are kept, except those of expressions in ``rows``, which are replaced. Running
        the same commit again changes nothing.

        Args:
            rows: Of one video, as objects or as a table.
            shared: Of these rows, those that have the track of another one.
            source: What the rows were made from. Both are taken from the table's metadata where they are not given.

        Raises:
            ValueError: Rows of several videos, a doubled key, or lists of differing length.
            UsageError: The dataset has parts, and this writer no run.
            LostOutputError: Another run has taken the output over.
            StorageError: The storage failed for good, a full disk for instance; nothing is half written.
        """
        table = rows_table(rows)
        video_id = table["video_id"][0].as_py()
        note = notes_from_metadata(table.schema.metadata, video_id=video_id).get(video_id, VideoNote())
        note = note.updated(VideoNote(shared=shared or {}, source=source), ())
        if self._run is None:
            self._commit_file(video_id, table, note)
        else:
            self._stage(self._run, video_id, table, note)

    def _stage(self, run: RunHold, video_id: str, table: pa.Table, note: VideoNote) -> None:
        check_owner(self.url, run.owner)
        name = staged_name(run.owner.generation, run.parts, video_id, table["expression_id"].to_pylist())
        target = join(self.url, name.path())
        make_directory(parent(target))
        dated = note.updated(VideoNote(committed_at=int(time.time())), ())
        atomic_write(target, self._content(video_id, table, dated))

    def _commit_file(self, video_id: str, table: pa.Table, note: VideoNote) -> None:
        self._check_has_no_parts()
        target = join(self.url, video_file(video_id))
        before = self._existing(target)
        if before is not None:
            replaced = set(table["expression_id"].to_pylist())
            earlier = notes_from_metadata(before.schema.metadata, video_id=video_id).get(video_id, VideoNote())
            keys = before["expression_id"].to_pylist() if is_same(earlier.source, note.source) else []
            kept = [index for index, key in enumerate(keys) if key not in replaced]
            note = earlier.updated(note, replaced)
            pieces = [before.slice(index, 1).replace_schema_metadata(table.schema.metadata) for index in kept]
            table = pa.concat_tables([*pieces, table])
        make_directory(parent(target))
        atomic_write(target, self._content(video_id, table, note))

    def _content(self, video_id: str, table: pa.Table, note: VideoNote) -> bytes:
        return to_parquet([sorted_rows(table)], {**self._metadata, **notes_to_metadata({video_id: note})})

    def _existing(self, target: str) -> pa.Table | None:
        try:
            table = pq.read_table(io.BytesIO(read_bytes(target)), page_checksum_verification=True)
            return current_columns(table, MASKS_SCHEMA.names)
        except MissingFileError:
            return None
        except (pa.ArrowException, OSError, ValueError, KeyError) as error:
            raise BrokenFileError(
                f"{scrub(target)}: does not read back ({error}), so nothing can be added to it; restore or remove it",
                target,
            ) from error

    def _check_has_no_parts(self) -> None:
        """A video must not stand in its own file and in a part's as well."""
        if self._is_checked:
            return
        try:
            run = json.loads(read_bytes(join(self.url, RUN_FILE)))
        except (MissingFileError, ValueError):
            run = None
        if isinstance(run, dict) and run.get("parts"):
            raise UsageError(f"{scrub(self.url)}: is the output of a run, which alone adds to it; name a new folder")
        self._is_checked = True
