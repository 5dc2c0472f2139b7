"""The real graph on Ray Data with stages that sleep: everything of a run but the GPUs.

The actors here import neither torch nor a model, so that many fit a small machine.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from pipeline.engine.pools import Pool
from pipeline.workshop.simulate.load import LOADS, Clip, Costs, longest_first, split_long

SCHEMA = pa.schema(
    [("frames", pa.int64()), ("expressions", pa.int64()), ("begin", pa.float64()), ("end", pa.float64())]
)

START_S = 600
"""Longest wait for all workers to be there."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a run of sleeping stages showed.

    Attributes:
        load: Name of the load.
        gpus: Logical GPUs, each with one grounder and one segmenter.
        videos: Number of videos.
        seconds: From the first video's start to the last one's end, without the start of the actors.
        efficiency: Share of that time in which the workers of the pool with more work do useful work.
    """

    load: str
    gpus: int
    videos: int
    seconds: float
    efficiency: float

    def __str__(self) -> str:
        return (
            f"{self.load:12} {self.gpus:5d} GPUs {self.videos:8d} videos {self.seconds:8.1f} s "
            f"efficiency {self.efficiency:.1%}"
        )


class Sleep:
    """A worker that takes as long as the real one would.

    Args:
        costs: Seconds that a video takes.
        stage: ``ground`` or ``segment``.
    """

    def __init__(self, costs: Costs, stage: str) -> None:
        self._cost = costs.ground_s if stage == "ground" else costs.segment_s

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Sleep for every row, and note when its first stage began and its last one ended."""
        rows = []
        for row in batch.to_pylist():
            begin = time.time()
            time.sleep(self._cost(Clip(frames=row["frames"], expressions=row["expressions"])))
            rows.append(row | {"begin": row["begin"] or begin, "end": time.time()})
        return pa.Table.from_pylist(rows, schema=SCHEMA)


def measure_loads(sizes: Sequence[int], *, videos_per_gpu: int, scale: float) -> Iterator[Measured]:
    """Run every load on clusters of every size, one after the other, on the Ray that this process is connected to.

    Args:
        sizes: Logical GPUs.
        videos_per_gpu: Videos of a load for each GPU.
        scale: Factor on all costs.
    """
    costs = Costs().scaled(scale)
    for load, make in LOADS.items():
        for gpus in sizes:
            clips = make(gpus * videos_per_gpu)
            # as the job hands them out, which leaves the order alone where one worker does them all
            handed_out = longest_first(split_long(clips, gpus), costs) if gpus > 1 else list(clips)
            seconds = measure_graph(handed_out, costs, pairs=gpus)
            # what parts of a video do twice is no useful work
            useful = bottleneck_s(clips, costs, pairs=gpus)
            yield Measured(load=load, gpus=gpus, videos=len(clips), seconds=seconds, efficiency=useful / seconds)


def bottleneck_s(clips: Sequence[Clip], costs: Costs, *, pairs: int) -> float:
    """The time that no schedule can beat: the work of the fuller pool, spread evenly over its workers."""
    return max(sum(map(costs.ground_s, clips)), sum(map(costs.segment_s, clips))) / pairs


def measure_graph(clips: Sequence[Clip], costs: Costs, *, pairs: int) -> float:
    """Run ``clips`` through the pipeline's own pools; seconds from the first video's start to the last one's end.

    Args:
        clips: Videos in the order in which they are handed out.
        costs: Seconds that a video takes.
        pairs: Logical GPUs, each with one grounder and one segmenter.
    """
    from ray.data import DataContext

    from pipeline.engine import graph  # the pools and settings of the real thing
    from pipeline.engine.feed import Windows

    graph.configure_data()
    # workers that start one after the other, all on this machine, are no part of what is measured
    DataContext.get_current().wait_for_min_actors_s = START_S
    rows = [{"frames": clip.frames, "expressions": clip.expressions, "begin": None, "end": None} for clip in clips]
    windows = Windows(1)
    windows.put(0, pa.Table.from_pylist(rows, schema=SCHEMA))
    videos = windows.rows()
    ground = Pool(name="grounder", least=pairs, most=pairs, gpus=0.5)
    segment = Pool(name="segmenter", least=pairs, most=pairs, gpus=0.5)
    grounded = graph.through_pool(videos, Sleep, ground, (costs, "ground"))
    segmented = graph.through_pool(grounded, Sleep, segment, (costs, "segment"))
    done = list(segmented.iter_rows())
    windows.close()
    if len(done) != len(clips):
        raise RuntimeError(f"{len(done)} of {len(clips)} videos came back")
    return max(row["end"] for row in done) - min(row["begin"] for row in done)
