"""Selecting from a whole dataset, video by video, before anything is written."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from pipeline.curate.change import reject
from pipeline.curate.rules import Rules
from pipeline.curate.select import REASONS, select
from pipeline.dataset.reader import MaskDataset
from pipeline.dataset.state import Counts
from pipeline.errors import UsageError
from pipeline.schema import MASKS_SCHEMA


@dataclass(frozen=True)
class Selection:
    """What to write, found out before anything is."""

    rows_of: Counter[str]
    """Number of rows of every video of the source."""
    kept: dict[str, list[int]]
    """Indices of the rows kept, by video; videos that keep none are not in it."""
    dropped: dict[str, int]
    """Rows by reason, every reason named."""
    splits: dict[str, dict[str, int]]
    """Videos and rows of each split."""
    unreadable: int = 0
    """Rows that are in the dataset and did not read back."""
    rejected: int = 0
    """Expressions whose presence was too low; their rows count as without an object."""


def choose(dataset: MaskDataset, rules: Rules) -> Selection:
    """Select from every video of a dataset; the ids of its videos and of kept rows is all that is held."""
    rows_of: Counter[str] = Counter()
    for batch in dataset.iter_row_batches(columns=["video_id"]):
        rows_of.update(batch.column("video_id").to_pylist())
    kept, dropped = dict[str, list[int]](), Counter[str]()
    splits = {split: {"videos": 0, "rows": 0} for split in rules.splits}
    read = rejected = 0
    for video_id, rows in videos_of(dataset, rows_of):
        read += rows.num_rows
        rows, count = reject(rows, rules.reject_below)
        rejected += count
        chosen, why = select(rows, rules)
        dropped += why
        if chosen:
            kept[video_id] = chosen
            split = splits[rules.split_of(video_id)]
            split["videos"] += 1
            split["rows"] += len(chosen)
    unreadable = sum(rows_of.values()) - read
    return Selection(rows_of, kept, {reason: dropped[reason] for reason in REASONS}, splits, unreadable, rejected)


def check_not_empty(chosen: Selection, before: Counts) -> None:
    """Refuse a split without rows, since ``datasets`` cannot open one.

    Raises:
        UsageError: There is one, or nothing is kept at all.
    """
    if not chosen.kept:
        reasons = ", ".join(f"{rows} {reason}" for reason, rows in chosen.dropped.items() if rows)
        raise UsageError(f"none of {before.rows} rows would be kept ({reasons or 'there are none'}); nothing written")
    for split, counts in chosen.splits.items():
        if not counts["videos"]:
            raise UsageError(
                f"none of {len(chosen.kept)} videos falls into {split}; take another --val-share or --seed"
            )


def videos_of(dataset: MaskDataset, rows_of: Counter[str]) -> Iterator[tuple[str, pa.Table]]:
    """Every video with all its rows; a dataset keeps them together, so that hardly more than one is held at a time.

    A video of which a row does not read back is left out, where the dataset allows that at all.
    """
    held: dict[str, list[pa.Table]] = {}
    missing = Counter(rows_of)
    for batch in dataset.iter_row_batches():
        ids = batch.column("video_id").to_pylist()
        start = 0
        for end in range(1, len(ids) + 1):
            if end < len(ids) and ids[end] == ids[start]:
                continue
            video_id, part = ids[start], batch.slice(start, end - start)
            held.setdefault(video_id, []).append(part)
            missing[video_id] -= part.num_rows
            if missing[video_id] == 0:
                yield video_id, pa.concat_tables(held.pop(video_id)).cast(MASKS_SCHEMA).combine_chunks()
            start = end
