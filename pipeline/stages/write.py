"""The Write stage: all rows of one video into the dataset, in one step."""

from typing import Any

import pyarrow as pa

from pipeline.dataset.shared import shared_from_metadata
from pipeline.dataset.writer import DatasetWriter
from pipeline.errors import StorageError
from pipeline.schema import MaskRow, Status
from pipeline.stages.rows import WRITTEN_SCHEMA, from_ipc


def commit_rows(batch: pa.Table, writer: DatasetWriter) -> pa.Table:
    """Rows of SEGMENTED_SCHEMA to rows of WRITTEN_SCHEMA, once they are on storage.

    Safe to repeat, since a video's file has one name and one content. Storage that fails for good (a full disk) is
    reported in the column ``fatal``, for the driver to end the run with: an exception would reach it wrapped in Ray's.
    """
    return pa.Table.from_pylist([_commit(row, writer) for row in batch.to_pylist()], schema=WRITTEN_SCHEMA)


def _commit(video: dict[str, Any], writer: DatasetWriter) -> dict[str, Any]:
    table = from_ipc(video["rows"])
    rows = [MaskRow(**row) for row in table.to_pylist()]
    fatal = None
    try:
        writer.commit(rows, shared_from_metadata(table.schema.metadata))
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
