"""What planning costs before the first video: reading a large manifest and turning it into the graph's rows."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.dataset.state import DatasetState
from pipeline.engine.look_ahead import LEAST_VIDEOS
from pipeline.engine.schedule import make_schedule
from pipeline.manifest import plan_manifest
from pipeline.schema import MANIFEST_SCHEMA
from pipeline.stages.rows import tasks_table

EXPRESSIONS_PER_VIDEO = 16
_WATCH_EVERY_S = 0.05


@dataclass(frozen=True, kw_only=True)
class PlanningCost:
    """What planning one manifest costs.

    Attributes:
        rows: Rows of the manifest.
        videos: Videos that it names.
        read_seconds: Time to read, check and group it.
        arrange_seconds: Time to arrange it by parts and find what is left to do.
        window_seconds: Time to make the rows of its first window.
        cpu_seconds: Processor time of all three; on a machine with other work, about the wall time of a quiet one.
        memory_bytes: The most that the process grew by.
    """

    rows: int
    videos: int
    read_seconds: float
    arrange_seconds: float
    window_seconds: float
    cpu_seconds: float
    memory_bytes: int

    def __str__(self) -> str:
        seconds = self.read_seconds + self.arrange_seconds + self.window_seconds
        return (
            f"planning {self.rows} rows, {self.videos} videos: {seconds:.1f} s (read {self.read_seconds:.1f}, "
            f"arrange {self.arrange_seconds:.1f}, first window {self.window_seconds:.1f}; "
            f"{self.cpu_seconds:.1f} s of CPU), {self.memory_bytes / 2**20:.0f} MiB"
        )


def write_manifest(path: Path, rows: int) -> None:
    """A manifest of ``rows`` rows, 16 expressions to a video."""
    with pq.ParquetWriter(path, MANIFEST_SCHEMA) as writer:
        for first in range(0, rows, 100_000):
            numbers = range(first, min(first + 100_000, rows))
            videos = [number // EXPRESSIONS_PER_VIDEO for number in numbers]
            columns = {
                "video_id": [f"video-{video:08d}" for video in videos],
                "video": [f"s3://bucket/videos/{video % 1000:03d}/video-{video:08d}.mp4" for video in videos],
                "expression_id": [str(number % EXPRESSIONS_PER_VIDEO) for number in numbers],
                "expression": [f"the animal that turns left after number {number}" for number in numbers],
                **dict.fromkeys(("frames", "license", "video_source"), [None] * len(numbers)),
            }
            writer.write_table(pa.Table.from_pydict(columns, schema=MANIFEST_SCHEMA))


def measure_planning(directory: Path, rows: int) -> PlanningCost:
    """Plan a manifest of ``rows`` rows written into ``directory`` (and left there)."""
    path = directory / f"manifest-{rows}.parquet"
    write_manifest(path, rows)
    before = psutil.Process().memory_info().rss
    started, cpu = time.perf_counter(), time.process_time()
    with _peak_memory() as peak, plan_manifest(str(path)) as plan:
        read = time.perf_counter()
        DatasetState(str(directory / "nothing")).compare(plan, retry_failed=False)
        arranged = time.perf_counter()
        window = plan.tasks(plan.windows(LEAST_VIDEOS)[0])
        tasks_table(make_schedule(window, [None] * len(window), segmenters=2, split="auto").tasks)
        ended = time.perf_counter()
        videos = plan.total.videos
    return PlanningCost(
        rows=rows,
        videos=videos,
        read_seconds=read - started,
        arrange_seconds=arranged - read,
        window_seconds=ended - arranged,
        cpu_seconds=time.process_time() - cpu,
        memory_bytes=peak() - before,
    )


@contextmanager
def _peak_memory() -> Iterator[Callable[[], int]]:
    """Watches this process; what it gives tells the most resident memory so far, in bytes."""
    process, over = psutil.Process(), threading.Event()
    most = [process.memory_info().rss]

    def watch() -> None:
        while not over.wait(_WATCH_EVERY_S):
            most[0] = max(most[0], process.memory_info().rss)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield lambda: most[0]
    finally:
        over.set()
        thread.join()
