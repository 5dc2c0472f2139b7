"""The noun "stage": one step of the work on a video, run by a pool of workers on Ray Data.

A stage is a subclass of :class:`Stage` in a file of its own, listed in ``pipeline.run.PIPELINE``. Pools, placement,
order, attempts, timing, progress and metrics are the engine's and ask the stage; nothing else names one.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import pyarrow as pa

from pipeline.engine.settings import WorkerSettings

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
        shares_gpus: Whether a worker may stand beside other stages' on one GPU: its memory must leave them room.
        cpus: CPUs of one worker. Ray's default of one would let two pools wait for each other on a small machine.
    """

    worker: str
    gpu_share: int = 1
    shares_gpus: bool = False
    cpus: float = 0.0


class Stage(ABC):
    """One step of the work on a video; an instance lives as long as the process of its worker.

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

    def __init__(self, settings: WorkerSettings) -> None:
        self.settings = settings

    @abstractmethod
    def process(self, row: Row) -> Row:
        """The work on one row of ``input_schema``; a row of ``output_schema`` without :data:`SECONDS`.

        Must be safe to repeat: work may be cut off anywhere and begun again.

        Raises:
            VideoError: The video is to blame.
            NodeError: This machine is. The video is tried elsewhere.
            StorageUnavailableError, AccessDeniedError: The storage of the videos is. The video is tried again later.
        """

    @classmethod
    @abstractmethod
    def failed(cls, row: Row, message: str) -> Row:
        """What goes on instead of a result when :meth:`process` failed, or an earlier stage did."""

    def masks_in(self, result: Row) -> int:  # noqa: ARG002 - a stage that makes none has no use for it
        """Masks that a result holds, for the metrics."""
        return 0

    def close(self) -> None:  # noqa: B027 - most stages hold nothing that outlives the process
        """Release what the worker holds; bounded in time, and safe after a half-finished ``__init__``."""
