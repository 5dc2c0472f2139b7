"""The Write stage: all rows of one video into the dataset, in one step."""

import pyarrow as pa

from pipeline.dataset.writer import DatasetWriter
from pipeline.schema import MaskRow, Status
from pipeline.stages.rows import WRITTEN_SCHEMA, from_ipc


class Write:
    """Commits videos as they come; safe to repeat, since a video's file has one name and one content."""

    def __init__(self, writer: DatasetWriter) -> None:
        self.writer = writer

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Rows of SEGMENTED_SCHEMA to rows of WRITTEN_SCHEMA, once they are on storage."""
        return pa.Table.from_pylist([self._one(row) for row in batch.to_pylist()], schema=WRITTEN_SCHEMA)

    def _one(self, video: dict[str, object]) -> dict[str, object]:
        rows = [MaskRow(**row) for row in from_ipc(video["rows"]).to_pylist()]  # type: ignore[arg-type]
        self.writer.commit(rows)
        failed = [row for row in rows if row.status == Status.FAILED]
        return {
            "video_id": video["video_id"],
            "expressions": len({row.expression_id for row in rows}),
            "failed": len(failed),
            "error": failed[0].error if failed else None,
            "frames_done": video["frames_done"],
            "ground_seconds": video["ground_seconds"],
            "segment_seconds": video["segment_seconds"],
        }
