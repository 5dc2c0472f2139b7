"""Mask rows as Arrow tables and Parquet files: exact schema, zstd, row groups bounded in bytes."""

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import IO, Any, Self

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.dataset.versions import current_columns
from pipeline.schema import MASKS_SCHEMA, MaskRow

ROW_GROUP_BYTES = 32 * 2**20
_PER_FRAME = ("masks", "areas", "bboxes", "scores")
_COLUMNS = [field.name for field in fields(MaskRow)]


def rows_table(rows: pa.Table | Sequence[MaskRow]) -> pa.Table:
    """Rows of one video as a table in :data:`pipeline.schema.MASKS_SCHEMA`, checked for what a schema cannot say.

    Args:
        rows: Rows as objects, or as a table, whose metadata stay.

    Raises:
        ValueError: No rows, rows of several videos, a doubled key, or lists of differing length: a mistake in the
            caller.
    """
    if isinstance(rows, pa.Table):
        table = current_columns(rows, MASKS_SCHEMA.names)
    else:
        table = pa.concat_tables([MASKS_SCHEMA.empty_table(), *map(row_table, rows)])
    _check(table)
    return table


def row_table(row: MaskRow) -> pa.Table:
    """A table of one row in :data:`pipeline.schema.MASKS_SCHEMA`."""
    values = {name: getattr(row, name) for name in _COLUMNS}
    try:
        return pa.Table.from_pylist([values], schema=MASKS_SCHEMA)
    except UnicodeEncodeError:
        # File names that are not UTF-8 reach us as half surrogates, in frame names or inside an error message.
        return pa.Table.from_pylist([_encodable(values)], schema=MASKS_SCHEMA)


def sorted_rows(table: pa.Table) -> pa.Table:
    """Rows of one video in the one order that they have in files, whatever was committed first."""
    order = pc.sort_indices(table, sort_keys=[("expression_id", "ascending"), ("object_id", "ascending")])
    if order.equals(pa.array(range(table.num_rows), order.type)):
        return table
    # row by row: a list of strings beyond 2 GiB cannot be gathered at once
    return pa.concat_tables(table.slice(index, 1) for index in order.to_pylist())


def with_terms(rows: pa.Table, **terms: str | None) -> pa.Table:
    """Rows with columns of text, such as ``license``, filled in where they are null; None fills in nothing."""
    for name, value in terms.items():
        if value is not None:
            filled = pc.fill_null(rows[name], value)
            rows = rows.set_column(rows.schema.get_field_index(name), MASKS_SCHEMA.field(name), filled)
    return rows


class RowGroupWriter:
    """Writes tables one after the other as a Parquet file of bounded row groups; holds at most one group in memory.

    Args:
        sink: Where the file goes.
        metadata: Strings to store beside the schema's own.
    """

    def __init__(self, sink: IO[bytes], metadata: Mapping[str, str]) -> None:
        self._schema = MASKS_SCHEMA.with_metadata({**(MASKS_SCHEMA.metadata or {}), **metadata})
        self._writer = pq.ParquetWriter(sink, self._schema, compression="zstd", write_page_checksum=True)
        self._group: list[pa.Table] = []
        self._bytes = 0

    def add(self, rows: pa.Table) -> None:
        """Append rows in the current schema."""
        if self._bytes + rows.nbytes <= ROW_GROUP_BYTES:
            self._append(rows)
            return
        for index in range(rows.num_rows):
            row = rows.slice(index, 1)
            if self._group and self._bytes + row.nbytes > ROW_GROUP_BYTES:
                self._flush()
            self._append(row)

    def add_metadata(self, metadata: Mapping[str, str]) -> None:
        """Store more strings, known only now."""
        self._writer.add_key_value_metadata(dict(metadata))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        if kind is None:
            self._flush()
        self._writer.close()

    def _append(self, rows: pa.Table) -> None:
        if rows.num_rows:
            self._group.append(rows)
            self._bytes += rows.nbytes

    def _flush(self) -> None:
        if self._group:
            table = pa.concat_tables(self._group).replace_schema_metadata(self._schema.metadata)
            self._writer.write_table(table, row_group_size=table.num_rows)
            self._group, self._bytes = [], 0


def to_parquet(rows: Iterable[pa.Table], metadata: Mapping[str, str]) -> bytes:
    """A Parquet file of ``rows``, in their order, with ``metadata`` beside the schema's own."""
    sink = io.BytesIO()
    with RowGroupWriter(sink, metadata) as writer:
        for table in rows:
            writer.add(table)
    return sink.getvalue()


def _check(table: pa.Table) -> None:
    if not table.num_rows:
        raise ValueError("no rows to commit")
    keys = table.select(["expression_id", "object_id"]).group_by(["expression_id", "object_id"]).aggregate([])
    if len(table["video_id"].unique()) != 1 or keys.num_rows != table.num_rows:
        raise ValueError("rows of one commit must share video_id and differ in (expression_id, object_id)")
    frames = pc.fill_null(pc.list_value_length(table["frames"]), 0)
    for column in _PER_FRAME:
        lengths = pc.fill_null(pc.list_value_length(table[column]), 0)
        wrong = pc.and_(pc.not_equal(lengths, 0), pc.not_equal(lengths, frames))
        if pc.any(wrong).as_py():
            row = pc.index(wrong, True).as_py()
            raise ValueError(
                f"video {table['video_id'][row]!s}, expression {table['expression_id'][row]!s}: {lengths[row]!s} "
                f"{column} for {frames[row]!s} frames"
            )


def _encodable(value: Any) -> Any:  # noqa: ANN401 - any nesting of a row's values
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, list):
        return [_encodable(item) for item in value]
    if isinstance(value, dict):
        return {key: _encodable(item) for key, item in value.items()}
    return value
