"""A discrete-event model of a run: two pools with a queue between them, for clusters larger than one can have."""

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pipeline.simulate.load import Clip, Costs


@dataclass(frozen=True, kw_only=True)
class Overheads:
    """What a run costs besides work on GPUs; calibrate against :mod:`pipeline.simulate.graph`."""

    dispatch_s: float = 0.003
    """Time the driver needs for one video at each stage; it does one thing at a time, so this bounds any cluster."""
    hop_s: float = 0.02
    """From the end of one stage, or from being handed out, to the start of the next."""


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What the model says.

    Attributes:
        seconds: From the first video's start to the last one's end.
        efficiency: Share of that time in which the workers of the pool with more work do useful work. Where each GPU
            carries one worker of each kind this is the throughput of N GPUs over N times that of one.
        tail_seconds: From the first moment a segmenter has nothing left to do until the end.
    """

    seconds: float
    efficiency: float
    tail_seconds: float


def predict(
    clips: Sequence[Clip], costs: Costs, *, grounders: int, segmenters: int, overheads: Overheads | None = None
) -> Prediction:
    """Run ``clips`` through the two pools, first come, first served.

    Args:
        clips: In the order of the manifest.
        costs: Of a video in each stage.
        grounders: Workers of the first pool, one GPU each.
        segmenters: Of the second.
        overheads: Of driver and hand-over.
    """
    extra = overheads or Overheads()
    grounded = _pool([(0.0, number) for number in range(len(clips))], clips, costs.ground_s, grounders, extra)
    arrivals = sorted((end, number) for end, _, number in grounded)
    segmented = _pool(arrivals, clips, costs.segment_s, segmenters, extra)
    # both pools are fed by one driver
    seconds = max(max(end for end, _, _ in segmented), 2 * extra.dispatch_s * len(clips))
    last_of = dict.fromkeys(range(segmenters), 0.0)
    for end, worker, _ in segmented:
        last_of[worker] = max(last_of[worker], end)
    return Prediction(
        seconds=seconds,
        efficiency=bottleneck_s(clips, costs, grounders=grounders, segmenters=segmenters) / seconds,
        tail_seconds=seconds - min(last_of.values()),
    )


def bottleneck_s(clips: Sequence[Clip], costs: Costs, *, grounders: int, segmenters: int) -> float:
    """The time that no schedule can beat: the work of the fuller pool, spread evenly over its workers."""
    ground = sum(costs.ground_s(clip) for clip in clips) / grounders
    segment = sum(costs.segment_s(clip) for clip in clips) / segmenters
    return max(ground, segment)


def _pool(
    arrivals: Sequence[tuple[float, int]],
    clips: Sequence[Clip],
    cost: Callable[[Clip], float],
    workers: int,
    overheads: Overheads,
) -> list[tuple[float, int, int]]:
    """(end, worker, clip) of every clip, in order of arrival."""
    free = [(0.0, worker) for worker in range(workers)]
    driver = 0.0
    ends = []
    for arrived, number in arrivals:
        # the driver hands out one video after the other, ahead of time, so that this rarely is what a worker waits for
        driver = max(driver, arrived) + overheads.dispatch_s
        ready, worker = heapq.heappop(free)
        begin = max(ready, driver + overheads.hop_s)
        end = begin + cost(clips[number])
        heapq.heappush(free, (end, worker))
        ends.append((end, worker, number))
    return ends
