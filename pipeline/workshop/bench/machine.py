"""What this machine can do, and what a measurement was taken under."""

import os
import platform
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import psutil
import torch

from pipeline.model.sam2.fast_linear import applies_to, product


@dataclass
class Peak:
    """Highest memory use seen, bytes: of the process on a CPU, of the allocator on a GPU."""

    size_bytes: int = 0


@contextmanager
def peak_memory(device: torch.device) -> Iterator[Peak]:
    """Watch memory use while the body runs; the value is there when it has ended."""
    peak = Peak()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        yield peak
        peak.size_bytes = torch.cuda.max_memory_allocated(device)
        return
    process, is_over = psutil.Process(), threading.Event()

    def watch() -> None:
        while not is_over.wait(0.05):
            peak.size_bytes = max(peak.size_bytes, process.memory_info().rss)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        is_over.set()
        watcher.join()


@torch.inference_mode()
def product_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Floating-point operations a second of a large matrix product, the fastest way known here.

    On a CPU a second is one of processor time, so that other programs on the machine do not count.
    """
    side = 8192 if device.type == "cuda" else 2048
    a = torch.randn(side, side, device=device, dtype=dtype)
    b = torch.randn(side, side, device=device, dtype=dtype)
    ways = [lambda: a @ b]
    if applies_to(a):
        ways.append(lambda: product(a, b))
    best = 0.0
    for way in ways:
        way()
        for _ in range(3):
            best = max(best, 2 * side**3 / _seconds(way, device))
    return best


def _seconds(work: Any, device: torch.device) -> float:  # noqa: ANN401
    if device.type == "cuda":
        torch.cuda.synchronize()
        started = time.perf_counter()
        for _ in range(10):
            work()
        torch.cuda.synchronize()
        return (time.perf_counter() - started) / 10
    started = time.process_time()
    work()
    return time.process_time() - started


def conditions(device: torch.device) -> dict[str, Any]:
    """Hardware, versions and load, for the report."""
    found: dict[str, Any] = {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load_average": list(os.getloadavg()),
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "transformers", "sam2", "numpy", "pillow")},
    }
    if device.type == "cuda":
        found["gpu"] = torch.cuda.get_device_name(device)
    return found


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:  # noqa: PTH123
            return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
