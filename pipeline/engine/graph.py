"""Stages as a graph of Ray Data: pools of actors, short tasks, and the rows that come out at the end."""

import logging
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import ray
from ray.data import ActorPoolStrategy, DataContext, Dataset
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pipeline.engine.attempts import AttemptLedger
from pipeline.engine.feed import one_block_each
from pipeline.engine.model_files import OFFLINE
from pipeline.engine.placement import Placement
from pipeline.engine.pools import WRITE_CPUS, Pool
from pipeline.engine.settings import WorkerSettings
from pipeline.engine.stage import Row, Stage
from pipeline.errors import PipelineError, StorageError

VIDEOS_IN_FLIGHT = 2
"""Videos handed to a worker ahead of time, so that it never waits for the next one."""

Stages = Sequence[type[Stage]]


def run_graph(stages: Stages, tasks: pa.Table, settings: WorkerSettings, placement: Placement) -> Iterator[Row]:
    """Every row of ``tasks`` through all stages, each row a block of its own.

    Args:
        stages: In order; each takes what the one before gives.
        tasks: Rows of the first stage's ``input_schema``, in the order they are handed out.
        settings: What every worker is told.
        placement: The pools of the stages that have one.

    Yields:
        The last stage's rows, in the order in which they are finished.

    Raises:
        StorageError: A row's column ``fatal`` says so.
        PipelineError: A worker raised it.
    """
    configure_data()
    # beside the driver: on another node it would forget the attempts when that node is lost
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    ledger = AttemptLedger.options(scheduling_strategy=here).remote()  # type: ignore[attr-defined]
    rows = one_block_each(tasks)
    for stage in stages:
        if stage.pool is None:
            rows = _as_tasks(rows, stage, settings)
        else:
            rows = through_pool(rows, stage, placement.pools[stage.name], (settings, ledger))
    try:
        for row in rows.iter_rows():
            if row.get("fatal"):
                raise StorageError(row["fatal"])
            yield row
    except ray.exceptions.RayError as error:
        cause = _cause(error)
        raise cause from (None if cause is error else error)


def through_pool(rows: Dataset, worker: type, pool: Pool, arguments: tuple[Any, ...]) -> Dataset:
    """``rows`` through a pool of actors of class ``worker``, one block at a time each, made with ``arguments``."""
    return rows.map_batches(
        worker,
        fn_constructor_args=arguments,
        batch_size=1,
        batch_format="pyarrow",
        compute=ActorPoolStrategy(
            min_size=pool.least, max_size=pool.most, max_tasks_in_flight_per_actor=VIDEOS_IN_FLIGHT
        ),
        # By default every actor takes a whole CPU as well; on small machines two pools would then wait for each other.
        num_cpus=0,
        num_gpus=pool.gpus,
        resources=dict(pool.resources) or None,
        runtime_env=OFFLINE,
    )


def _as_tasks(rows: Dataset, stage: type[Stage], settings: WorkerSettings) -> Dataset:
    return rows.map_batches(
        _run_once,  # type: ignore[arg-type]  # Ray types the function without its extra arguments
        fn_kwargs={"stage": stage, "settings": settings},
        batch_size=1,
        batch_format="pyarrow",
        zero_copy_batch=True,
        num_cpus=WRITE_CPUS,
    )


def _run_once(batch: pa.Table, stage: type[Stage], settings: WorkerSettings) -> pa.Table:
    worker = stage(settings, None)
    try:
        return worker(batch)
    finally:
        worker.close()


def configure_data() -> None:
    """Ray Data's settings for this process."""
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    # one video may keep a worker busy for long; a hung one is ended by its own deadlines, not by this guard
    context.execution_no_progress_timeout_s = 24 * 3600
    # Counting attempts is ours (pipeline.engine.attempts); blocks are never dropped.
    context.max_errored_blocks = 0


def _cause(error: BaseException) -> BaseException:
    """The error of ours that made Ray give up, if there is one; Ray's own carries it with a stack trace as its text."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, PipelineError) and not isinstance(seen, ray.exceptions.RayError):
            return seen
        inner = getattr(seen, "cause", None)
        seen = inner if isinstance(inner, BaseException) else seen.__cause__
    return error
