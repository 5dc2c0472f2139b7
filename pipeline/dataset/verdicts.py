"""What a second model said of a dataset's rows: its files, and looking a row up."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.dataset.files import with_parquet
from pipeline.dataset.layout import VERDICTS_FOLDER
from pipeline.storage import FileInfo, join, list_files

JUDGED_COLUMNS = ("expression", "status", "areas", "bboxes")
"""Columns of ``masks`` that :func:`row_digest` needs, beside the ids."""
_LOOKED_UP = ("video_id", "expression_id", "object_id", "verdict", "row_digest")


def verdict_files(url: str) -> list[FileInfo]:
    """The files with verdicts on the dataset at ``url``, by name."""
    return list_files(join(url, VERDICTS_FOLDER), ".parquet")


def row_digest(row: Mapping[str, Any]) -> str:
    """16 hexadecimal digits that stand for what was judged: the expression, and size and place of the masks.

    Reading the masks themselves is not needed, so that every command can tell whether a verdict is of the present row.
    """
    text = json.dumps([row["expression"], row["status"], row["areas"] or [], row["bboxes"] or []])
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


class Verdicts:
    """The verdicts on a dataset's rows, for looking them up; memory holds 20 bytes of each.

    Args:
        tables: With the columns of :data:`pipeline.schema.VERDICTS_SCHEMA`.
    """

    def __init__(self, tables: Iterable[pa.Table] = ()) -> None:
        keys, digests, verdicts = [], [], []
        for table in tables:
            columns = [table[name].to_pylist() for name in _LOOKED_UP]
            ids = zip(*columns[:3], strict=True)
            keys.append(np.fromiter((row_key(*one) for one in ids), np.uint64, table.num_rows))
            verdicts.append(np.asarray(columns[3], np.float32))
            digests.append(np.fromiter((int(one, 16) for one in columns[4]), np.uint64, table.num_rows))
        self._keys = np.concatenate(keys) if keys else np.zeros(0, np.uint64)
        self._digests = np.concatenate(digests) if keys else np.zeros(0, np.uint64)
        self._verdicts = np.concatenate(verdicts) if keys else np.zeros(0, np.float32)
        order = np.argsort(self._keys, kind="stable")
        self._keys, self._digests, self._verdicts = self._keys[order], self._digests[order], self._verdicts[order]

    @classmethod
    def of_dataset(cls, url: str, *, settings_digest: str | None = None) -> Self:
        """All verdicts on the dataset at ``url``; none where it was never verified.

        Args:
            url: The dataset.
            settings_digest: Only those that were made in this way.

        Raises:
            BrokenFileError: A file of them does not read back.
            StorageError: The storage failed.
        """
        return cls(_looked_up(file, settings_digest) for file in verdict_files(url))

    def __len__(self) -> int:
        return len(self._keys)

    def of_row(self, row: Mapping[str, Any]) -> float | None:
        """The verdict on a row of ``masks`` (with the ids and :data:`JUDGED_COLUMNS`); None where there is none.

        A verdict on what the row was before it was made anew does not count; :meth:`is_outdated` tells of it.
        """
        index = self._index(row)
        return None if index is None or not self._is_of(index, row) else float(self._verdicts[index])

    def is_outdated(self, row: Mapping[str, Any]) -> bool:
        """Whether there is a verdict, but of other masks or another text than the row has now."""
        index = self._index(row)
        return index is not None and not self._is_of(index, row)

    def _index(self, row: Mapping[str, Any]) -> int | None:
        key = np.uint64(row_key(row["video_id"], row["expression_id"], row["object_id"]))
        index = int(np.searchsorted(self._keys, key))
        return index if index < len(self._keys) and self._keys[index] == key else None

    def _is_of(self, index: int, row: Mapping[str, Any]) -> bool:
        return int(self._digests[index]) == int(row_digest(row), 16)


def _looked_up(file: FileInfo, settings_digest: str | None) -> pa.Table:
    table = with_parquet(file, lambda parquet: parquet.read(columns=[*_LOOKED_UP, "settings_digest"]))
    return table if settings_digest is None else table.filter(pc.equal(table["settings_digest"], settings_digest))


def row_key(video_id: str, expression_id: str, object_id: int) -> int:
    """64 bits that stand for a row's ids."""
    text = f"{video_id}\0{expression_id}\0{object_id}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest())
