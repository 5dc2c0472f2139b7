"""Stages as a graph of Ray Data: pools of actors, short tasks, and the rows that come out at the end."""

import logging
from collections.abc import Callable, Collection, Generator, Sequence
from typing import Any

import pyarrow as pa
import ray
from ray.actor import ActorHandle
from ray.data import ActorPoolStrategy, DataContext, Dataset
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pipeline.engine.attempts import AttemptLedger
from pipeline.engine.model_files import OFFLINE
from pipeline.engine.placement import Placement
from pipeline.engine.pools import WRITE_CPUS, Pool
from pipeline.engine.settings import WorkerSettings
from pipeline.engine.stage import Row, Stage
from pipeline.engine.worker import Worker
from pipeline.errors import PipelineError, StorageError

VIDEOS_IN_FLIGHT = 2
"""Videos handed to a worker ahead of time, so that it never waits for the next one."""

Stages = Sequence[type[Stage]]


def start_ledger() -> ActorHandle:
    """The actor that counts attempts."""
    # beside the driver: on another node it would forget the attempts when that node is lost
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    ledger: ActorHandle = AttemptLedger.options(scheduling_strategy=here).remote()  # type: ignore[attr-defined]
    return ledger


def run_graph(
    stages: Stages,
    rows: Dataset,
    settings: WorkerSettings,
    placement: Placement,
    ledger: ActorHandle,
    without: Collection[str] = (),
) -> Generator[Row, None, None]:
    """Every row through all stages.

    Args:
        stages: In order; each takes what the one before gives.
        rows: Of the first stage's ``input_schema``, in the order they are handed out, each a block of its own.
        settings: What every worker is told.
        placement: The pools of the stages that have one.
        ledger: Of the run.
        without: Ids of nodes that are not to be used.

    Yields:
        The last stage's rows, in the order in which they are finished. Closing the iterator ends the workers.

    Raises:
        StorageError: A row's column ``fatal`` says so.
        PipelineError: A worker raised it.
    """
    configure_data()
    for stage in stages:
        if stage.pool is None:
            rows = _as_tasks(rows, stage, settings, without)
        else:
            rows = through_pool(
                rows, _worker_of(stage), placement.pools[stage.name], (stage, settings, ledger), without=without
            )
    try:
        for row in rows.iter_rows():
            if row.get("fatal"):
                raise StorageError(row["fatal"])
            yield row
    except ray.exceptions.RayError as error:
        cause = _cause(error)
        raise cause from (None if cause is error else error)


def through_pool(
    rows: Dataset, worker: type, pool: Pool, arguments: tuple[Any, ...], *, without: Collection[str] = ()
) -> Dataset:
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
        label_selector=_other_nodes_than(without),
        runtime_env=OFFLINE,
    )


def _worker_of(stage: type[Stage]) -> type[Worker]:
    """:class:`Worker` under the stage's name, which Ray shows in process titles and on its dashboard."""
    return type(stage.__name__, (Worker,), {})


def _as_tasks(rows: Dataset, stage: type[Stage], settings: WorkerSettings, without: Collection[str]) -> Dataset:
    return rows.map_batches(
        _run_once(stage, settings),
        batch_size=1,
        batch_format="pyarrow",
        zero_copy_batch=True,
        num_cpus=WRITE_CPUS,
        label_selector=_other_nodes_than(without),
    )


def _run_once(stage: type[Stage], settings: WorkerSettings) -> Callable[[pa.Table], pa.Table]:
    """A function of the stage's name that makes a worker for a single batch."""

    def run_once(batch: pa.Table) -> pa.Table:
        worker = Worker(stage, settings, None)
        try:
            return worker(batch)
        finally:
            worker.close()

    run_once.__name__ = stage.__name__
    return run_once


def _other_nodes_than(nodes: Collection[str]) -> dict[str, str] | None:
    return {"ray.io/node-id": f"!in({','.join(sorted(nodes))})"} if nodes else None


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
