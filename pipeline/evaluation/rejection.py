"""Rejection: expressions whose ``presence`` is too low count as naming nothing in the video."""

from collections.abc import Collection, Sequence

import pyarrow.compute as pc

from pipeline.dataset.reader import MaskDataset
from pipeline.errors import UsageError
from pipeline.evaluation.grouped_rows import Row
from pipeline.schema import Status
from pipeline.storage import scrub


class Rejection:
    """A threshold on ``presence``, and how many expressions it met. The dataset itself is never changed.

    Args:
        threshold: Expressions below it are answered with nothing; None rejects none.

    Attributes:
        rejected: Expressions that had masks and were rejected.
        without_presence: Expressions with masks that have no ``presence``; they are kept.
    """

    def __init__(self, threshold: float | None) -> None:
        self.threshold = threshold
        self.rejected = 0
        self.without_presence = 0

    def rejects(self, rows: Sequence[Row]) -> bool:
        """Whether an expression's rows are to be left out; counts it."""
        if self.threshold is None or not any(row["status"] == Status.OK for row in rows):
            return False
        presence = presence_of(rows)
        if presence is None:
            self.without_presence += 1
            return False
        if presence >= self.threshold:
            return False
        self.rejected += 1
        return True

    def __str__(self) -> str:
        text = f"rejected: {self.rejected} expressions with a presence below {self.threshold:g}"
        if self.without_presence:
            text += f"; {self.without_presence} have no presence and were kept"
        return text


def presence_of(rows: Sequence[Row]) -> float | None:
    """The probability that what an expression names is in the video; None if the dataset does not say."""
    return max((row["presence"] for row in rows if row["presence"] is not None), default=None)


def check_presence(dataset: MaskDataset, wanted: Collection[str] | None = None) -> None:
    """Refuse to reject by a column that is empty.

    Args:
        dataset: The dataset.
        wanted: Ids of the videos that matter; by default all.

    Raises:
        UsageError: No row of these videos has a presence, so that nothing could be rejected.
    """
    for batch in dataset.iter_row_batches(columns=["video_id", "presence"]):
        known = batch.filter(pc.is_valid(batch["presence"]))
        if any(wanted is None or video_id in wanted for video_id in known["video_id"].to_pylist()):
            return
    raise UsageError(
        f"{scrub(dataset.url)}: no row has a presence, so nothing can be rejected; leave --reject-below out, or "
        "make the dataset with a model that says whether the expression's object is there"
    )
