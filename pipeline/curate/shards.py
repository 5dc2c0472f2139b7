"""Many rows into few Parquet files."""

from collections.abc import Mapping

import pyarrow as pa

from pipeline.dataset.layout import MASKS_FOLDER
from pipeline.dataset.tables import to_parquet
from pipeline.storage import atomic_write, join

SHARD_BYTES = 128 * 2**20
"""Size in memory of the rows of one file; the file is smaller, since it is compressed."""


class ShardWriter:
    """Writes the rows of one split as ``masks/SPLIT-00000.parquet``, ``SPLIT-00001``, ...

    A file appears whole or not at all, and what it holds follows from the rows and their order alone.

    Args:
        url: The dataset's directory.
        split: Begins the files' names.
        metadata: Strings stored in every file.
        shard_bytes: When to begin another file.
    """

    def __init__(self, url: str, split: str, metadata: Mapping[str, str], *, shard_bytes: int = SHARD_BYTES) -> None:
        self.files: list[str] = []
        """What was written so far."""
        self._folder = join(url, MASKS_FOLDER)
        self._split = split
        self._metadata = metadata
        self._shard_bytes = shard_bytes
        self._waiting: list[pa.Table] = []
        self._waiting_bytes = 0

    def add(self, rows: pa.Table) -> None:
        """Add the kept rows of one video; they stay together in one file."""
        if self._waiting and self._waiting_bytes + rows.nbytes > self._shard_bytes:
            self._write()
        self._waiting += [rows.slice(index, 1) for index in range(rows.num_rows)]
        self._waiting_bytes += rows.nbytes

    def finish(self) -> None:
        """Write what is left."""
        if self._waiting:
            self._write()

    def _write(self) -> None:
        target = join(self._folder, f"{self._split}-{len(self.files):05d}.parquet")
        atomic_write(target, to_parquet(self._waiting, self._metadata))
        self.files.append(target)
        self._waiting, self._waiting_bytes = [], 0
