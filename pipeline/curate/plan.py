"""Selecting from a whole dataset, video by video, before anything is written."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import pyarrow as pa

from pipeline.curate.change import reject
from pipeline.curate.review import FACTS, Pick, ReviewPicker, RowId
from pipeline.curate.rules import Rules
from pipeline.curate.select import NOT_PICKED, REASONS, select
from pipeline.dataset.reader import MaskDataset
from pipeline.dataset.state import Counts
from pipeline.dataset.verdicts import Verdicts
from pipeline.dataset.videos import count_rows, iter_videos
from pipeline.errors import UsageError
from pipeline.evaluation.rejection import Rejection


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
    picks: list[Pick] = field(default_factory=list)
    """With ``for_review``: the rows kept, the one most worth a look first."""


def choose(
    dataset: MaskDataset, rules: Rules, rejection: Rejection, *, other_iou: Mapping[RowId, float] | None = None
) -> Selection:
    """Select from every video of a dataset; the ids of its videos and of kept rows is all that is held.

    Args:
        dataset: The dataset.
        rules: What to keep.
        rejection: Expressions that count as without an object; it counts them.
        other_iou: For ``for_review``: IoU of rows with the masks of another run, where the two differ.
    """
    rows_of = count_rows(dataset)
    picker = None
    if rules.for_review is not None:
        verdicts = Verdicts.of_dataset(dataset.url)
        threshold = rules.reject_below
        picker = ReviewPicker(rules.for_review, threshold=threshold, other_iou=other_iou, verdicts=verdicts)
    kept, dropped = dict[str, list[int]](), Counter[str]()
    places: dict[RowId, int] = {}
    read = 0
    for video_id, rows in iter_videos(dataset, rows_of):
        read += rows.num_rows
        rows = reject(rows, rejection)
        chosen, why = select(rows, rules)
        dropped += why
        if chosen:
            kept[video_id] = chosen
        if picker is not None:
            places |= _consider(rows, chosen, picker)
    picks = picker.picked() if picker is not None else []
    if picker is not None:
        rows_before = sum(map(len, kept.values()))
        kept = _only(picks, places)
        dropped[NOT_PICKED] += rows_before - len(picks)
    unreadable = sum(rows_of.values()) - read
    return Selection(
        rows_of=rows_of,
        kept=kept,
        dropped={reason: dropped[reason] for reason in REASONS},
        splits=_splits(kept, rules),
        unreadable=unreadable,
        picks=picks,
    )


def _consider(rows: pa.Table, chosen: list[int], picker: ReviewPicker) -> dict[RowId, int]:
    """Show the rows kept of one video to the picker; returns where in the video each of them is."""
    found = {}
    facts = rows.select(list(FACTS)).to_pylist()
    for index in chosen:
        row = facts[index]
        picker.add(row)
        found[row["video_id"], row["expression_id"], row["object_id"]] = index
    return found


def _only(picks: list[Pick], places: Mapping[RowId, int]) -> dict[str, list[int]]:
    kept: dict[str, list[int]] = {}
    for pick in picks:
        index = places[pick.video_id, pick.expression_id, pick.object_id]
        kept.setdefault(pick.video_id, []).append(index)
    return {video_id: sorted(indices) for video_id, indices in kept.items()}


def _splits(kept: Mapping[str, list[int]], rules: Rules) -> dict[str, dict[str, int]]:
    splits = {split: {"videos": 0, "rows": 0} for split in rules.splits}
    for video_id, indices in kept.items():
        counts = splits[rules.split_of(video_id)]
        counts["videos"] += 1
        counts["rows"] += len(indices)
    return splits


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
