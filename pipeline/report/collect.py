"""One pass over a dataset without its masks: an item per (video, expression), and the numbers the charts show."""

from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from pipeline.dataset.reader import MaskDataset
from pipeline.engine.metrics import cause_of
from pipeline.evaluation.rejection import Rejection, presence_of
from pipeline.schema import Status

Key = tuple[str, str]
"""``(video_id, expression_id)``."""

_COLUMNS = (
    "video_id",
    "expression_id",
    "expression",
    "object_id",
    "status",
    "error",
    "answer",
    "height",
    "width",
    "areas",
    "score",
    "presence",
)


@dataclass(frozen=True, kw_only=True)
class ObjectFacts:
    """One row of the dataset, without its masks."""

    object_id: int
    score: float | None
    present: int
    """Frames with a mask."""
    area: float | None
    """Mean share of the picture where there is a mask, 0..1."""


@dataclass(frozen=True, kw_only=True)
class Item:
    """What is known of one (video, expression)."""

    video_id: str
    expression_id: str
    expression: str
    status: str
    error: str | None
    answer: str | None
    height: int | None
    width: int | None
    frames: int
    objects: tuple[ObjectFacts, ...]
    presence: float | None = None
    """Probability that what the expression names is in the video; None if the dataset does not say."""
    verdict: float | None = None
    """What a second model said of it, 0..1; None if none was asked."""
    is_rejected: bool = False
    """Whether it has masks, but is shown as answered with nothing."""

    @property
    def key(self) -> Key:
        """Video and expression."""
        return self.video_id, self.expression_id

    @property
    def score(self) -> float | None:
        """Score of its worst object: one bad track spoils an answer."""
        return min((item.score for item in self.objects if item.score is not None), default=None)

    @property
    def area(self) -> float | None:
        """Area of its largest object."""
        return max((item.area for item in self.objects if item.area is not None), default=None)

    @property
    def present(self) -> int:
        """Frames with a mask, of the object that has most of them."""
        return max((item.present for item in self.objects), default=0)


@dataclass
class Statistics:
    """Numbers over a whole dataset; a few bytes a track, so a million tracks fit."""

    failures: Counter[str] = field(default_factory=Counter)
    """Failed expressions by the kind of their error."""
    examples: dict[str, str] = field(default_factory=dict)
    """One error message of each kind."""
    scores: "array[float]" = field(default_factory=lambda: array("f"))
    areas: "array[float]" = field(default_factory=lambda: array("f"))
    """Mean share of the picture, 0..1, of tracks that have a mask at all."""
    lengths: "array[int]" = field(default_factory=lambda: array("l"))
    """Frames with a mask, per track."""
    frames_of_video: dict[str, int] = field(default_factory=dict)

    def add(self, item: Item) -> None:
        """Take in one item."""
        if item.status == Status.FAILED:
            cause = cause_of(item.error)
            self.failures[cause] += 1
            self.examples.setdefault(cause, item.error or "")
        frames = self.frames_of_video.get(item.video_id, 0)
        self.frames_of_video[item.video_id] = max(frames, item.frames)
        if item.status != Status.OK:
            return
        for track in item.objects:
            if track.score is not None:
                self.scores.append(track.score)
            if track.area is not None:
                self.areas.append(track.area)
            self.lengths.append(track.present)


def items_of(dataset: MaskDataset, rejection: Rejection) -> Iterator[Item]:
    """Every (video, expression) of a dataset, in the order of its rows; memory holds one at a time.

    The rows of an expression are expected to stand together, as every writer of ours leaves them. Rejected expressions
    are items without an object.
    """
    rows = dataset.iter_rows(rejection.columns(*_COLUMNS))
    for _, group in groupby(rows, key=lambda row: (row["video_id"], row["expression_id"])):
        listed = list(group)
        verdict, is_rejected = rejection.verdict_of(listed), rejection.rejects(listed)
        if is_rejected:
            listed = [
                {**row, "status": Status.NO_OBJECT.value, "areas": [0] * len(row["areas"] or ())} for row in listed
            ]
        yield _item(listed, verdict, is_rejected=is_rejected)


def _item(rows: list[dict[str, Any]], verdict: float | None, *, is_rejected: bool) -> Item:
    first = rows[0]
    return Item(
        video_id=first["video_id"],
        expression_id=first["expression_id"],
        expression=first["expression"],
        status=first["status"],
        error=first["error"],
        answer=first["answer"],
        height=first["height"],
        width=first["width"],
        frames=max(len(row["areas"] or ()) for row in rows),
        objects=tuple(_facts(row) for row in sorted(rows, key=lambda row: row["object_id"])),
        presence=presence_of(rows),
        verdict=verdict,
        is_rejected=is_rejected,
    )


def _facts(row: dict[str, Any]) -> ObjectFacts:
    present = [area for area in row["areas"] or () if area]
    pixels = (row["height"] or 0) * (row["width"] or 0)
    return ObjectFacts(
        object_id=row["object_id"],
        score=row["score"],
        present=len(present),
        area=sum(present) / len(present) / pixels if present and pixels else None,
    )
