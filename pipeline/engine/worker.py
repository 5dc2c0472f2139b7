"""A worker: one process that runs one stage, as Ray Data calls it."""

import time
from collections.abc import Mapping

import pyarrow as pa
from ray.actor import ActorHandle

from pipeline.engine.attempts import Attempts
from pipeline.engine.guard import attempt, deadline, describe, kind_of, node_trouble, on_this_node
from pipeline.engine.metrics import StageMetrics
from pipeline.engine.settings import WorkerSettings
from pipeline.engine.software import check_software
from pipeline.engine.stage import Row, Stage
from pipeline.errors import NodeError
from pipeline.logs import log_structured


class Worker:
    """Times, counts and guards what one instance of a stage does.

    A machine that cannot even start the stage, or that failed its last videos, rests before it takes the next one:
    broken machines are fast, and would empty the queue. Their videos are tried elsewhere.

    Args:
        stage: What to run.
        settings: What every worker is told.
        ledger: Of the run; ``None`` for a worker of one row, which needs no counting.
    """

    def __init__(self, stage: type[Stage], settings: WorkerSettings, ledger: ActorHandle | None) -> None:
        log_structured()
        self._type = stage
        self._settings = settings
        config = settings.config
        self._metrics = StageMetrics(stage.name) if stage.pool else None
        self._attempts = (
            None
            if ledger is None
            else Attempts(ledger, stage.name, config.max_attempts, timeout_s=config.video_timeout_s)
        )
        self._timeout_s = config.video_timeout_s if stage.pool else None
        self._failures_of_node = 0
        self._broken: str | None = None
        try:
            check_software(settings.software)
            self._stage: Stage | None = stage(settings)
        except NodeError as error:
            self._stage, self._broken = None, describe(on_this_node(error))
            if self._attempts is not None:
                self._failures_of_node = 1
                self._attempts.broken(self._broken)

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Rows of the stage's ``input_schema`` to rows of its ``output_schema``."""
        rows = [self._timed(_row(batch, index)) for index in range(batch.num_rows)]
        return pa.Table.from_pylist(rows, schema=self._type.output_schema)

    def close(self) -> None:
        """Release what the stage holds."""
        if self._stage is not None:
            self._stage.close()

    def _timed(self, row: Row) -> Row:
        if self._metrics:
            self._metrics.begin()
        started = time.perf_counter()
        result = self._type.failed(row, row["error"]) if row.get("error") else self._worked(row)
        if self._metrics:
            self._metrics.end(masks=self._stage.masks_in(result) if self._stage else 0)
        earlier: Mapping[str, float] = dict(row.get("seconds") or ())
        return {**result, "seconds": list({**earlier, self._type.name: time.perf_counter() - started}.items())}

    def _worked(self, row: Row) -> Row:
        time.sleep(self._settings.patience.rest(self._failures_of_node))
        message = self._broken or (self._attempts.begin(row) if self._attempts else None)
        if message:
            result = self._type.failed(row, message)
        else:
            result, message = self._attempted(row)
        is_nodes_fault = message is not None and kind_of(message) == NodeError.__name__
        self._failures_of_node = self._failures_of_node + 1 if is_nodes_fault else 0
        if self._attempts and not self._broken:
            self._attempts.end(row, message if is_nodes_fault else None)
        return result

    def _attempted(self, row: Row) -> tuple[Row, str | None]:
        """The result, and the message if it is a failure."""
        stage = self._stage
        assert stage is not None

        def work() -> tuple[Row, str | None]:
            with deadline(self._timeout_s), node_trouble():
                return stage.process(row), None

        def give_up(message: str) -> tuple[Row, str | None]:
            return self._type.failed(row, message), message

        return attempt(row["video_id"], work, give_up, self._settings.patience)


def _row(batch: pa.Table, index: int) -> Row:
    """One row as Python values, but for large binary ones: those stay where they are, as Arrow scalars."""
    return {
        name: value if pa.types.is_large_binary(value.type) else value.as_py()
        for name, value in ((name, batch[name][index]) for name in batch.column_names)
    }
