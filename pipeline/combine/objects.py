"""Which objects of several answers are the same object."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from pipeline.combine.answers import Answer
from pipeline.combine.votes import track_iou

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class SameObject:
    """One object: the row of each answer that has it, by the number of its dataset; the first one opened it."""

    members: dict[int, Row] = field(default_factory=dict)

    @property
    def first(self) -> Row:
        """The row that the others were compared with."""
        return next(iter(self.members.values()))


def same_objects(answers: Sequence[Answer], match_iou: float, height: int, width: int) -> list[SameObject]:
    """Group the objects of answers to one expression.

    The heaviest dataset's objects come first, then those of the others that match none of them. Where no answer has
    more than one object, all mean the same one. Else the objects of each answer are assigned to the objects so far for
    the largest sum of IoU, and pairs below ``match_iou`` are different objects.

    Raises:
        ValueError: A mask cannot be read.
    """
    ordered = sorted(answers, key=lambda answer: -answer.weight)
    if all(len(answer.objects) <= 1 for answer in answers):
        members = {answer.dataset: answer.objects[0] for answer in ordered if answer.objects}
        return [SameObject(members=members)] if members else []
    groups: list[SameObject] = []
    for answer in ordered:
        unmatched = list(range(len(answer.objects)))
        for index, known in _assigned(answer.objects, [group.first for group in groups], match_iou, height, width):
            groups[known].members[answer.dataset] = answer.objects[index]
            unmatched.remove(index)
        groups += [SameObject(members={answer.dataset: answer.objects[index]}) for index in unmatched]
    return groups


def _assigned(
    rows: Sequence[Row], known: Sequence[Row], match_iou: float, height: int, width: int
) -> list[tuple[int, int]]:
    """Pairs of a row and a known object that are the same."""
    if not rows or not known:
        return []
    ious = np.array([[track_iou(row["masks"], other["masks"], height, width) for other in known] for row in rows])
    pairs = zip(*linear_sum_assignment(ious, maximize=True), strict=True)
    return [(int(row), int(other)) for row, other in pairs if ious[row, other] >= match_iou]
