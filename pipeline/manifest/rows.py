"""Rows of a manifest as Arrow tables: ids and locations are there, frames have names that are unique in their list."""

import posixpath
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import UsageError
from pipeline.schema import VideoTask
from pipeline.video.images import IMAGE_SUFFIXES

COLUMNS = ("video_id", "video", "expression_id", "expression")
TERMS = ("license", "video_source")
"""Columns that say under which terms a video is used; a manifest may lack them."""
ROW_SCHEMA = pa.schema(
    [
        pa.field("number", pa.int64()),  # of the line or row in its file, from 1, for messages
        *(pa.field(name, pa.string()) for name in COLUMNS),
        pa.field("frames", pa.list_(pa.string())),
        *(pa.field(name, pa.string()) for name in TERMS),
    ]
)
_ROWS_AT_ONCE = 20_000


class ManifestRow(NamedTuple):
    """One row as read from text: types are checked, nothing else."""

    number: int
    """Of the line or row in its file, from 1."""
    video_id: str
    video: str
    expression_id: str
    expression: str
    frames: tuple[str, ...] | None
    license: str | None = None
    video_source: str | None = None


def tables_of(rows: Iterable[ManifestRow]) -> Iterator[pa.Table]:
    """Rows as tables of :data:`ROW_SCHEMA` of bounded size."""
    iterator = iter(rows)
    while chunk := list(islice(iterator, _ROWS_AT_ONCE)):
        columns = zip(*chunk, strict=True)
        yield pa.Table.from_arrays(
            [pa.array(column, field.type) for column, field in zip(columns, ROW_SCHEMA, strict=True)], schema=ROW_SCHEMA
        )


def rows_of_tasks(tasks: Iterable[VideoTask]) -> Iterator[ManifestRow]:
    """One row per expression of each task."""
    number = 0
    for task in tasks:
        for item in task.expressions:
            number += 1
            terms = (task.license, task.video_source)
            yield ManifestRow(number, task.video_id, task.video, item.expression_id, item.text, task.frames, *terms)


def checked(table: pa.Table, *, manifest: str, unit: str) -> pa.Table:
    """``table`` with frames named without the extension of an image file (``00000.jpg``).

    Args:
        table: Of :data:`ROW_SCHEMA`.
        manifest: Name of its file, for messages.
        unit: What its numbers count, for messages: ``line``, ``row``.

    Raises:
        UsageError: An empty id or location, or a list of frames that is empty or names one twice.
    """

    def refuse(index: int, problem: str) -> UsageError:
        return UsageError(f"{manifest}: {unit} {table['number'][index].as_py()}: {problem}")

    for name in ("video_id", "video", "expression_id"):
        is_empty = pc.equal(pc.binary_length(table[name]), 0)
        if pc.any(is_empty).as_py():
            raise refuse(is_empty.index(True).as_py(), f"column {name!r} is empty")
    frames = table["frames"].combine_chunks()
    if frames.null_count == len(frames):
        return table
    lengths = pc.list_value_length(frames)
    is_empty = pc.equal(lengths, 0).fill_null(False)
    if pc.any(is_empty).as_py():
        raise refuse(is_empty.index(True).as_py(), "column 'frames' is an empty list; leave it out to take every frame")
    encoded = frames.flatten().dictionary_encode()
    names = [_frame_name(name) for name in encoded.dictionary.to_pylist()]
    codes = {name: code for code, name in enumerate(names)}
    code = np.array([codes[name] for name in names])[encoded.indices.to_numpy()]
    row = np.repeat(np.arange(len(table)), lengths.fill_null(0).to_numpy())
    _, first = np.unique(row * len(names) + code, return_index=True)
    if len(first) < len(code):
        repeated = np.setdiff1d(np.arange(len(code)), first)[0]
        raise refuse(int(row[repeated]), f"column 'frames' names {shown(names[code[repeated]])} twice")
    offsets = np.concatenate([[0], np.cumsum(lengths.fill_null(0).to_numpy())])
    named = pa.ListArray.from_arrays(
        pa.array(offsets, pa.int32()), pa.array(names).take(pa.array(code)), mask=frames.is_null()
    )
    return table.set_column(table.schema.get_field_index("frames"), ROW_SCHEMA.field("frames"), named)


def shown(text: str) -> str:
    """``text`` quoted for a message: one line, control characters escaped, cut where long."""
    return repr(text if len(text) <= 60 else text[:57] + "...")


def _frame_name(written: str) -> str:
    stem, suffix = posixpath.splitext(written)
    return stem if suffix.lower() in IMAGE_SUFFIXES else written
