"""Verdicts of a second model go along into a dataset that was made from another one, for rows that stayed the same."""

import io
import posixpath
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.dataset.files import with_parquet
from pipeline.dataset.layout import VERDICTS_FOLDER
from pipeline.dataset.reader import MaskDataset
from pipeline.dataset.verdicts import JUDGED_COLUMNS, Verdicts, row_key, verdict_files
from pipeline.storage import atomic_write, join, make_directory

_IDS = ("video_id", "expression_id", "object_id")


@dataclass(frozen=True)
class CarriedVerdicts:
    """Verdicts of the source, by what became of them."""

    kept: int = 0
    left: int = 0
    """Of rows that the new dataset lacks, or has with other masks or another text."""

    def __str__(self) -> str:
        if not self.kept and not self.left:
            return ""
        text = f"verdicts of a second model: {self.kept} taken along"
        return f"{text}, {self.left} not, whose rows are gone or were changed" if self.left else text


def carry_verdicts(source: str, target: str) -> CarriedVerdicts:
    """Copy the verdicts on ``source`` that are of rows of ``target`` as they are there.

    Files that ``target`` has already are left alone, so that this can be done again. Memory holds 30 bytes of each.

    Raises:
        BrokenFileError: A file of verdicts does not read back.
        StorageError: The storage failed.
    """
    files = verdict_files(source)
    if not files:
        return CarriedVerdicts()
    kept = _keys_of_same_rows(Verdicts.of_dataset(source), target)
    present = {posixpath.basename(file.url) for file in verdict_files(target)}
    make_directory(join(target, VERDICTS_FOLDER))
    taken = total = 0
    for file in files:
        table = with_parquet(file, lambda parquet: parquet.read())
        ids = zip(*(table[name].to_pylist() for name in _IDS), strict=True)
        is_kept = np.isin(np.fromiter((row_key(*one) for one in ids), np.uint64, table.num_rows), kept)
        taken, total = taken + int(is_kept.sum()), total + table.num_rows
        name = posixpath.basename(file.url)
        if is_kept.any() and name not in present:
            sink = io.BytesIO()
            pq.write_table(table.filter(pa.array(is_kept)), sink, compression="zstd", write_page_checksum=True)
            atomic_write(join(target, VERDICTS_FOLDER, name), sink.getvalue())
    return CarriedVerdicts(taken, total - taken)


def _keys_of_same_rows(verdicts: Verdicts, dataset: str) -> np.ndarray:
    """Keys of a dataset's rows that the verdicts are of."""
    found: list[int] = []
    for batch in MaskDataset(dataset).iter_row_batches((*_IDS, *JUDGED_COLUMNS)):
        same = (row for row in batch.to_pylist() if verdicts.of_row(row) is not None)
        found += [row_key(*(row[name] for name in _IDS)) for row in same]
    return np.array(found, np.uint64)
