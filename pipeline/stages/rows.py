"""What travels between the stages: one row per video, explicit Arrow columns, never pixels."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from pipeline.engine.stage import SECONDS, Row
from pipeline.schema import Expression, VideoTask

TASK_SCHEMA = pa.schema(
    [
        pa.field("video_id", pa.string()),
        pa.field("video", pa.string()),
        pa.field("frames", pa.list_(pa.string())),
        pa.field("expression_ids", pa.list_(pa.string())),
        pa.field("expressions", pa.list_(pa.string())),
        pa.field("license", pa.string()),
        pa.field("video_source", pa.string()),
    ]
)

GROUNDED_SCHEMA = pa.schema(
    [
        *TASK_SCHEMA,
        pa.field("error", pa.string()),
        pa.field("expression_errors", pa.list_(pa.string())),
        pa.field("answers", pa.list_(pa.string())),
        pa.field("prompts", pa.list_(pa.list_(pa.list_(pa.float32())))),
        pa.field("seg_probabilities", pa.list_(pa.list_(pa.float64()))),
        pa.field("yes_probabilities", pa.list_(pa.float64())),
        pa.field("notes", pa.list_(pa.string())),
        SECONDS,
    ]
)

SEGMENTED_SCHEMA = pa.schema(
    [
        pa.field("video_id", pa.string()),
        pa.field("expression_ids", pa.list_(pa.string())),
        pa.field("rows", pa.large_binary()),  # hours of video with many expressions exceed 2 GiB
        pa.field("frames_done", pa.int64()),
        SECONDS,
    ]
)

WRITTEN_SCHEMA = pa.schema(
    [
        pa.field("video_id", pa.string()),
        pa.field("expression_ids", pa.list_(pa.string())),
        pa.field("expressions", pa.int64()),
        pa.field("failed", pa.int64()),
        pa.field("error", pa.string()),
        pa.field("fatal", pa.string()),
        pa.field("withheld", pa.bool_()),
        pa.field("frames_done", pa.int64()),
        SECONDS,
    ]
)


@dataclass(kw_only=True)
class GroundedVideo:
    """A task with what the language model said about each of its expressions (lists in the task's order)."""

    task: VideoTask
    error: str | None = None
    """Why the whole video failed."""
    expression_errors: list[str | None] = field(default_factory=list)
    answers: list[str | None] = field(default_factory=list)
    prompts: list[np.ndarray] = field(default_factory=list)
    """float32 ``[S, d_model]`` per expression."""
    seg_probabilities: list[list[float]] = field(default_factory=list)
    yes_probabilities: list[float | None] = field(default_factory=list)
    """Answers to the presence question."""
    notes: list[str | None] = field(default_factory=list)
    """What to tell a reader about each answer."""


def tasks_table(tasks: Sequence[VideoTask]) -> pa.Table:
    """Tasks as rows of :data:`TASK_SCHEMA`."""
    return pa.Table.from_pylist([_task_row(task) for task in tasks], schema=TASK_SCHEMA)


def _task_row(task: VideoTask) -> Row:
    return {
        "video_id": task.video_id,
        "video": task.video,
        "frames": None if task.frames is None else list(task.frames),
        "expression_ids": [expression.expression_id for expression in task.expressions],
        "expressions": [expression.text for expression in task.expressions],
        "license": task.license,
        "video_source": task.video_source,
    }


def task_of(row: Row) -> VideoTask:
    """The task in a row of either schema."""
    pairs = zip(row["expression_ids"], row["expressions"], strict=True)
    return VideoTask(
        video_id=row["video_id"],
        video=row["video"],
        frames=None if row["frames"] is None else tuple(row["frames"]),
        expressions=tuple(Expression(expression_id=i, text=text) for i, text in pairs),
        license=row["license"],
        video_source=row["video_source"],
    )


def grounded_row(video: GroundedVideo) -> Row:
    """A row of :data:`GROUNDED_SCHEMA`, without the seconds."""
    return _task_row(video.task) | {
        "error": video.error,
        "expression_errors": video.expression_errors,
        "answers": video.answers,
        "prompts": [prompts.tolist() for prompts in video.prompts],
        "seg_probabilities": video.seg_probabilities,
        "yes_probabilities": video.yes_probabilities,
        "notes": video.notes,
    }


def grounded_of(row: Row) -> GroundedVideo:
    """The inverse of :func:`grounded_row`."""
    return GroundedVideo(
        task=task_of(row),
        error=row["error"],
        expression_errors=row["expression_errors"],
        answers=row["answers"],
        prompts=[np.asarray(prompts, np.float32) for prompts in row["prompts"]],
        seg_probabilities=row["seg_probabilities"],
        yes_probabilities=row["yes_probabilities"],
        notes=row["notes"],
    )


def to_ipc(table: pa.Table) -> bytes:
    """A table as one value, so that all rows of a video stay together whatever happens to blocks."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def from_ipc(data: bytes | pa.Buffer) -> pa.Table:
    """The inverse of :func:`to_ipc`."""
    with pa.ipc.open_stream(data) as reader:
        return reader.read_all()
