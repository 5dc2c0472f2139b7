"""The Write stage: all rows of one video into the dataset, in one step."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from pipeline.dataset.parts import PartStore
from pipeline.dataset.shared import shared_from_metadata
from pipeline.dataset.writer import DatasetWriter
from pipeline.errors import StorageError
from pipeline.schema import MaskRow, Status
from pipeline.stages.rows import WRITTEN_SCHEMA, from_ipc


def commit_rows(batch: pa.Table, writer: DatasetWriter, whole: Mapping[str, tuple[str, ...]] | None = None) -> pa.Table:
    """Rows of SEGMENTED_SCHEMA to rows of WRITTEN_SCHEMA, once they are on storage.

    Safe to repeat, since a video's file has one name and one content. Storage that fails for good (a full disk) is
    reported in the column ``fatal``, for the driver to end the run with: an exception would reach it wrapped in Ray's.

    Args:
        batch: One row for each video, or part of a video.
        writer: Of the dataset.
        whole: Of videos that come in parts: the expressions that are committed together, once all are there.
    """
    rows = [_commit(row, writer, (whole or {}).get(row["video_id"])) for row in batch.to_pylist()]
    return pa.Table.from_pylist(rows, schema=WRITTEN_SCHEMA)


def _commit(video: dict[str, Any], writer: DatasetWriter, whole: tuple[str, ...] | None) -> dict[str, Any]:
    table = from_ipc(video["rows"])
    rows = [MaskRow(**row) for row in table.to_pylist()]
    fatal = None
    try:
        if whole is None:
            writer.commit(rows, shared_from_metadata(table.schema.metadata))
        else:
            PartStore(writer).add(rows, whole)
    except StorageError as error:
        fatal = str(error)
    failed = [row for row in rows if row.status == Status.FAILED]
    return {
        "video_id": video["video_id"],
        "expressions": len({row.expression_id for row in rows}),
        "failed": len(failed),
        "error": failed[0].error if failed else None,
        "fatal": fatal,
        "frames_done": video["frames_done"],
        "ground_seconds": video["ground_seconds"],
        "segment_seconds": video["segment_seconds"],
    }
