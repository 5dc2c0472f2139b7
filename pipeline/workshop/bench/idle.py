"""How long a device waits: the gaps between its kernels, from PyTorch's profiler."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

GAP_US = 50.0
"""A shorter pause is the cost of starting a kernel."""
_SHOWN = 8


def idle_report(device: torch.device, work: Callable[[], object]) -> Iterator[dict[str, Any]]:
    """One row about gaps, then the kernels that take longest (on a CPU: its operators)."""
    is_cuda = device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if is_cuda else [])]
    with profile(activities=activities) as profiler:
        work()
        if is_cuda:
            torch.cuda.synchronize(device)
    wanted = DeviceType.CUDA if is_cuda else DeviceType.CPU
    events = [event for event in profiler.events() or [] if event.device_type == wanted]
    spans = [(event.time_range.start, event.time_range.end) for event in events]
    yield gaps(spans)
    total: dict[str, float] = defaultdict(float)
    count: dict[str, int] = defaultdict(int)
    for event in events:
        total[event.name] += event.time_range.elapsed_us()
        count[event.name] += 1
    for name in sorted(total, key=lambda name: -total[name])[:_SHOWN]:
        yield {"kernel": name[:80], "runs": count[name], "ms": total[name] / 1e3}


def gaps(spans_us: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """From first start to last end: busy share, and how many pauses are longer than :data:`GAP_US`.

    Args:
        spans_us: Start and end of each kernel in microseconds, in any order; they may overlap.
    """
    if not spans_us:
        return {"kernels": 0, "wall_ms": 0.0, "busy_share": 0.0, "long_gaps": 0, "longest_gap_ms": 0.0}
    ordered = sorted(spans_us)
    pauses: list[float] = []
    end = ordered[0][0]
    for start, stop in ordered:
        if start > end:
            pauses.append(start - end)
        end = max(end, stop)
    wall = end - ordered[0][0]
    return {
        "kernels": len(ordered),
        "wall_ms": wall / 1e3,
        "busy_share": 1 - sum(pauses) / wall if wall else 1.0,
        "long_gaps": sum(pause > GAP_US for pause in pauses),
        "longest_gap_ms": max(pauses, default=0.0) / 1e3,
    }
