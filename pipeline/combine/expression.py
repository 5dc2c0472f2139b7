"""One expression: several datasets' answers become one."""

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

from pipeline.combine.answers import Answer, combined_presence, integer_weights
from pipeline.combine.objects import Row, SameObject, same_objects
from pipeline.combine.settings import CombineSettings
from pipeline.combine.votes import track_iou, vote
from pipeline.masks import areas_and_bboxes
from pipeline.schema import NOTE, MaskRow, Rle, Status, joined_notes

WITHOUT = "combined without "
"""Stands in the note of rows for which not every dataset had an answer."""
SOURCE = "combine"
"""Column ``source`` of rows whose masks come from a vote."""
_ROUNDING = 1e-9
"""So much below ``mask_share`` a share may be: weights such as a third are rounded."""


class CombineError(ValueError):
    """The answers to an expression do not go together; the message says why."""


def combine_expression(
    answers: Sequence[Answer], absent: Mapping[str, str], settings: CombineSettings, names: Sequence[str]
) -> list[MaskRow]:
    """The combined rows of one expression.

    Args:
        answers: At least one, by dataset.
        absent: Datasets that have no answer, by name, and why; goes into ``error``.
        settings: How to combine.
        names: Of all datasets.

    Returns:
        A row per object, or one ``no_object`` row.

    Raises:
        CombineError: The answers are about different frames, sizes or sentences, or ``agree`` has only one.
        ValueError: A mask cannot be read.
    """
    _check_alike(answers, names)
    if settings.mode == "agree" and len(answers) < 2:
        raise CombineError(f"only {names[answers[0].dataset]} has an answer, so nothing can agree with it")
    note = NOTE + WITHOUT + ", ".join(f"{name} ({why})" for name, why in absent.items()) if absent else None
    presence = combined_presence(answers, settings.presence_votes)
    if settings.mode == "best":
        best = max(answers, key=lambda answer: (bool(answer.objects), answer.score * answer.weight))
        return [_row(row, error=joined_notes([row["error"], note]), presence=presence) for row in best.rows]
    height, width = _size(answers)
    tracks = []
    for group in same_objects(answers, settings.match_iou, height, width):
        if settings.mode == "agree" and not _agree(group, len(answers), settings.agree_iou, height, width):
            continue
        track = _voted(group, answers, settings, height, width)
        if any(track["areas"]):
            tracks.append(track)
    common = {
        "error": joined_notes([*_notes(answers), note]),
        "presence": presence,
        "keyframes": _keyframes(answers),
        "source": SOURCE,
        "parent": None,
        **{name: _first_of(answers, name) for name in ("license", "video_source")},
    }
    if not tracks:
        return [_row(_without_object(answers), **_nothing(answers), **common)]
    return [_row(track.pop("row"), object_id=number, **track, **common) for number, track in enumerate(tracks)]


def _check_alike(answers: Sequence[Answer], names: Sequence[str]) -> None:
    first = answers[0]
    for other in answers[1:]:
        for column in ("expression", "frames", "height", "width"):
            one, two = first.rows[0][column], other.rows[0][column]
            if one != two:
                raise CombineError(
                    f"{names[first.dataset]} and {names[other.dataset]} differ in {column}: {_difference(one, two)}"
                )


def _difference(one: object, two: object) -> str:
    if isinstance(one, list) and isinstance(two, list):
        return f"{len(one)} and {len(two)}" if len(one) != len(two) else "other names"
    return f"{one!r} and {two!r}"


def _size(answers: Sequence[Answer]) -> tuple[int, int]:
    row = answers[0].rows[0]
    return row["height"], row["width"]


def _agree(group: SameObject, answers: int, least_iou: float, height: int, width: int) -> bool:
    tracks = [row["masks"] for row in group.members.values()]
    if len(tracks) < answers:
        return False
    return all(track_iou(one, other, height, width) >= least_iou for one, other in combinations(tracks, 2))


def _voted(
    group: SameObject, answers: Sequence[Answer], settings: CombineSettings, height: int, width: int
) -> dict[str, Any]:
    """The columns of an object's row that come from a vote, and under ``row`` the member that the others are from."""
    members = group.members
    by = settings.weigh_by
    weights = [
        answer.weight_of(members[answer.dataset], by) if answer.dataset in members else answer.weight_of_nothing(by)
        for answer in answers
    ]
    weight_of = dict(zip((answer.dataset for answer in answers), integer_weights(weights), strict=True))
    total = sum(weight_of.values())
    least = max(1, math.ceil(total * (settings.mask_share - _ROUNDING)))
    inside = list(members)
    masks = vote([members[d]["masks"] for d in inside], [weight_of[d] for d in inside], least, height, width)
    areas, bboxes = areas_and_bboxes(masks)
    return {
        "row": group.first,
        "masks": masks,
        "areas": areas,
        "bboxes": bboxes,
        "scores": _mean_scores([members[d]["scores"] or [] for d in inside], [weight_of[d] for d in inside]),
        "score": _mean_score(members, weight_of, total),
    }


def _mean_score(members: Mapping[int, Row], weights: Mapping[int, int], total: int) -> float | None:
    """Weighted mean of the members' scores; a dataset that lacks the object counts as 0."""
    if not total or all(row["score"] is None for row in members.values()):
        return None
    return sum((row["score"] or 0.0) * weights[dataset] for dataset, row in members.items()) / total


def _mean_scores(scores: Sequence[Sequence[float]], weights: Sequence[int]) -> list[float]:
    """Weighted mean per frame of the members that have scores."""
    known = [(values, weight) for values, weight in zip(scores, weights, strict=True) if values and weight]
    total = sum(weight for _, weight in known)
    frames = zip(*(values for values, _ in known), strict=True)
    return [sum(v * w for v, (_, w) in zip(values, known, strict=True)) / total for values in frames]


def _notes(answers: Sequence[Answer]) -> list[str]:
    """Notes of the answers' rows, each once."""
    return list(dict.fromkeys(row["error"] for answer in answers for row in answer.rows if row["error"]))


def _first_of(answers: Sequence[Answer], column: str) -> str | None:
    return next((answer.rows[0][column] for answer in answers if answer.rows[0][column]), None)


def _keyframes(answers: Sequence[Answer]) -> list[int]:
    """Frames that a language model saw for any of the answers."""
    return sorted({index for answer in answers for index in answer.rows[0]["keyframes"] or ()})


def _without_object(answers: Sequence[Answer]) -> Row:
    """The row whose text answers for an expression without an object: that of the heaviest dataset that saw none."""
    ordered = sorted(answers, key=lambda answer: (bool(answer.objects), -answer.weight))
    return ordered[0].rows[0]


def _nothing(answers: Sequence[Answer]) -> dict[str, Any]:
    frames = len(answers[0].rows[0]["frames"] or ())
    masks: list[Rle | None] = [None] * frames
    return {
        "status": Status.NO_OBJECT.value,
        "object_id": 0,
        "masks": masks,
        "areas": [0] * frames,
        "bboxes": [None] * frames,
        "scores": [0.0] * frames,
        "score": None,
    }


def _row(row: Row, **changed: Any) -> MaskRow:  # noqa: ANN401 - columns of any type
    values = {**row, **changed}
    lists = ("frames", "keyframes", "masks", "areas", "bboxes", "scores")
    return MaskRow(**{**values, **{name: values[name] or [] for name in lists}})
