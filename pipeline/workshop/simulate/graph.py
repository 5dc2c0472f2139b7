"""The real graph on Ray Data with stages that sleep: everything of a run but the GPUs.

The actors here import neither torch nor a model, so that many fit a small machine.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from pipeline.engine.placement import Pool
from pipeline.workshop.simulate.load import Clip, Costs
from pipeline.workshop.simulate.model import bottleneck_s

SCHEMA = pa.schema(
    [("frames", pa.int64()), ("expressions", pa.int64()), ("begin", pa.float64()), ("end", pa.float64())]
)

START_S = 600
"""Longest wait for all workers to be there."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a run of sleeping stages showed.

    Attributes:
        seconds: From the first video's start to the last one's end; starting actors is not in it.
        efficiency: As :class:`pipeline.workshop.simulate.model.Prediction` has it.
    """

    seconds: float
    efficiency: float


class Sleep:
    """A worker that takes as long as the real one would.

    Args:
        costs: Of a video.
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


def measure_graph(clips: Sequence[Clip], costs: Costs, *, pairs: int) -> Measured:
    """Run ``clips`` through the pipeline's own pools on the Ray cluster that this process is connected to.

    Args:
        clips: In order.
        costs: Of a video.
        pairs: Logical GPUs, each with one grounder and one segmenter.
    """
    from ray.data import DataContext

    from pipeline import run  # the pools and settings of the real thing
    from pipeline.engine.feed import one_block_each

    run.configure_data()
    # workers that start one after the other, all on this machine, are no part of what is measured
    DataContext.get_current().wait_for_min_actors_s = START_S
    rows = [{"frames": clip.frames, "expressions": clip.expressions, "begin": None, "end": None} for clip in clips]
    videos = one_block_each(pa.Table.from_pylist(rows, schema=SCHEMA))
    ground = Pool(name="grounder", least=pairs, most=pairs, gpus=0.5)
    segment = Pool(name="segmenter", least=pairs, most=pairs, gpus=0.5)
    grounded = run.pool_of(videos, Sleep, ground, (costs, "ground"))
    segmented = run.pool_of(grounded, Sleep, segment, (costs, "segment"))
    done = list(segmented.iter_rows())
    if len(done) != len(clips):
        raise RuntimeError(f"{len(done)} of {len(clips)} videos came back")
    seconds = max(row["end"] for row in done) - min(row["begin"] for row in done)
    fastest = bottleneck_s(clips, costs, grounders=pairs, segmenters=pairs)
    return Measured(seconds=seconds, efficiency=fastest / seconds)
