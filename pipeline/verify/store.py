"""Keeping verdicts: staged a few at a time, then merged into one file a part; each row's verdict stands once.

Whoever is killed loses at most the verdicts of the last seconds. Readers see whole files only.
"""

import io
import json
import logging
import posixpath
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.dataset.files import with_parquet
from pipeline.dataset.layout import (
    STAGED_VERDICTS_FOLDER,
    VERDICTS_FOLDER,
    part_of,
    part_of_file,
    verdict_file,
)
from pipeline.dataset.verdicts import verdict_files
from pipeline.errors import UsageError
from pipeline.schema import VERDICTS_SCHEMA
from pipeline.storage import (
    FileInfo,
    atomic_write,
    delete,
    find_file,
    join,
    list_files,
    make_directory,
    remove_empty_folders,
    remove_leftovers,
    scrub,
)

log = logging.getLogger(__name__)

STAGE_ROWS = 100
STAGE_AFTER_S = 10.0
"""Verdicts are staged when there are so many, or when the first of them has waited so long."""
MERGE_AFTER_S = 240.0
"""What is staged is merged when the first of it has waited so long, so that it is visible within five minutes."""
MOST_STAGED_ROWS = 20_000
"""Merged when there are so many."""
_SETTINGS_KEY = b"sa2va_i_pipeline.verified_by"
_KEY = ("video_id", "expression_id", "object_id")


class VerdictStore:
    """The verdicts of one dataset, for the one process that holds its lock.

    Args:
        url: The dataset.
        parts: Number of files, where the dataset has no verdicts yet; later runs keep that number.
        digest: Stands for how this run judges.
        settings: How this run judges, to be noted.
        check: Called before anything is written; raises if the dataset's lock is lost.

    Raises:
        BrokenFileError: A file of verdicts does not read back.
        StorageError: The storage failed; every method may raise it.
    """

    def __init__(
        self, url: str, parts: int, digest: str, settings: Mapping[str, Any], *, check: Callable[[], None]
    ) -> None:
        self._url = url
        self.parts = _parts_of(verdict_files(url)) or parts
        self._digest, self._check = digest, check
        self._settings: dict[str, Any] = {}
        self._own_settings = dict(settings)
        make_directory(join(url, VERDICTS_FOLDER))
        make_directory(join(url, STAGED_VERDICTS_FOLDER))
        for folder in (VERDICTS_FOLDER, STAGED_VERDICTS_FOLDER):
            remove_leftovers(join(url, folder))
        self._waiting: list[dict[str, Any]] = []
        self._waiting_since = self._staged_since = 0.0
        self._staged = [file.url for file in list_files(join(url, STAGED_VERDICTS_FOLDER), ".parquet")]
        self._staged_rows = 0
        numbers = [int(stem) for file in self._staged if (stem := _stem(file)).isdecimal()]
        self._next = max(numbers, default=0) + 1
        self.merge()  # what a run left that was killed

    def add(self, verdict: Mapping[str, Any]) -> None:
        """Keep one verdict, a row of :data:`pipeline.schema.VERDICTS_SCHEMA` without ``settings_digest``."""
        if not self._waiting:
            self._waiting_since = time.monotonic()
        self._waiting.append({**verdict, "settings_digest": self._digest})
        self.tick()

    def tick(self) -> None:
        """Stage and merge what has waited long enough."""
        now = time.monotonic()
        if self._waiting and (len(self._waiting) >= STAGE_ROWS or now - self._waiting_since >= STAGE_AFTER_S):
            self._stage()
        if self._staged and (now - self._staged_since >= MERGE_AFTER_S or self._staged_rows >= MOST_STAGED_ROWS):
            self.merge()

    def merge(self) -> None:
        """Make every verdict so far visible."""
        self._stage()
        by_part: dict[int, list[pa.Table]] = defaultdict(list)
        for url in sorted(self._staged):
            file = find_file(url)
            if file is None:
                continue
            table, settings = _read(file)
            self._settings |= settings
            videos = table["video_id"].to_pylist()
            part_of_row = [part_of(video_id, self.parts) for video_id in videos]
            for part in sorted(set(part_of_row)):
                by_part[part].append(table.filter(pa.array([own == part for own in part_of_row])))
        for part, tables in sorted(by_part.items()):
            self._merge_part(part, tables)
        for url in self._staged:
            delete(url)
        self._staged, self._staged_rows = [], 0

    def close(self) -> None:
        """Merge, and leave nothing else behind."""
        self.merge()
        remove_empty_folders(join(self._url, STAGED_VERDICTS_FOLDER))

    def _stage(self) -> None:
        if not self._waiting:
            return
        url = join(self._url, STAGED_VERDICTS_FOLDER, f"{self._next:06d}.parquet")
        table = pa.Table.from_pylist(self._waiting, schema=VERDICTS_SCHEMA)
        self._check()
        atomic_write(url, _to_parquet(table, {self._digest: self._own_settings}))
        if not self._staged:
            self._staged_since = time.monotonic()
        self._staged.append(url)
        self._staged_rows += len(self._waiting)
        self._next += 1
        self._waiting = []

    def _merge_part(self, part: int, tables: Sequence[pa.Table]) -> None:
        url = join(self._url, verdict_file(part, self.parts))
        file = find_file(url)
        before, settings = _read(file) if file is not None else (VERDICTS_SCHEMA.empty_table(), {})
        self._settings |= settings
        merged = pa.concat_tables([before, *tables])
        keys = zip(*(merged[name].to_pylist() for name in _KEY), strict=True)
        last = {key: index for index, key in enumerate(keys)}
        kept = merged.take(pa.array([last[key] for key in sorted(last)], pa.int64()))
        used = set(kept["settings_digest"].to_pylist())
        self._check()
        atomic_write(url, _to_parquet(kept, {key: noted for key, noted in self._settings.items() if key in used}))


def other_settings(url: str, digest: str) -> dict[str, dict[str, Any]]:
    """How verdicts of the dataset were made that were not made as ``digest`` says, by their digests."""
    others: dict[str, dict[str, Any]] = {}
    for folder in (VERDICTS_FOLDER, STAGED_VERDICTS_FOLDER):
        for file in list_files(join(url, folder), ".parquet"):
            others |= _settings_in(with_parquet(file, lambda parquet: dict(parquet.metadata.metadata or {})))
    return {key: settings for key, settings in others.items() if key != digest}


def _read(file: FileInfo) -> tuple[pa.Table, dict[str, Any]]:
    table = with_parquet(file, lambda parquet: parquet.read())
    return table.select(VERDICTS_SCHEMA.names).cast(VERDICTS_SCHEMA), _settings_in(table.schema.metadata or {})


def _settings_in(metadata: Mapping[bytes, bytes]) -> dict[str, Any]:
    return dict(json.loads(metadata.get(_SETTINGS_KEY, b"{}")))


def _to_parquet(table: pa.Table, settings: Mapping[str, Any]) -> bytes:
    noted = {_SETTINGS_KEY: json.dumps(settings, sort_keys=True).encode()}
    sink = io.BytesIO()
    named = table.replace_schema_metadata({**(VERDICTS_SCHEMA.metadata or {}), **noted})
    pq.write_table(named, sink, compression="zstd", write_page_checksum=True)
    return sink.getvalue()


def _parts_of(files: Sequence[FileInfo]) -> int | None:
    found = {numbers[1] if (numbers := part_of_file(file.url)) else None for file in files}
    if len(found) > 1 or None in found:
        raise UsageError(f"{scrub(files[0].url)}: the files beside it are not of one dataset; move them elsewhere")
    return found.pop() if found else None


def _stem(url: str) -> str:
    return posixpath.basename(url).removesuffix(".parquet")
