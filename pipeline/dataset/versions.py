"""Rows of older schema versions, brought to the current one."""

from collections.abc import Mapping, Sequence

import pyarrow as pa

from pipeline.schema import MASKS_SCHEMA, SCHEMA_VERSION

_VERSION_KEY = b"sa2va_i_pipeline.schema_version"

_ADDED_COLUMNS = frozenset({"presence", "source", "parent", "license", "video_source"})
"""Columns that older files lack; null in their rows."""


def current_columns(table: pa.Table, columns: Sequence[str]) -> pa.Table:
    """``columns`` of ``table`` with the types of :data:`pipeline.schema.MASKS_SCHEMA`, in the order asked for.

    Version 1 differs in the types of ``masks`` and ``bboxes``; columns that were added later become null. The
    table's own metadata stay, except for the version.

    Raises:
        KeyError: A column is missing that every version has.
    """
    arrays, fields = [], []
    for name in columns:
        field = MASKS_SCHEMA.field(name)
        if name in _ADDED_COLUMNS and name not in table.column_names:
            arrays.append(pa.chunked_array([pa.nulls(table.num_rows, field.type)]))
        else:
            arrays.append(table.column(name).cast(field.type))
        fields.append(field)
    metadata = {**(table.schema.metadata or {}), **(MASKS_SCHEMA.metadata or {})}
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields, metadata=metadata))


def check_version(metadata: Mapping[bytes, bytes] | None) -> None:
    """Refuse a file of a schema version that this program does not know.

    Args:
        metadata: The metadata of the Parquet file; files without a version pass.

    Raises:
        ValueError: The version is newer, or no number.
    """
    version = (metadata or {}).get(_VERSION_KEY, SCHEMA_VERSION.encode()).decode("utf-8", "replace")
    if not version.isdecimal() or int(version) > int(SCHEMA_VERSION):
        raise ValueError(
            f"it is of schema version {version[:20]!r}, this program reads versions up to {SCHEMA_VERSION}; update it"
        )
