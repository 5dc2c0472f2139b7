"""What the driver does for each video: the engine's rounds on real Ray, with stages that do nothing."""

import time
from dataclasses import dataclass

import psutil

from pipeline.config import RunConfig
from pipeline.engine.look_ahead import LookAhead
from pipeline.engine.placement import Placement
from pipeline.engine.pools import Pool
from pipeline.engine.rounds import Rounds
from pipeline.engine.settings import WorkerSettings
from pipeline.engine.stage import SECONDS, PoolSpec, Row, Stage
from pipeline.manifest.plan import Plan
from pipeline.model.checkpoint.locate import pin_model
from pipeline.schema import Expression, VideoTask
from pipeline.stages.rows import TASK_SCHEMA, WRITTEN_SCHEMA, tasks_table

EXPRESSIONS = 4
_LOOK_EVERY = 1_000


class _Nothing(Stage):
    """Gives the row it is given."""

    input_schema = TASK_SCHEMA
    output_schema = TASK_SCHEMA.append(SECONDS)

    def process(self, row: Row) -> Row:
        """See :class:`Stage`."""
        return row

    @classmethod
    def failed(cls, row: Row, message: str) -> Row:  # noqa: ARG003 - nothing can fail here
        """See :class:`Stage`."""
        raise RuntimeError(message)


class First(_Nothing):
    """Stands for Ground."""

    name = "first"
    pool = PoolSpec(worker="first", gpu_share=0)


class Second(_Nothing):
    """Stands for Segment."""

    name = "second"
    pool = PoolSpec(worker="second", gpu_share=0)


class Last(_Nothing):
    """Stands for Write."""

    name = "last"
    output_schema = WRITTEN_SCHEMA
    pool = None

    def process(self, row: Row) -> Row:
        """See :class:`Stage`."""
        return {
            "video_id": row["video_id"],
            "expression_ids": row["expression_ids"],
            "expressions": len(row["expression_ids"]),
            "failed": 0,
            "frames_done": 0,
        }


@dataclass(frozen=True, kw_only=True)
class DriverCost:
    """What a run's driver took.

    Attributes:
        videos: That went through.
        cpu_ms: Processor time of the driver for a video, Ray Data's part in this process included.
        wall_ms: Time for a video; the workers share this machine's cores with the driver.
        memory_mib: Resident memory of the driver after each thousand videos.
    """

    videos: int
    cpu_ms: float
    wall_ms: float
    memory_mib: list[int]

    def __str__(self) -> str:
        shown = ", ".join(map(str, self.memory_mib[:: max(1, len(self.memory_mib) // 8)]))
        return (
            f"driver: {self.videos} videos, {self.cpu_ms:.1f} ms of CPU and {self.wall_ms:.1f} ms for a video; "
            f"memory {shown} MiB"
        )


def measure_driver(videos: int) -> DriverCost:
    """Send ``videos`` videos through three stages on the Ray that this process is connected to."""
    config = RunConfig(manifest="none", model="nano", output="none")
    settings = WorkerSettings(config=config, model=pin_model("nano"))
    pools = {stage.name: Pool(name=stage.name, least=1, most=1, gpus=0) for stage in (First, Second)}
    placement = Placement(pools=pools, threads=1)
    expressions = tuple(Expression(expression_id=str(number), text="the thing") for number in range(EXPRESSIONS))
    tasks = (
        VideoTask(video_id=f"video{number:08d}", video=f"s3://bucket/{number:08d}.mp4", expressions=expressions)
        for number in range(videos)
    )
    with Plan.of_tasks(tasks) as plan:
        plan.arrange(max(1, videos // 250))
        look_ahead = LookAhead(plan, config, segmenters=1, expect=lambda _: None, report_line=print)
        rounds = Rounds(
            (First, Second, Last),
            tasks_table,
            settings,
            placement,
            place_without=lambda _: placement,
            report_line=print,
        )
        process, memory = psutil.Process(), []
        done, started, cpu = 0, 0.0, 0.0
        for _ in rounds.run(look_ahead.feed()):
            if not done:
                started, cpu = time.perf_counter(), time.process_time()
            done += 1
            if done % _LOOK_EVERY == 0:
                memory.append(process.memory_info().rss // 2**20)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - started
    if done != videos:
        raise RuntimeError(f"{done} of {videos} videos came back")
    return DriverCost(videos=done, cpu_ms=cpu * 1000 / done, wall_ms=wall * 1000 / done, memory_mib=memory)
