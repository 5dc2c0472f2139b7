"""The Write stage: rows of one video, or of some of its expressions, into the dataset in one step."""

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.dataset.writer import DatasetWriter
from pipeline.errors import StorageError
from pipeline.schema import Status
from pipeline.stages.rows import WRITTEN_SCHEMA, from_ipc


def commit_rows(batch: pa.Table, writer: DatasetWriter) -> pa.Table:
    """Rows of SEGMENTED_SCHEMA to rows of WRITTEN_SCHEMA, once they are on storage.

    Safe to repeat, since a commit has one name and one content. Storage that fails for good (a full disk) is reported
    in the column ``fatal``, for the driver to end the run with: an exception would reach it wrapped in Ray's.

    Args:
        batch: One row for each video, or part of a video.
        writer: Of the dataset.
    """
    rows = [_commit(batch.slice(index, 1), writer) for index in range(batch.num_rows)]
    return pa.Table.from_pylist(rows, schema=WRITTEN_SCHEMA)


def _commit(video: pa.Table, writer: DatasetWriter) -> dict[str, Any]:
    rows = from_ipc(video["rows"][0].as_buffer())
    fatal = None
    try:
        writer.commit(rows)
    except StorageError as error:
        fatal = str(error)
    errors = rows["error"].filter(pc.equal(rows["status"], Status.FAILED.value))
    return {
        "video_id": video["video_id"][0].as_py(),
        "expressions": len(rows["expression_id"].unique()),
        "failed": len(errors),
        "error": errors[0].as_py() if len(errors) else None,
        "fatal": fatal,
        **{name: video[name][0].as_py() for name in ("frames_done", "ground_seconds", "segment_seconds")},
    }
