"""Mask rows as Arrow tables and Parquet bytes: exact schema, zstd, row groups bounded in bytes."""

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.schema import MASKS_SCHEMA, MaskRow

ROW_GROUP_BYTES = 32 * 2**20
_PER_FRAME = ("masks", "areas", "bboxes", "scores")
_COLUMNS = [field.name for field in fields(MaskRow)]


def check_rows(rows: Sequence[MaskRow]) -> None:
    """Check what the schema alone cannot say. Raises ValueError, which means a mistake in the caller."""
    if not rows:
        raise ValueError("no rows to commit")
    keys = {(row.expression_id, row.object_id) for row in rows}
    if len({row.video_id for row in rows}) != 1 or len(keys) != len(rows):
        raise ValueError("rows of one commit must share video_id and differ in (expression_id, object_id)")
    for row in rows:
        for column in _PER_FRAME:
            if len(getattr(row, column)) not in (0, len(row.frames)):
                raise ValueError(
                    f"video {row.video_id!r}, expression {row.expression_id!r}: {len(getattr(row, column))} {column} "
                    f"for {len(row.frames)} frames"
                )


def row_table(row: MaskRow) -> pa.Table:
    """A table of one row in :data:`MASKS_SCHEMA`."""
    values = {name: getattr(row, name) for name in _COLUMNS}
    try:
        return pa.Table.from_pylist([values], schema=MASKS_SCHEMA)
    except UnicodeEncodeError:
        # File names that are not UTF-8 reach us as half surrogates, in frame names or inside an error message.
        return pa.Table.from_pylist([_encodable(values)], schema=MASKS_SCHEMA)


def to_parquet(rows: Iterable[pa.Table], metadata: Mapping[str, str]) -> bytes:
    """A Parquet file of one-row tables, in their order, with ``metadata`` beside the schema's own."""
    schema = MASKS_SCHEMA.with_metadata({**(MASKS_SCHEMA.metadata or {}), **metadata})
    sink = io.BytesIO()
    with pq.ParquetWriter(sink, schema, compression="zstd", write_page_checksum=True) as writer:
        group: list[pa.Table] = []
        size_bytes = 0
        for row in rows:
            if group and size_bytes + row.nbytes > ROW_GROUP_BYTES:
                _write_group(writer, group, schema)
                group, size_bytes = [], 0
            group.append(row)
            size_bytes += row.nbytes
        if group:
            _write_group(writer, group, schema)
    return sink.getvalue()


def _write_group(writer: pq.ParquetWriter, group: list[pa.Table], schema: pa.Schema) -> None:
    table = pa.concat_tables(group).replace_schema_metadata(schema.metadata)
    writer.write_table(table, row_group_size=table.num_rows)


def _encodable(value: Any) -> Any:  # noqa: ANN401 - any nesting of a row's values
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, list):
        return [_encodable(item) for item in value]
    if isinstance(value, dict):
        return {key: _encodable(item) for key, item in value.items()}
    return value
