"""The work of one process: videos in, their combined rows committed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from pipeline.combine.answers import Answer
from pipeline.combine.expression import combine_expression
from pipeline.combine.inputs import Input
from pipeline.combine.settings import CombineSettings
from pipeline.combine.video_reader import VideoReader
from pipeline.dataset.tables import row_table
from pipeline.dataset.writer import DatasetWriter
from pipeline.schema import Expression, MaskRow, Status, VideoTask, failed_rows

NOT_THERE = "has no row"


@dataclass(frozen=True, kw_only=True)
class Combiner:
    """Combines videos and commits them; travels between processes.

    Attributes:
        inputs: The datasets.
        settings: How to combine.
        writer: Of the output.
        skip_damaged: Count rows that do not read back as not there, instead of raising.
    """

    inputs: Sequence[Input]
    settings: CombineSettings
    writer: DatasetWriter
    skip_damaged: bool

    def combine(self, tasks: Sequence[VideoTask]) -> None:
        """Combine and commit videos one after the other; running it again changes nothing.

        Raises:
            DamagedDatasetError: Rows do not read back, and ``skip_damaged`` is off.
            StorageError: A storage failed for good, or another run has taken the output over.
        """
        ordered = sorted(tasks, key=lambda task: task.video_id)  # as in the files
        ids = [task.video_id for task in ordered]
        readers = [VideoReader(one.url, ids, skip_damaged=self.skip_damaged) for one in self.inputs]
        for task in ordered:
            found = [reader.answers(task.video_id) for reader in readers]
            tables = []
            for expression in task.expressions:
                rows = self._combined(
                    task, expression, [answers.get(expression.expression_id, []) for answers in found]
                )
                tables += [row_table(row) for row in rows]
            self.writer.commit(pa.concat_tables(tables))

    def _combined(self, task: VideoTask, expression: Expression, found: Sequence[Sequence[pa.Table]]) -> list[MaskRow]:
        """The rows of one expression, given each dataset's."""
        answers: list[Answer] = []
        absent: dict[str, str] = {}
        for number, (one, tables) in enumerate(zip(self.inputs, found, strict=True)):
            rows = sorted((table.to_pylist()[0] for table in tables), key=lambda row: row["object_id"])
            why = _why_not(rows)
            if why is None:
                answers.append(Answer(dataset=number, weight=one.weight, rows=rows))
            else:
                absent[one.name] = why
        alone = replace(task, expressions=(expression,))
        if not answers:
            return failed_rows(alone, "no dataset has an answer: " + _listed(absent))
        try:
            return combine_expression(answers, absent, self.settings, [one.name for one in self.inputs])
        except ValueError as error:  # what the datasets say does not go together, or a mask is not one
            return failed_rows(alone, f"{type(error).__name__}: {error}")


def _why_not(rows: Sequence[Mapping[str, Any]]) -> str | None:
    """Why a dataset's rows of an expression are no answer; None if they are."""
    if not rows:
        return NOT_THERE
    failed = next((row for row in rows if row["status"] == Status.FAILED), None)
    return f"failed: {failed['error']}" if failed else None


def _listed(absent: Mapping[str, str]) -> str:
    return "; ".join(f"{name}: {why}" for name, why in absent.items())
