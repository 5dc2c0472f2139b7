"""A discrete-event model of a run: two pools with a queue between them, for clusters larger than one can have."""

import heapq
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pipeline.workshop.simulate.load import Clip, Costs

IN_FLIGHT = 2
"""Videos that a worker has at a time, as in the real job: one it works on and one that waits for it."""


@dataclass(frozen=True, kw_only=True)
class Overheads:
    """What a run costs besides work on GPUs; calibrated by :func:`pipeline.workshop.simulate.report.calibrate`."""

    dispatch_s: float = 0.003
    """Time the driver needs for one video at each stage; it does one thing at a time, so this bounds any cluster."""
    worker_s: float = 0.01
    """Time a worker needs for one video besides the work itself: taking it and handing the result on."""
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
        clips: In the order they are handed out.
        costs: Of a video in each stage.
        grounders: Workers of the first pool, one GPU each.
        segmenters: Of the second.
        overheads: Of driver, workers and hand-over.
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
    """(end, worker, clip) of every clip. A waiting clip goes to the worker with the fewest, and stays with it."""
    slots = [(0, worker) for worker in range(workers)]  # clips in flight, worker; out-of-date entries are skipped
    in_flight = [0] * workers
    busy_until = [0.0] * workers
    ends: list[tuple[float, int, int]] = []
    running: list[tuple[float, int]] = []
    coming, waiting = deque(arrivals), deque[int]()
    driver = now = 0.0
    while coming or waiting or running:
        while waiting and (worker := _least_loaded(slots, in_flight)) is not None:
            number = waiting.popleft()
            driver = max(driver, now) + overheads.dispatch_s
            begin = max(busy_until[worker], driver + overheads.hop_s)
            busy_until[worker] = begin + cost(clips[number]) + overheads.worker_s
            ends.append((busy_until[worker], worker, number))
            heapq.heappush(running, (busy_until[worker], worker))
            in_flight[worker] += 1
            heapq.heappush(slots, (in_flight[worker], worker))
        if coming and (not running or coming[0][0] <= running[0][0]):
            now, number = coming.popleft()
            waiting.append(number)
        elif running:
            now, worker = heapq.heappop(running)
            in_flight[worker] -= 1
            heapq.heappush(slots, (in_flight[worker], worker))
    return ends


def _least_loaded(slots: list[tuple[int, int]], in_flight: list[int]) -> int | None:
    """The worker with the fewest clips, if it has room; its entry is taken off the heap."""
    while slots:
        count, worker = slots[0]
        if count != in_flight[worker]:
            heapq.heappop(slots)
            continue
        if count >= IN_FLIGHT:
            return None
        heapq.heappop(slots)
        return worker
    return None
