"""What planning costs before the first video: reading a large manifest and turning it into the graph's rows."""

import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.dataset.state import DatasetState
from pipeline.engine.schedule import make_schedule
from pipeline.manifest import plan_manifest
from pipeline.schema import MANIFEST_SCHEMA

EXPRESSIONS_PER_VIDEO = 16


@dataclass(frozen=True, kw_only=True)
class PlanningCost:
    """What planning one manifest costs.

    Attributes:
        rows: Rows of the manifest.
        videos: Videos that it names.
        read_seconds: Time to read, check and group it.
        rows_seconds: Time to find what is left to do, order it and make its rows.
        input_seconds: Time to hand the rows to Ray, of which the driver keeps a reference to each.
        cpu_seconds: Processor time of all three; on a machine with other work, about the wall time of a quiet one.
        memory_bytes: Growth of the process.
    """

    rows: int
    videos: int
    read_seconds: float
    rows_seconds: float
    input_seconds: float
    cpu_seconds: float
    memory_bytes: int

    def __str__(self) -> str:
        seconds = self.read_seconds + self.rows_seconds + self.input_seconds
        return (
            f"planning {self.rows} rows, {self.videos} videos: {seconds:.1f} s (read {self.read_seconds:.1f}, "
            f"order {self.rows_seconds:.1f}, hand to Ray {self.input_seconds:.1f}; {self.cpu_seconds:.1f} s of CPU), "
            f"{self.memory_bytes / 2**20:.0f} MiB"
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
                "frames": [None] * len(numbers),
            }
            writer.write_table(pa.Table.from_pydict(columns, schema=MANIFEST_SCHEMA))


def measure_planning(directory: Path, rows: int) -> PlanningCost:
    """Plan a manifest of ``rows`` rows written into ``directory`` (and left there).

    Handing the rows to Ray is part of it if this process is connected to one.
    """
    import ray

    from pipeline.engine.feed import one_block_each
    from pipeline.stages.rows import tasks_table

    path = directory / f"manifest-{rows}.parquet"
    write_manifest(path, rows)
    process = psutil.Process()
    before = process.memory_info().rss
    started, cpu = time.perf_counter(), time.process_time()
    with plan_manifest(str(path)) as plan:
        read = time.perf_counter()
        DatasetState(str(directory / "nothing")).compare(plan, retry_failed=False)
        todo = plan.all_tasks()
    schedule = make_schedule(todo, [None] * len(todo), segmenters=2, split="auto")
    table = tasks_table(schedule.tasks)
    made = time.perf_counter()
    if ray.is_initialized():
        one_block_each(table)
    ended = time.perf_counter()
    return PlanningCost(
        rows=rows,
        videos=len(table),
        read_seconds=read - started,
        rows_seconds=made - read,
        input_seconds=ended - made,
        cpu_seconds=time.process_time() - cpu,
        memory_bytes=process.memory_info().rss - before,
    )
