"""What curating changes in rows: rejected expressions lose their masks, and masks are cleaned."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from pipeline.cleanup.cleaner import Cleaner
from pipeline.evaluation.rejection import Rejection
from pipeline.masks import areas_and_bboxes
from pipeline.schema import MASKS_SCHEMA, Status


def reject(rows: pa.Table, rejection: Rejection) -> pa.Table:
    """All rows of one video, those of rejected expressions as rows without an object.

    Args:
        rows: In :data:`pipeline.schema.MASKS_SCHEMA`.
        rejection: Which expressions are rejected; counts them.
    """
    if rejection.threshold is None:
        return rows
    by_expression: dict[str, list[dict[str, Any]]] = {}
    for row in rows.select(rejection.columns("expression_id")).to_pylist():
        by_expression.setdefault(row["expression_id"], []).append(row)
    rejected = {key for key, listed in by_expression.items() if rejection.rejects(listed)}
    if not rejected:
        return rows
    parts = []
    for index in range(rows.num_rows):
        row = rows.slice(index, 1)
        is_rejected = row["expression_id"][0].as_py() in rejected and row["status"][0].as_py() == Status.OK
        parts.append(_table([_without_masks(row.to_pylist()[0])]) if is_rejected else row)
    return pa.concat_tables(parts).combine_chunks()


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
