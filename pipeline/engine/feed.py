"""How videos enter the graph: window by window, as far ahead of the work as keeps every worker busy.

The driver holds the tasks of the windows that are handed out, and no others. Each video becomes a block of its own, so
that a video is the unit of work.
"""

from collections import Counter, deque
from collections.abc import Callable, Sequence

import pyarrow as pa
import ray
from ray.actor import ActorHandle
from ray.data import Dataset
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pipeline.engine.stage import Row
from pipeline.schema import VideoTask

Key = tuple[str, str]
"""A video, and the first expression of the part of it that is one task."""
LoadWindow = Callable[[], Sequence[VideoTask]]
"""Gives the tasks of a window in the order in which they are to be handed out; called once."""


def key_of(task: VideoTask) -> Key:
    """The key of a task."""
    return task.video_id, task.expressions[0].expression_id


def key_of_row(row: Row) -> Key:
    """The key of a row of any stage."""
    return row["video_id"], row["expression_ids"][0]


class Feed:
    """The tasks of a run, of which only those in work are held.

    Args:
        windows: Load what is to be done, in this order.
        ahead: Windows are handed out as long as fewer tasks than this are in work.
    """

    def __init__(self, windows: Sequence[LoadWindow], *, ahead: int) -> None:
        self._windows = deque(windows)
        self._ahead = ahead
        self._open: dict[Key, tuple[VideoTask, int]] = {}
        """Tasks that were handed out and have no final result, and the number of their window in this round."""
        self._in_work: Counter[int] = Counter()
        """By window of this round: tasks that did not come back in this round."""
        self._handed_out = 0

    @property
    def is_done(self) -> bool:
        """Whether every task has its final result."""
        return not self._windows and not self._open

    def begin_round(self) -> int:
        """Everything without a final result is handed out again; returns the number of windows to come."""
        again = [task for task, _ in self._open.values()]
        self._open.clear()
        self._in_work.clear()
        self._handed_out = 0
        if again:
            self._windows.appendleft(lambda: again)
        return len(self._windows)

    def fill(self, put: Callable[[int, Sequence[VideoTask]], None]) -> None:
        """Hand out windows while few tasks are in work; ``put`` gets a window's number and its tasks."""
        while self._windows and self._in_work.total() < self._ahead:
            tasks = self._windows.popleft()()
            number = self._handed_out
            self._handed_out += 1
            self._in_work[number] = len(tasks)
            for task in tasks:
                self._open[key_of(task)] = task, number
            put(number, tasks)

    def came_back(self, row: Row) -> tuple[VideoTask, int | None]:
        """The task of a row, and the number of its window if that was the last one of it."""
        task, number = self._open[key_of_row(row)]
        self._in_work[number] -= 1
        if self._in_work[number]:
            return task, None
        del self._in_work[number]
        return task, number

    def finish(self, task: VideoTask) -> None:
        """A task has its final result."""
        del self._open[key_of(task)]


@ray.remote(num_cpus=0)
class _Shelf:
    """Holds the windows that are in work, since lost blocks are made again from them."""

    def __init__(self) -> None:
        import asyncio

        self._windows: dict[int, pa.Table] = {}
        self._changed = asyncio.Condition()

    async def put(self, number: int, rows: pa.Table) -> None:
        async with self._changed:
            self._windows[number] = rows
            self._changed.notify_all()

    async def get(self, number: int) -> pa.Table:
        """The rows of a window, once they are there."""
        async with self._changed:
            await self._changed.wait_for(lambda: number in self._windows)
        return self._windows[number]

    async def drop(self, number: int) -> None:
        del self._windows[number]


class Windows:
    """The rows of one round on their way into the graph.

    Args:
        number: Of windows to come.
    """

    def __init__(self, number: int) -> None:
        self._number = number
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self._shelf: ActorHandle = _Shelf.options(scheduling_strategy=here).remote()  # type: ignore[attr-defined]

    def put(self, number: int, rows: pa.Table) -> None:
        """The rows of a window, in the order in which they are to be worked on."""
        self._shelf.put.remote(number, rows)

    def drop(self, number: int) -> None:
        """All rows of a window have come back."""
        self._shelf.drop.remote(number)

    def rows(self) -> Dataset:
        """A dataset of all windows, one after the other, in which every row is a block."""
        shelf = self._shelf

        def fetch(batch: pa.Table) -> pa.Table:
            rows: pa.Table = ray.get(shelf.get.remote(batch["window"][0].as_py()))
            return rows

        numbers: Dataset = ray.data.from_blocks([pa.table({"window": [number]}) for number in range(self._number)])
        return numbers.map_batches(
            fetch,
            batch_size=1,
            batch_format="pyarrow",
            num_cpus=0,  # it waits most of the time
            concurrency=1,
        ).repartition(target_num_rows_per_block=1)

    def close(self) -> None:
        """End what still waits for a window."""
        ray.kill(self._shelf)
