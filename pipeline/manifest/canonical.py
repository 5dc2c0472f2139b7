"""The canonical manifest, one row per (video, expression): Parquet, JSON lines and CSV readers.

Each reader yields tables of a bounded number of rows as it goes.
"""

import codecs
import csv
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import IO, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.errors import UsageError
from pipeline.manifest.rows import COLUMNS, ROW_SCHEMA, TERMS, ManifestRow, shown, tables_of

_IDS = ("video_id", "expression_id")
_BATCH_ROWS = 65_536
_MAX_CELL = 2**31 - 1


def read_jsonl(file: IO[bytes], manifest: str) -> Iterator[ManifestRow]:
    """Rows of a JSON lines file; ``frames`` is a list of strings or null, blank lines are skipped."""
    for number, line in enumerate(file, start=1):
        if number == 1:
            line = line.removeprefix(codecs.BOM_UTF8)
        if not line.strip():
            continue
        place = f"line {number}"
        # Only an escape can smuggle in half a character.
        yield _json_row(_json_object(line, manifest, place), manifest, place, number, check_unicode=b"\\u" in line)


def json_array(file: IO[bytes]) -> list[Any] | None:
    """The content of a JSON file, if it is an array of objects; None for anything else, also for what is no JSON."""
    try:
        content = json.loads(file.read())
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, list) and content and isinstance(content[0], dict) else None


def rows_of_array(items: list[Any], manifest: str) -> Iterator[ManifestRow]:
    """Rows of a JSON array of objects with the same columns as :func:`read_jsonl`."""
    for number, item in enumerate(items, start=1):
        place = f"row {number}"
        if not isinstance(item, dict):
            raise UsageError(f"{manifest}: {place}: expected an array of JSON objects, found {_type_name(item)}")
        yield _json_row(item, manifest, place, number, check_unicode=True)


def _json_row(row: dict[str, Any], manifest: str, place: str, number: int, *, check_unicode: bool) -> ManifestRow:
    frames = _frame_tuple(row.get("frames"), manifest, place)
    video_id, video, expression_id, expression = (_text(row, column, manifest, place) for column in COLUMNS)
    license_text, video_source = (_term(row.get(column), manifest, place, column) for column in TERMS)
    if check_unicode:
        named = {"video_id": video_id, "video": video, "expression_id": expression_id, "expression": expression}
        stated = {"license": license_text or "", "video_source": video_source or ""}
        for column, text in {**named, **stated, "frames": " ".join(frames or ())}.items():
            _check_unicode(text, manifest, place, column)
    return ManifestRow(number, video_id, video, expression_id, expression, frames, license_text, video_source)


def read_csv(file: IO[bytes], manifest: str, *, delimiter: str = ",") -> Iterator[ManifestRow]:
    """Rows of a CSV file with a header line; ``frames`` holds names separated by spaces, empty takes every frame."""
    csv.field_size_limit(_MAX_CELL)  # of this process; a list of 20 000 frames is longer than the default of 131072
    reader = csv.reader(io.TextIOWrapper(file, encoding="utf-8-sig", newline=""), strict=True, delimiter=delimiter)
    header = next(reader, None)
    if header is None:
        raise UsageError(f"{manifest}: the file is empty; expected a header line with {_listed(COLUMNS)}")
    _check_columns(header, manifest)
    where = [header.index(column) for column in COLUMNS]
    frames_at = header.index("frames") if "frames" in header else None
    terms_at = [header.index(column) if column in header else None for column in TERMS]
    for values in reader:
        if not values:
            continue
        place = f"line {reader.line_num}"
        if len(values) != len(header):
            raise UsageError(
                f"{manifest}: {place}: {len(values)} cells where the header has {len(header)}; "
                f"quote cells that hold {'commas' if delimiter == ',' else 'tabs'}"
            )
        frames = tuple(values[frames_at].split()) or None if frames_at is not None else None
        video_id, video, expression_id, expression = (values[index] for index in where)
        terms = (None if index is None else values[index] or None for index in terms_at)
        yield ManifestRow(reader.line_num, video_id, video, expression_id, expression, frames, *terms)


def read_parquet(file: IO[bytes], manifest: str) -> Iterator[pa.Table]:
    """Rows of a Parquet file; ids may be integers, ``frames`` is a list of strings or null."""
    with pq.ParquetFile(file) as parquet:
        schema = parquet.schema_arrow
        _check_columns(schema.names, manifest)
        columns = [*COLUMNS, *(name for name in ("frames", *TERMS) if name in schema.names)]
        for column in columns:
            _check_parquet_type(schema.field(column), manifest)
        first = 1
        for batch in parquet.iter_batches(batch_size=_BATCH_ROWS, columns=columns):
            yield _parquet_rows(batch, first, manifest)
            first += batch.num_rows


@dataclass(frozen=True)
class Reader:
    """How one kind of file is read.

    Attributes:
        read: Tables of :data:`pipeline.manifest.rows.ROW_SCHEMA` from an open file, given its name for messages.
        unit: What the rows' numbers count: ``line``, ``row``.
    """

    read: Callable[[IO[bytes], str], Iterator[pa.Table]]
    unit: str


def _text_reader(read: Callable[[IO[bytes], str], Iterator[ManifestRow]]) -> Reader:
    return Reader(lambda file, manifest: tables_of(read(file, manifest)), "line")


READERS = {
    ".jsonl": _text_reader(read_jsonl),
    ".ndjson": _text_reader(read_jsonl),
    ".csv": _text_reader(read_csv),
    ".tsv": _text_reader(partial(read_csv, delimiter="\t")),
    ".parquet": Reader(read_parquet, "row"),
}


def _json_object(line: bytes, manifest: str, place: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        reason = error.msg if isinstance(error, json.JSONDecodeError) else error
        raise UsageError(f"{manifest}: {place}: not a JSON object: {reason}") from error
    if not isinstance(row, dict):
        raise UsageError(f"{manifest}: {place}: expected a JSON object on each line, found {_type_name(row)}")
    return row


def _text(row: dict[str, Any], column: str, manifest: str, place: str) -> str:
    try:
        value = row[column]
    except KeyError:
        raise UsageError(f"{manifest}: {place}: column {column!r} is missing") from None
    if type(value) is str:
        return value
    if type(value) is int and column in _IDS:
        return str(value)
    raise UsageError(f"{manifest}: {place}: column {column!r} must be a string, found {_type_name(value)}")


def _term(value: object, manifest: str, place: str, column: str) -> str | None:
    if value is not None and type(value) is not str:
        raise UsageError(f"{manifest}: {place}: column {column!r} must be a string, found {_type_name(value)}")
    return value or None


def _frame_tuple(value: object, manifest: str, place: str) -> tuple[str, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not all(type(name) is str for name in value):
        raise UsageError(f"{manifest}: {place}: column 'frames' must be a list of strings, found {_type_name(value)}")
    return tuple(value)


def _type_name(value: object) -> str:
    names = {
        dict: "an object",
        list: "a list",
        str: "a string",
        bool: "a boolean",
        int: "an integer",
        float: "a number",
    }
    if isinstance(value, list):
        return "a list with " + " and ".join(sorted({names.get(type(item), "null") for item in value} or {"nothing"}))
    return names.get(type(value), "null")


def _check_unicode(text: str, manifest: str, place: str, column: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UsageError(
            f"{manifest}: {place}: column {column!r} holds half a surrogate pair: {shown(text)}"
        ) from error


def _check_columns(names: list[str], manifest: str) -> None:
    missing = [column for column in COLUMNS if column not in names]
    if missing:
        raise UsageError(f"{manifest}: column {_listed(missing)} is missing; found {_listed(names) or 'no columns'}")
    for column in (*COLUMNS, "frames", *TERMS):
        if names.count(column) > 1:
            raise UsageError(f"{manifest}: column {column!r} appears {names.count(column)} times")


def _listed(names: "list[str] | tuple[str, ...]") -> str:
    return ", ".join(shown(name) for name in names[:20])


def _check_parquet_type(field: pa.Field, manifest: str) -> None:
    kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
    if field.name == "frames":
        listed = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
        if pa.types.is_null(kind) or (listed and (_is_text(kind.value_type) or pa.types.is_null(kind.value_type))):
            return
        raise UsageError(f"{manifest}: column 'frames' has type {field.type}, expected a list of strings")
    if field.name in TERMS and pa.types.is_null(kind):
        return
    if _is_text(kind) or (field.name in _IDS and pa.types.is_integer(kind)):
        return
    raise UsageError(f"{manifest}: column {field.name!r} has type {field.type}, expected string")


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _parquet_rows(batch: pa.RecordBatch, first: int, manifest: str) -> pa.Table:
    columns = [pa.array(range(first, first + batch.num_rows), pa.int64())]
    for name in COLUMNS:
        column = batch.column(name)
        if column.null_count:
            row = first + column.is_null().index(True).as_py()
            raise UsageError(f"{manifest}: row {row}: column {name!r} is null")
        columns.append(column.cast(pa.string()))
    columns.append(_parquet_frames(batch, first, manifest))
    columns += [_parquet_term(batch, name) for name in TERMS]
    table = pa.Table.from_arrays(columns, schema=ROW_SCHEMA)
    table.validate(full=True)  # text that is not UTF-8
    return table


def _parquet_term(batch: pa.RecordBatch, name: str) -> pa.Array:
    if name not in batch.schema.names:
        return pa.nulls(batch.num_rows, pa.string())
    column = batch.column(name).cast(pa.string())
    return pc.if_else(pc.equal(column, ""), pa.scalar(None, pa.string()), column)


def _parquet_frames(batch: pa.RecordBatch, first: int, manifest: str) -> pa.Array:
    kind = ROW_SCHEMA.field("frames").type
    if "frames" not in batch.schema.names:
        return pa.nulls(batch.num_rows, kind)
    column = batch.column("frames")
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    frames = column.cast(kind)
    names = frames.flatten()
    if names.null_count:
        row = pc.list_parent_indices(frames)[names.is_null().index(True).as_py()].as_py()
        raise UsageError(f"{manifest}: row {first + row}: column 'frames' holds a null")
    return frames
