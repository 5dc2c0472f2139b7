"""The noun "stage": one step of the work on a video, run by a pool of workers on Ray Data.

A stage is a subclass of :class:`Stage` in a file of its own, listed in ``pipeline.run.PIPELINE``. Pools, placement,
order, attempts, timing, progress and metrics are the engine's and ask the stage; nothing else names one.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import pyarrow as pa
from ray.actor import ActorHandle

from pipeline.engine.attempts import Attempts
from pipeline.engine.guard import attempt, deadline
from pipeline.engine.metrics import StageMetrics
from pipeline.engine.settings import WorkerSettings
from pipeline.logs import log_structured

Row = dict[str, Any]
"""One video, or a part of one, as a row of a stage's schema."""

SECONDS = pa.field("seconds", pa.map_(pa.string(), pa.float64()))
"""Column that every stage's output has: time each stage so far took for this row, by the stage's name."""


@dataclass(frozen=True, kw_only=True)
class PoolSpec:
    """How a stage's workers are sized where options say nothing.

    Attributes:
        worker: What one is called, in messages and options: ``grounder`` gives ``--grounders`` and
            ``--gpus-per-grounder``; the stage's own name gives ``--ground-on``. Options exist where the run's settings
            have a field of that name.
        gpu_share: Share of the cluster's GPUs, relative to the other stages'; 0 for workers that need none.
        cpus: CPUs of one worker. Ray's default of one would let two pools wait for each other on a small machine.
    """

    worker: str
    gpu_share: int = 1
    cpus: float = 0.0


class Stage(ABC):
    """One step of the work on a video; an instance is one worker, which lives as long as its process.

    Subclasses say what they are in class attributes, make what they need in ``__init__`` (after ``super().__init__``),
    and turn one row into another in :meth:`process`. Whatever goes wrong there with one video becomes the row that
    :meth:`failed` gives; the worker goes on with the next.

    Attributes:
        name: Key of the stage in options, timings and metrics.
        input_schema: Rows it takes; must hold ``video_id`` and ``expression_ids``.
        output_schema: Rows it gives; must hold :data:`SECONDS`.
        pool: Its workers; ``None`` for a stage that runs as short tasks, each with a worker of its own.
    """

    name: ClassVar[str]
    input_schema: ClassVar[pa.Schema]
    output_schema: ClassVar[pa.Schema]
    pool: ClassVar[PoolSpec | None]

    def __init__(self, settings: WorkerSettings, ledger: ActorHandle | None) -> None:
        log_structured()
        self.settings = settings
        self.metrics = StageMetrics(self.name) if self.pool else None
        self.attempts = Attempts(ledger, self.name, settings.config.max_attempts) if ledger is not None else None

    @abstractmethod
    def process(self, row: Row) -> Row:
        """The work on one row of ``input_schema``; a row of ``output_schema`` without :data:`SECONDS`.

        Must be safe to repeat: work may be cut off anywhere and begun again.

        Raises:
            VideoError: The video is to blame.
            NodeError: This machine is.
        """

    @abstractmethod
    def failed(self, row: Row, message: str) -> Row:
        """What goes on instead of a result when :meth:`process` failed, or an earlier stage did."""

    def masks_in(self, result: Row) -> int:  # noqa: ARG002 - a stage that makes none has no use for it
        """Masks that a result holds, for the metrics."""
        return 0

    def close(self) -> None:  # noqa: B027 - most stages hold nothing that outlives the process
        """Release what the worker holds; bounded in time, and safe after a half-finished ``__init__``."""

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Rows of ``input_schema`` to rows of ``output_schema``."""
        rows = [self._one(_row(batch, index)) for index in range(batch.num_rows)]
        return pa.Table.from_pylist(rows, schema=self.output_schema)

    def _one(self, row: Row) -> Row:
        if self.metrics:
            self.metrics.begin()
        started = time.perf_counter()
        message = row.get("error") or (self.attempts.begin(row) if self.attempts else None)
        if message:
            result = self.failed(row, message)
        else:
            with deadline(self.settings.config.video_timeout_s if self.pool else None):
                result = attempt(row["video_id"], lambda: self.process(row), lambda error: self.failed(row, error))
        if self.attempts:
            self.attempts.end(row)
        if self.metrics:
            self.metrics.end(masks=self.masks_in(result))
        earlier: Mapping[str, float] = dict(row.get("seconds") or ())
        return {**result, "seconds": list({**earlier, self.name: time.perf_counter() - started}.items())}


def _row(batch: pa.Table, index: int) -> Row:
    """One row as Python values, but for large binary ones: those stay where they are, as Arrow scalars."""
    return {
        name: value if pa.types.is_large_binary(value.type) else value.as_py()
        for name, value in ((name, batch[name][index]) for name in batch.column_names)
    }
