"""What curating changes in rows: rejected expressions lose their masks, and masks are cleaned."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.cleanup.cleaner import Cleaner
from pipeline.masks import areas_and_bboxes
from pipeline.schema import MASKS_SCHEMA, Status


def reject(rows: pa.Table, below: float | None) -> tuple[pa.Table, int]:
    """All rows of one video, those of expressions with a presence under ``below`` as rows without an object.

    Args:
        rows: In :data:`pipeline.schema.MASKS_SCHEMA`.
        below: The threshold; None rejects nothing.

    Returns:
        The rows, and how many expressions were rejected.
    """
    if below is None:
        return rows, 0
    low = pc.fill_null(
        pc.and_(pc.equal(rows["status"], Status.OK.value), pc.less(rows["presence"], below)), fill_value=False
    )
    rejected = set(rows.filter(low)["expression_id"].to_pylist())
    if not rejected:
        return rows, 0
    parts = []
    for index, is_low in enumerate(low.to_pylist()):
        row = rows.slice(index, 1)
        parts.append(_table([_without_masks(row.to_pylist()[0])]) if is_low else row)
    return pa.concat_tables(parts).combine_chunks(), len(rejected)


def clean(rows: pa.Table, cleaner: Cleaner) -> pa.Table:
    """Rows with cleaned masks; areas and boxes follow."""
    if not cleaner.settings.is_on:
        return rows
    cleaned = []
    for row in rows.to_pylist():
        if row["status"] == Status.OK and row["masks"]:
            row["masks"] = cleaner.track(row["masks"], row["scores"] or [])
            row["areas"], row["bboxes"] = areas_and_bboxes(row["masks"])
        cleaned.append(row)
    return _table(cleaned)


def _without_masks(row: dict[str, Any]) -> dict[str, Any]:
    count = len(row["frames"] or ())
    empty = {"masks": [None] * count, "areas": [0] * count, "bboxes": [None] * count}
    return {**row, **empty, "status": Status.NO_OBJECT.value}


def _table(rows: Sequence[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=MASKS_SCHEMA)
