"""Before anything is written: sizes and frames of all videos, and which expressions cannot be exported and why."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from pipeline.dataset.reader import MaskDataset
from pipeline.errors import PipelineError
from pipeline.evaluation.grouped_rows import Row, VideoRows, expression_tracks, rows_by_video
from pipeline.export.expected import source_size
from pipeline.export.names import NameStyle, unusable_names
from pipeline.schema import Expression, Status, VideoTask
from pipeline.storage import scrub

PLAN_COLUMNS = ("video_id", "expression_id", "object_id", "expression", "status", "error", "height", "width", "frames")

ExpressionKey = tuple[str, str]
"""``(video_id, expression_id)``."""


class IncompleteDatasetError(PipelineError):
    """Expressions of the manifest cannot be exported.

    Attributes:
        missing: Each of them, and why.
    """

    def __init__(self, message: str, missing: dict[ExpressionKey, str]) -> None:
        super().__init__(message)
        self.missing = missing


@dataclass
class Plan:
    """What is known of a dataset's answers without their masks."""

    missing: dict[ExpressionKey, str] = field(default_factory=dict)
    """Expressions without a usable answer, and why."""
    left_out: dict[ExpressionKey, str] = field(default_factory=dict)
    """Expressions that not even empty masks can be written for, and why."""
    size: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Height and width by video."""
    frames: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Frame names by video."""

    @property
    def problems(self) -> dict[ExpressionKey, str]:
        """All expressions that are not exported as they should be."""
        return {**self.left_out, **self.missing}


def make_plan(dataset: MaskDataset, tasks: Sequence[VideoTask], names: NameStyle) -> Plan:
    """Read everything but the masks of the videos of ``tasks``.

    Args:
        dataset: The dataset.
        tasks: What is expected.
        names: What the format makes of ids and frame names.

    Raises:
        DamagedDatasetError: Rows do not read back, unless the dataset skips such rows.
    """
    plan = Plan()
    by_id = {task.video_id: task for task in tasks}
    without_rows = dict.fromkeys(by_id)
    for video in rows_by_video(dataset, PLAN_COLUMNS, by_id):
        del without_rows[video.video_id]
        _add_video(plan, by_id[video.video_id], video)
    for video_id in without_rows:
        _add_video(plan, by_id[video_id], VideoRows(video_id=video_id))
    for task in tasks:
        _settle(plan, task, names)
    return plan


def _add_video(plan: Plan, task: VideoTask, video: VideoRows) -> None:
    answers = expression_tracks(video.rows, "all")
    for row in video.rows:
        size = (row["height"], row["width"])
        if None in size or row["status"] == Status.FAILED:
            continue
        known = plan.size.setdefault(task.video_id, size)
        if known != size:
            plan.missing[task.video_id, row["expression_id"]] = (
                f"its rows are of {size[1]}x{size[0]} pixels, others of the video of {known[1]}x{known[0]}"
            )
        if task.frames is None and row["frames"]:
            plan.frames.setdefault(task.video_id, tuple(row["frames"]))
    frames = task.frames or plan.frames.get(task.video_id, ())
    for expression in task.expressions:
        key = (task.video_id, expression.expression_id)
        if expression.expression_id in video.unreadable:
            plan.missing[key] = "its rows do not read back: damaged file"
            continue
        problem = _problem(answers.get(expression.expression_id, []), expression, frames)
        if problem is not None:
            plan.missing[key] = problem


def _settle(plan: Plan, task: VideoTask, names: NameStyle) -> None:
    """Find the size and frames of a video whose rows do not tell them, and check its names."""
    if task.frames is not None:
        plan.frames[task.video_id] = task.frames
    unusable = unusable_names(task, plan.frames.get(task.video_id, ()), names)
    plan.left_out.update({(task.video_id, expression_id): problem for expression_id, problem in unusable.items()})
    if len(unusable) == len(task.expressions):
        return
    why = None
    if task.video_id not in plan.frames:
        why = "its frames are named neither by the manifest nor by a row"
    elif task.video_id not in plan.size:
        size = source_size(task)
        if size is None:
            why = (
                f"its size is unknown: no row has it, and {scrub(task.video)} cannot be read (--videos names the "
                "folder of the videos)"
            )
        else:
            plan.size[task.video_id] = size
    if why is not None:
        for expression in task.expressions:
            key = (task.video_id, expression.expression_id)
            plan.left_out[key] = f"{plan.missing[key]}; {why}" if key in plan.missing else why


def _problem(rows: list[Row], expression: Expression, frames: Sequence[str]) -> str | None:
    """Why an expression's rows cannot be exported; None when they can."""
    if not rows:
        return "not in the dataset"
    for row in rows:
        if row["status"] == Status.FAILED:
            return f"failed: {scrub(str(row['error']))}"
        if row["expression"] != expression.text:
            return f"the dataset answers another sentence under this id: {row['expression']!r}"
        absent = set(frames).difference(row["frames"] or ())
        if absent:
            return f"{len(absent)} of {len(frames)} frames are missing, among them {min(absent)!r}"
    return None
