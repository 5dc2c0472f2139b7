"""Rounds: what failed for reasons of a machine or a storage goes through the stages again, elsewhere or later."""

from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace

import pyarrow as pa
import ray

from pipeline.engine.attempts import NodeReport
from pipeline.engine.feed import Feed, Key, Windows, key_of
from pipeline.engine.graph import Stages, run_graph, start_ledger
from pipeline.engine.placement import Placement
from pipeline.engine.settings import WorkerSettings
from pipeline.engine.stage import Row
from pipeline.engine.withheld import DENIED, UNAVAILABLE, UNREACHABLE, Withheld
from pipeline.errors import NodeError
from pipeline.schema import VideoTask

NODE = NodeError.__name__
TRIES = 2
"""Rounds in which a video may fail for reasons of machines that do other videos meanwhile."""

Result = tuple[VideoTask, Row]


class Rounds:
    """Work on tasks until each has a result.

    Args:
        stages: What every task goes through.
        to_table: Makes rows of the first stage's ``input_schema``.
        settings: What every worker is told.
        placement: The pools of the first round.
        place_without: Gives the pools of later rounds, without these nodes (ids, and why each is not used any more).
            Raises NodeError when nothing is left.
        report_line: Gets a line whenever a node is given up or a round begins.
    """

    def __init__(
        self,
        stages: Stages,
        to_table: Callable[[Sequence[VideoTask]], pa.Table],
        settings: WorkerSettings,
        placement: Placement,
        *,
        place_without: Callable[[Mapping[str, str]], Placement],
        report_line: Callable[[str], None],
    ) -> None:
        self._stages = stages
        self._to_table = to_table
        self._settings = settings
        self._placement = placement
        self._place_without = place_without
        self._report_line = report_line
        self._ledger = start_ledger()
        self._given_up: dict[str, str] = {}
        self._tries: Counter[Key] = Counter()
        self._results = 0

    def run(self, feed: Feed) -> Generator[Result, None, None]:
        """Each task with its row of the last stage, in the order in which they are finished; to be closed.

        Rows with ``withheld`` set come last: failures that turned out to be the video's after all.

        Raises:
            StorageUnavailableError: A storage serves nobody any more.
            NodeError: No machine is left that can work.
            StorageError: Rows cannot be written.
        """
        while True:
            done_before = self._results
            withheld = Withheld()
            yield from self._one_round(feed, withheld)
            report = self._report()
            for task, row in self._final(withheld, report):
                feed.finish(task)
                self._results += 1
                yield task, row
            if feed.is_done:
                return
            self._prepare_next(withheld, report, has_progress=self._results > done_before)

    def _one_round(self, feed: Feed, withheld: Withheld) -> Iterator[Result]:
        ray.get(self._ledger.begin_round.remote())
        windows = Windows(feed.begin_round())

        def put(number: int, tasks: Sequence[VideoTask]) -> None:
            windows.put(number, self._to_table(tasks))

        feed.fill(put)
        graph = run_graph(
            self._stages, windows.rows(), self._settings, self._placement, self._ledger, without=self._given_up.keys()
        )
        # closed whatever happens: left to the end of the process, Ray Data hangs in its shutdown
        with closing(graph) as rows, closing(windows):
            for row in rows:
                task, complete = feed.came_back(row)
                if complete is not None:
                    windows.drop(complete)
                feed.fill(put)
                if not row["withheld"]:
                    withheld.served(task)
                    feed.finish(task)
                    self._results += 1
                    yield task, row
                    continue
                withheld.add(task, row)
                if row["error"].startswith(NODE) and self._report().is_stuck:
                    return

    def _final(self, withheld: Withheld, report: NodeReport) -> Iterator[Result]:
        """Failures that are the video's after all."""
        for task, row in withheld.of_kind(UNREACHABLE):
            yield task, row
        for task, row in [*withheld.of_kind(DENIED), *withheld.of_kind(UNAVAILABLE)]:
            key = key_of(task)
            self._tries[key] += 1
            if row["error"].startswith(UNAVAILABLE) and self._tries[key] < TRIES:
                continue
            if not withheld.is_serving(task):
                withheld.give_up(task, row)
            yield task, row
        for task, row in withheld.of_kind(NODE):
            key = key_of(task)
            self._tries[key] += 1
            is_nodes_fault = _node_in(row["error"]) in map(_node_in, report.unusable.values())
            if self._tries[key] >= TRIES and self._results and not is_nodes_fault:
                yield task, row

    def _prepare_next(self, withheld: Withheld, report: NodeReport, *, has_progress: bool) -> None:
        for node, message in report.unusable.items():
            self._given_up[node] = message
            self._report_line(f"a node is not used any more: {message}")
        if not has_progress and not report.unusable and withheld.of_kind(NODE):
            raise NodeError(f"no video can be done: {withheld.of_kind(NODE)[-1][1]['error']}")
        if self._given_up:
            self._placement = self._place_without(self._given_up)
            self._settings = replace(self._settings, threads=self._placement.threads)
        self._report_line(f"{len(withheld)} videos are tried again")

    def _report(self) -> NodeReport:
        report: NodeReport = ray.get(self._ledger.report.remote())  # type: ignore[assignment]
        return report


def _node_in(message: str) -> str:
    """The node in a failure's message, which begins with ``NodeError: node HOST:``."""
    return message.split(":", 2)[1].strip()
