"""The canonical manifest, one row per (video, expression): Parquet, JSON lines and CSV readers.

Each reader yields typed rows as it goes, so a million rows never exist twice in memory.
"""

import codecs
import csv
import io
import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import UsageError
from pipeline.manifest.grouping import ManifestRow, shown

COLUMNS = ("video_id", "video", "expression_id", "expression")
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
        yield _json_row(_json_object(line, manifest, place), manifest, place, check_unicode=b"\\u" in line)


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
        yield _json_row(item, manifest, place, check_unicode=True)


def _json_row(row: dict[str, Any], manifest: str, place: str, *, check_unicode: bool) -> ManifestRow:
    frames = _frame_tuple(row.get("frames"), manifest, place)
    video_id, video, expression_id, expression = (_text(row, column, manifest, place) for column in COLUMNS)
    if check_unicode:
        named = {"video_id": video_id, "video": video, "expression_id": expression_id, "expression": expression}
        for column, text in {**named, "frames": " ".join(frames or ())}.items():
            _check_unicode(text, manifest, place, column)
    return ManifestRow(place, video_id, video, expression_id, expression, frames)


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
        yield ManifestRow(place, video_id, video, expression_id, expression, frames)


def read_parquet(file: IO[bytes], manifest: str) -> Iterator[ManifestRow]:
    """Rows of a Parquet file; ids may be integers, ``frames`` is a list of strings or null."""
    with pq.ParquetFile(file) as parquet:
        schema = parquet.schema_arrow
        _check_columns(schema.names, manifest)
        has_frames = "frames" in schema.names
        for column in (*COLUMNS, *(("frames",) if has_frames else ())):
            _check_parquet_type(schema.field(column), manifest)
        first = 1
        columns = [*COLUMNS, "frames"] if has_frames else list(COLUMNS)
        for batch in parquet.iter_batches(batch_size=_BATCH_ROWS, columns=columns):
            yield from _parquet_rows(batch, first, manifest, has_frames)
            first += batch.num_rows


READERS: dict[str, Callable[[IO[bytes], str], Iterator[ManifestRow]]] = {
    ".jsonl": read_jsonl,
    ".ndjson": read_jsonl,
    ".csv": read_csv,
    ".tsv": partial(read_csv, delimiter="\t"),
    ".parquet": read_parquet,
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
    for column in (*COLUMNS, "frames"):
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
    if _is_text(kind) or (field.name in _IDS and pa.types.is_integer(kind)):
        return
    raise UsageError(f"{manifest}: column {field.name!r} has type {field.type}, expected string")


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _parquet_rows(batch: pa.RecordBatch, first: int, manifest: str, has_frames: bool) -> Iterator[ManifestRow]:
    columns = []
    for name in COLUMNS:
        column = batch.column(name)
        if column.null_count:
            row = first + column.is_null().index(True).as_py()
            raise UsageError(f"{manifest}: row {row}: column {name!r} is null")
        columns.append(column.cast(pa.string()).to_pylist())
    frames = batch.column("frames").to_pylist() if has_frames else [None] * batch.num_rows
    rows = zip(*columns, frames, strict=True)
    for number, (video_id, video, expression_id, expression, names) in enumerate(rows, start=first):
        if names is not None and None in names:
            raise UsageError(f"{manifest}: row {number}: column 'frames' holds a null")
        frame_names = tuple(names) if names is not None else None
        yield ManifestRow(f"row {number}", video_id, video, expression_id, expression, frame_names)
