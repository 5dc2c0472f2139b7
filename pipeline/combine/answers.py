"""One dataset's answer to an expression, and the weight of its vote."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pipeline.schema import Status

WeighBy = Literal["none", "score", "presence"]

_FULL_WEIGHT = 1 << 30
"""Of the heaviest vote: weights are whole numbers, so that equal ones are equal and sums are exact."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One dataset's rows of one expression, none of them ``failed``.

    Attributes:
        dataset: Which dataset, from 0.
        weight: Of the dataset.
        rows: Rows as dictionaries, by ``object_id``; one without masks where there is no object.
    """

    dataset: int
    weight: float
    rows: Sequence[dict[str, Any]]

    @property
    def objects(self) -> list[dict[str, Any]]:
        """Rows that hold a track."""
        return [row for row in self.rows if row["status"] == Status.OK]

    @property
    def presence(self) -> float | None:
        """Probability that what the expression names is in the video; None where no row has one."""
        return max((row["presence"] for row in self.rows if row["presence"] is not None), default=None)

    @property
    def score(self) -> float:
        """Mean score of the objects; 0 without any."""
        objects = self.objects
        return sum(row["score"] or 0.0 for row in objects) / len(objects) if objects else 0.0

    def weight_of(self, row: dict[str, Any], by: WeighBy) -> float:
        """Weight of the vote for one of :attr:`objects`; a row without a score or presence has the full weight."""
        factor = {"none": None, "score": row["score"], "presence": self.presence}[by]
        return self.weight * (1.0 if factor is None else factor)

    def weight_of_nothing(self, by: WeighBy) -> float:
        """Weight of the vote against an object that this answer lacks."""
        if by == "none":
            return self.weight
        if by == "score" or self.presence is None:
            return self.weight * 0.5
        # of an answer that has other objects presence says nothing about this one
        return self.weight * (self.presence if self.objects else 1.0 - self.presence)


def integer_weights(weights: Sequence[float]) -> list[int]:
    """Weights as whole numbers in the same proportions; all 0 where they are."""
    heaviest = max(weights, default=0.0)
    return [round(weight / heaviest * _FULL_WEIGHT) if heaviest else 0 for weight in weights]


def combined_presence(answers: Sequence[Answer], votes: int | None) -> float | None:
    """Weighted mean of the presences that are known, or the highest but ``votes`` - 1 of them.

    An answer that says nothing of presence is left out of the mean. Among votes it counts as 1 if it has an object and
    as 0 if it has none.
    """
    known = [(answer.presence, answer.weight) for answer in answers if answer.presence is not None]
    if not known:
        return None
    if votes is None:
        total = sum(weight for _, weight in known)
        return sum(presence * weight for presence, weight in known) / total
    said = [float(bool(a.objects)) if a.presence is None else a.presence for a in answers]
    return sorted(said, reverse=True)[votes - 1] if votes <= len(said) else 0.0
