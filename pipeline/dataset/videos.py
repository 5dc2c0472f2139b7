"""A dataset video by video, each with all its rows."""

from collections import Counter
from collections.abc import Iterator, Sequence

import pyarrow as pa

from pipeline.dataset.reader import MaskDataset
from pipeline.schema import MASKS_SCHEMA


def count_rows(dataset: MaskDataset) -> Counter[str]:
    """Number of rows of every video."""
    rows_of: Counter[str] = Counter()
    for batch in dataset.iter_row_batches(columns=["video_id"]):
        rows_of.update(batch.column("video_id").to_pylist())
    return rows_of


def iter_videos(
    dataset: MaskDataset, rows_of: Counter[str], columns: Sequence[str] | None = None
) -> Iterator[tuple[str, pa.Table]]:
    """Every video with all its rows; a dataset keeps them together, so that hardly more than one is held at a time.

    A video of which a row does not read back is left out, where the dataset allows that at all.

    Args:
        dataset: The dataset.
        rows_of: Number of rows of every video, from :func:`count_rows`.
        columns: What to read, with ``video_id`` among it; by default everything.

    Yields:
        The video's id, and its rows.
    """
    names = MASKS_SCHEMA.names if columns is None else list(columns)
    schema = pa.schema([MASKS_SCHEMA.field(name) for name in names], metadata=MASKS_SCHEMA.metadata)
    held: dict[str, list[pa.Table]] = {}
    missing = Counter(rows_of)
    for batch in dataset.iter_row_batches(names):
        ids = batch.column("video_id").to_pylist()
        start = 0
        for end in range(1, len(ids) + 1):
            if end < len(ids) and ids[end] == ids[start]:
                continue
            video_id, part = ids[start], batch.slice(start, end - start)
            held.setdefault(video_id, []).append(part)
            missing[video_id] -= part.num_rows
            if missing[video_id] == 0:
                yield video_id, pa.concat_tables(held.pop(video_id)).cast(schema).combine_chunks()
            start = end
