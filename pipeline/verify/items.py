"""What is to be judged: rows of a dataset that have no verdict yet, video by video."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from pipeline.dataset.layout import part_of
from pipeline.dataset.reader import MaskDataset
from pipeline.dataset.verdicts import JUDGED_COLUMNS, Verdicts, row_digest
from pipeline.schema import Rle, Status
from pipeline.verify.pictures import choose_frames
from pipeline.verify.settings import VerifySettings

MOST_FRAMES = 32
"""Frames of a video that are held at once, unless one row alone wants more."""
_FACTS = ("video_id", "expression_id", "object_id", *JUDGED_COLUMNS)


@dataclass(frozen=True, kw_only=True)
class Item:
    """One row to judge."""

    video_id: str
    expression_id: str
    object_id: int
    expression: str
    row_digest: str
    size: tuple[int, int]
    """Height and width of the video."""
    frames: tuple[int, ...]
    """Which frames to show: indices into those of the row."""
    names: tuple[str, ...]
    """Their names."""
    masks: tuple[Rle | None, ...]
    """What to outline in each."""

    @property
    def is_outlined(self) -> bool:
        """Whether anything is outlined at all."""
        return any(mask is not None for mask in self.masks)


@dataclass(kw_only=True)
class Pending:
    """What is to do in a whole dataset."""

    videos: dict[int, list[str]] = field(default_factory=lambda: defaultdict(list))
    """By part: videos with rows to judge."""
    rows: int = 0
    judged: int = 0
    """Rows that have a verdict already."""
    outdated: int = 0
    """Rows to judge whose verdict is of earlier masks."""


def find_pending(dataset: MaskDataset, verdicts: Verdicts, parts: int, *, plain: bool) -> Pending:
    """Compare a dataset with its verdicts, without reading masks; memory holds the ids of videos with work."""
    pending = Pending()
    for video_id, rows in groupby(dataset.iter_rows(_FACTS), key=lambda row: row["video_id"]):
        has_work = False
        for row in _judgeable(rows, plain=plain):
            if verdicts.of_row(row) is not None:
                pending.judged += 1
                continue
            has_work = True
            pending.rows += 1
            pending.outdated += verdicts.is_outdated(row)
        if has_work:
            pending.videos[part_of(video_id, parts)].append(video_id)
    return pending


def items_of_videos(
    dataset: MaskDataset, verdicts: Verdicts, settings: VerifySettings
) -> Iterator[tuple[str, list[Item]]]:
    """Every video of the dataset with its rows to judge; of their masks only those to show are held."""
    columns = [*_FACTS, "height", "width", "frames", "keyframes", "masks"]
    for video_id, rows in groupby(dataset.iter_rows(columns), key=lambda row: row["video_id"]):
        items = [_item(row, settings) for row in _judgeable(rows, plain=settings.plain) if verdicts.of_row(row) is None]
        if items:
            yield video_id, items


def groups_of(items: Sequence[Item]) -> Iterator[list[Item]]:
    """Items of a video in groups that together show few frames, so that each group's frames are decoded once."""
    group: list[Item] = []
    shown: set[int] = set()
    for item in items:
        if group and len(shown.union(item.frames)) > MOST_FRAMES:
            yield group
            group, shown = [], set()
        group.append(item)
        shown.update(item.frames)
    if group:
        yield group


def _judgeable(rows: Iterator[dict[str, Any]], *, plain: bool) -> Iterator[dict[str, Any]]:
    """Rows that can be judged; without outlines one of each expression, since the question is the same for all."""
    expression = None
    for row in rows:
        if row["status"] == Status.FAILED or (plain and row["expression_id"] == expression):
            continue
        expression = row["expression_id"]
        yield row


def _item(row: dict[str, Any], settings: VerifySettings) -> Item:
    outlined = not settings.plain and any(row["areas"] or ())
    frames = choose_frames(row, settings.frames, outlined=outlined)
    masks = row["masks"] if outlined else []
    return Item(
        video_id=row["video_id"],
        expression_id=row["expression_id"],
        object_id=row["object_id"],
        expression=row["expression"],
        row_digest=row_digest(row),
        size=(row["height"] or 0, row["width"] or 0),
        frames=tuple(frames),
        names=tuple(row["frames"][frame] for frame in frames),
        masks=tuple(masks[frame] if frame < len(masks) else None for frame in frames),
    )
