"""Which rows of one video are kept, and why the others are not."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import pyarrow as pa

from pipeline.curate.rules import Rules
from pipeline.schema import Status

FAILED = "failed"
LICENSE = "licence not wanted"
NO_OBJECT = "no object"
LOW_SCORE = "score too low"
LOW_PRESENCE = "presence too low"
SMALL = "area too small"
SAME_SENTENCE = "sentence asked twice"
SAME_MASKS = "masks of another row"
TOO_MANY = "more than allowed per video"
NOT_PICKED = "not picked for review"
REASONS = (LICENSE, FAILED, NO_OBJECT, LOW_PRESENCE, LOW_SCORE, SMALL, SAME_SENTENCE, SAME_MASKS, TOO_MANY, NOT_PICKED)
"""Why rows are dropped, in the order of the rules; a row counts for the first rule that it breaks."""


@dataclass(frozen=True)
class _Candidate:
    """What the rules look at in a row; rank orders a video's rows, best first, without ties."""

    index: int
    status: str
    expression_id: str
    sentence: str
    score: float
    presence: float | None
    license: str | None
    areas: tuple[int, ...]
    rank: tuple[float, str, int]

    @property
    def area(self) -> float:
        visible = [area for area in self.areas if area]
        return sum(visible) / len(visible) if visible else 0.0


def select(rows: pa.Table, rules: Rules) -> tuple[list[int], Counter[str]]:
    """Choose among all rows of one video.

    Args:
        rows: In :data:`pipeline.schema.MASKS_SCHEMA`.
        rules: What to keep.

    Returns:
        Indices of the rows to keep, ascending, and how many were dropped for each of :data:`REASONS`.
    """
    left = _candidates(rows)
    dropped: Counter[str] = Counter()

    def drop(reason: str, broken: Callable[[_Candidate], bool]) -> None:
        nonlocal left
        kept = [one for one in left if not broken(one)]
        dropped[reason] += len(left) - len(kept)
        left = kept

    drop(LICENSE, lambda one: not _is_licensed(one.license, rules))
    drop(FAILED, lambda one: one.status == Status.FAILED)
    drop(NO_OBJECT, lambda one: one.status == Status.NO_OBJECT and not rules.keeps_no_object)
    drop(LOW_PRESENCE, lambda one: one.presence is not None and one.presence < rules.min_presence)
    drop(LOW_SCORE, lambda one: one.status == Status.OK and one.score < rules.min_score)
    drop(SMALL, lambda one: one.status == Status.OK and one.area < rules.min_area)
    if not rules.keep_duplicates:
        chosen = _expression_of_each_sentence(left)
        drop(SAME_SENTENCE, lambda one: chosen[one.sentence] != one.expression_id)
        first = _first_with_its_masks(left, rows)
        drop(SAME_MASKS, lambda one: one.status == Status.OK and one.index not in first)
    if rules.max_per_video is not None:
        tracks = sorted((one for one in left if one.status == Status.OK), key=lambda one: one.rank)
        best = {one.index for one in tracks[: rules.max_per_video]}
        drop(TOO_MANY, lambda one: one.status == Status.OK and one.index not in best)
    return [one.index for one in left], dropped


def _is_licensed(license_text: str | None, rules: Rules) -> bool:
    """Whether rows under a licence may be kept; capitals make no difference."""
    name = None if license_text is None else license_text.casefold()
    if rules.only_license is not None and name not in [text.casefold() for text in rules.only_license]:
        return False
    return name not in [text.casefold() for text in rules.exclude_license or ()]


def _candidates(rows: pa.Table) -> list[_Candidate]:
    names = ["status", "expression_id", "object_id", "expression", "score", "presence", "license", "areas"]
    found = []
    for index, row in enumerate(rows.select(names).to_pylist()):
        score = row["score"] or 0.0
        found.append(
            _Candidate(
                index=index,
                status=row["status"],
                expression_id=row["expression_id"],
                sentence=" ".join(row["expression"].split()).casefold(),
                score=score,
                presence=row["presence"] if row["status"] == Status.OK else None,
                license=row["license"],
                areas=tuple(row["areas"] or ()),
                rank=(-score, row["expression_id"], row["object_id"]),
            )
        )
    return found


def _expression_of_each_sentence(rows: Iterable[_Candidate]) -> dict[str, str]:
    """The id that each sentence keeps, of those it was asked under: that of its best row."""
    chosen: dict[str, str] = {}
    for row in sorted(rows, key=lambda row: row.rank):
        chosen.setdefault(row.sentence, row.expression_id)
    return chosen


def _first_with_its_masks(rows: Iterable[_Candidate], table: pa.Table) -> set[int]:
    """Indices of rows without those that have the masks of a better row on every frame.

    Only rows with equal areas are compared.
    """
    masks = table.column("masks")
    kept: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: row.rank):
        alike = kept[row.areas]
        if not any(masks[row.index].equals(masks[other]) for other in alike):
            alike.append(row.index)
    return {index for alike in kept.values() for index in alike}
