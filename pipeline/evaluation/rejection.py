"""Rejection: expressions that are probably not in the video count as naming nothing in it.

How probable it is, is said by the verdict of a second model where there is one, else by ``presence``.
"""

from collections.abc import Collection, Sequence

import pyarrow.compute as pc

from pipeline.dataset.reader import MaskDataset
from pipeline.dataset.verdicts import JUDGED_COLUMNS, Verdicts
from pipeline.errors import UsageError
from pipeline.evaluation.grouped_rows import Row
from pipeline.schema import Status
from pipeline.storage import scrub


class Rejection:
    """A threshold, and how many expressions it met. The dataset itself is never changed.

    Args:
        threshold: Expressions below it are answered with nothing; None rejects none.
        verdicts: What a second model said of the dataset; where it said nothing, ``presence`` counts.

    Attributes:
        rejected: Expressions that had masks and were rejected.
        by_verdict: How many of these because of a verdict.
        unknown: Expressions with masks that have neither verdict nor ``presence``; they are kept.
        outdated: Expressions with masks whose verdict is of earlier masks, so that ``presence`` counts.
    """

    def __init__(self, threshold: float | None, verdicts: Verdicts | None = None) -> None:
        self.threshold = threshold
        self._verdicts = verdicts if verdicts is not None else Verdicts()
        self.rejected = 0
        self.by_verdict = 0
        self.unknown = 0
        self.outdated = 0

    def columns(self, *names: str) -> list[str]:
        """``names`` and what else of a row :meth:`rejects` and :meth:`verdict_of` look at."""
        needed = (*JUDGED_COLUMNS, "expression_id", "object_id") if len(self._verdicts) else ()
        return list(dict.fromkeys((*names, "video_id", "status", "presence", *needed)))

    def verdict_of(self, rows: Sequence[Row]) -> float | None:
        """The second model's verdict on an expression's rows, that of its best object; None without one."""
        if not len(self._verdicts):
            return None
        found = (self._verdicts.of_row(row) for row in rows)
        return max((verdict for verdict in found if verdict is not None), default=None)

    def rejects(self, rows: Sequence[Row]) -> bool:
        """Whether an expression's rows are to be left out; counts it."""
        if self.threshold is None or not any(row["status"] == Status.OK for row in rows):
            return False
        verdict = self.verdict_of(rows)
        if verdict is None and len(self._verdicts):
            self.outdated += any(self._verdicts.is_outdated(row) for row in rows)
        probability = presence_of(rows) if verdict is None else verdict
        if probability is None:
            self.unknown += 1
            return False
        if probability >= self.threshold:
            return False
        self.rejected += 1
        self.by_verdict += verdict is not None
        return True

    def __str__(self) -> str:
        what = "verdict or presence" if len(self._verdicts) else "presence"
        text = f"rejected: {self.rejected} expressions with a {what} below {self.threshold:g}"
        if len(self._verdicts):
            text += f" ({self.by_verdict} by verdict, {self.rejected - self.by_verdict} by presence)"
        if self.unknown:
            text += f"; {self.unknown} have no {what} and were kept"
        if self.outdated:
            text += f"; {self.outdated} verdicts are of earlier masks and do not count"
        return text


def presence_of(rows: Sequence[Row]) -> float | None:
    """The probability that what an expression names is in the video; None if the dataset does not say."""
    return max((row["presence"] for row in rows if row["presence"] is not None), default=None)


def open_rejection(dataset: MaskDataset, threshold: float | None, wanted: Collection[str] | None = None) -> Rejection:
    """The rejection of a dataset's expressions, with what a second model said of them.

    Args:
        dataset: The dataset.
        threshold: See :class:`Rejection`.
        wanted: Ids of the videos that matter; by default all.

    Raises:
        UsageError: No row of these videos has a presence, and there are no verdicts, so that nothing could be rejected.
    """
    verdicts = Verdicts.of_dataset(dataset.url)
    if threshold is not None and not len(verdicts):
        _check_presence(dataset, wanted)
    return Rejection(threshold, verdicts)


def _check_presence(dataset: MaskDataset, wanted: Collection[str] | None) -> None:
    for batch in dataset.iter_row_batches(columns=["video_id", "presence"]):
        known = batch.filter(pc.is_valid(batch["presence"]))
        if any(wanted is None or video_id in wanted for video_id in known["video_id"].to_pylist()):
            return
    raise UsageError(
        f"{scrub(dataset.url)}: no row has a presence, so nothing can be rejected; leave --reject-below out, make the "
        "dataset with a model that says whether the expression's object is there, or ask another one (sa2va-i verify)"
    )
