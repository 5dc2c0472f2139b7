"""The Write stage: rows of one video, or of some of its expressions, into the dataset in one step."""

import pyarrow.compute as pc

from pipeline.dataset.tables import with_terms
from pipeline.engine.guard import is_withheld
from pipeline.engine.stage import Row, Stage
from pipeline.errors import StorageError
from pipeline.schema import Status
from pipeline.stages.rows import SEGMENTED_SCHEMA, WRITTEN_SCHEMA, from_ipc


class Write(Stage):
    """Commits rows; safe to repeat, since a commit has one name and one content.

    It runs as short tasks beside the pools. Storage that fails for good (a full disk) is reported in the column
    ``fatal``, for the driver to end the run with: an exception would reach it wrapped in one of Ray's. Failures that
    may be the fault of a machine or of the videos' storage are not committed but handed on, with ``withheld`` set.
    """

    name = "write"
    input_schema = SEGMENTED_SCHEMA
    output_schema = WRITTEN_SCHEMA
    pool = None

    def process(self, row: Row) -> Row:
        """See :class:`Stage`."""
        assert self.settings.writer is not None
        config = self.settings.config
        rows = with_terms(from_ipc(row["rows"].as_buffer()), license=config.license, video_source=config.source)
        errors = rows["error"].filter(pc.equal(rows["status"], Status.FAILED.value))
        result = {
            "video_id": row["video_id"],
            "expression_ids": row["expression_ids"],
            "expressions": len(rows["expression_id"].unique()),
            "failed": len(errors),
            "error": errors[0].as_py() if len(errors) else None,
            "frames_done": row["frames_done"],
        }
        if is_withheld(result["error"]):
            return {**result, "withheld": True}
        try:
            self.settings.writer.commit(rows)
        except StorageError as error:
            return {**result, "fatal": str(error)}
        return result

    @classmethod
    def failed(cls, row: Row, message: str) -> Row:
        """See :class:`Stage`: rows that cannot be written end the run."""
        return {
            "video_id": row["video_id"],
            "expression_ids": row["expression_ids"],
            "expressions": len(row["expression_ids"]),
            "failed": 0,
            "frames_done": 0,
            "fatal": message,
        }
