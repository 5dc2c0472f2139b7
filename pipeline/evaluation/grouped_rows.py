"""Rows of a mask dataset, gathered video by video in memory that does not grow with the dataset."""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from pipeline.dataset.reader import MaskDataset

Row = dict[str, Any]


def rows_by_video(
    dataset: MaskDataset, columns: Sequence[str], wanted: Collection[str]
) -> Iterator[tuple[str, list[Row]]]:
    """Yield every wanted video that has rows, once, with all its rows.

    A first pass over the ids counts each video's rows; the second gives a video out with its last row. A writer keeps
    a video's rows together, so hardly more than one video is held at a time.

    Args:
        dataset: The dataset to read, twice.
        columns: Columns of the rows; ``video_id`` must be among them.
        wanted: Ids of the videos; rows of others are skipped.
    """
    remaining = Counter(row["video_id"] for row in dataset.iter_rows(columns=["video_id"]) if row["video_id"] in wanted)
    held: dict[str, list[Row]] = {}
    for row in dataset.iter_rows(columns=list(columns)):
        video_id = row["video_id"]
        if not remaining[video_id]:
            continue  # not wanted, or written since the first pass
        held.setdefault(video_id, []).append(row)
        remaining[video_id] -= 1
        if not remaining[video_id]:
            yield video_id, held.pop(video_id)


def expression_tracks(rows: Sequence[Row], objects: str) -> dict[str, list[Row]]:
    """A video's rows by expression, objects in order: all of them for ``union`` and ``all``, one for ``first``."""
    answers: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda row: row["object_id"]):
        answers.setdefault(row["expression_id"], []).append(row)
    return {key: answer[:1] for key, answer in answers.items()} if objects == "first" else answers
