"""Rows of a mask dataset, gathered video by video in memory that does not grow with the dataset."""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.dataset.reader import MaskDataset

Row = dict[str, Any]


@dataclass(kw_only=True)
class VideoRows:
    """All rows of one video that could be read."""

    video_id: str
    rows: list[Row] = field(default_factory=list)
    unreadable: set[str] = field(default_factory=set)
    """Expressions some of whose rows are in the dataset, but did not read back."""


def rows_by_video(dataset: MaskDataset, columns: Sequence[str], wanted: Collection[str]) -> Iterator[VideoRows]:
    """Yield every wanted video that has rows, once, with all its rows.

    A first pass over the ids counts each expression's rows; the second gives a video out with its last row. A writer
    keeps a video's rows together, so hardly more than one video is held at a time. Where the dataset was opened with
    ``skip_damaged``, expressions that lost a row between the passes are named in ``unreadable``.

    Args:
        dataset: The dataset to read, twice.
        columns: Columns of the rows; the three ids must be among them.
        wanted: Ids of the videos; rows of others are skipped.

    Raises:
        DamagedDatasetError: Rows do not read back and the dataset was not opened with ``skip_damaged``.
    """
    expected: dict[str, Counter[str]] = {}
    for row in dataset.iter_rows(columns=["video_id", "expression_id"]):
        if row["video_id"] in wanted:
            expected.setdefault(row["video_id"], Counter())[row["expression_id"]] += 1
    held: dict[str, VideoRows] = {}
    for row in dataset.iter_rows(columns=list(columns)):
        video_id, expression_id = row["video_id"], row["expression_id"]
        missing = expected.get(video_id)
        if not missing or not missing[expression_id]:
            continue  # not wanted, or written since the first pass
        held.setdefault(video_id, VideoRows(video_id=video_id)).rows.append(row)
        missing[expression_id] -= 1
        if not missing[expression_id]:
            del missing[expression_id]
        if not missing:
            del expected[video_id]
            yield held.pop(video_id)
    for video_id, missing in expected.items():
        video = held.pop(video_id, VideoRows(video_id=video_id))
        video.unreadable = set(missing)
        video.rows = [row for row in video.rows if row["expression_id"] not in missing]
        yield video


def expression_tracks(rows: Sequence[Row], objects: str) -> dict[str, list[Row]]:
    """A video's rows by expression, objects in order: all of them for ``union`` and ``all``, one for ``first``."""
    answers: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda row: row["object_id"]):
        answers.setdefault(row["expression_id"], []).append(row)
    return {key: answer[:1] for key, answer in answers.items()} if objects == "first" else answers
