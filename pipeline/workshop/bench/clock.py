"""Time and operations of each stage of the work."""

import time
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ParamSpec, TypeVar

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from pipeline.model.sam2.frame import FrameFeatures
from pipeline.model.sam2.memory_attention import Memory

P = ParamSpec("P")
R = TypeVar("R")

STAGES = (
    "decode", "resize", "waiting for frames", "vision tower", "language model", "image encoder", "memory attention",
    "decoders", "memory encoder", "masks to full size", "RLE", "writing",
)  # fmt: skip


@dataclass
class StageTime:
    """What one stage took in all its calls.

    Attributes:
        seconds: Wall time.
        cpu_seconds: Processor time of the whole process meanwhile.
        flops: Floating-point operations of its matrix products and convolutions (a multiply-add is two).
        calls: How often it ran.
    """

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    flops: int = 0
    calls: int = 0


@dataclass
class StageClock:
    """Times functions by stage. Operations are counted on the first call of each combination of shapes.

    Attributes:
        is_cuda: Wait for the GPU before reading the clock.
        is_on: Off, the functions run as if unwrapped.
        counts_apart: Count operations in a call of its own, which is not timed: counting slows small operations.
        counting_seconds: Wall time of those calls; whoever times the whole takes it off.
        counting_cpu_seconds: Processor time of those calls.
    """

    is_cuda: bool = False
    is_on: bool = True
    counts_apart: bool = True
    stages: dict[str, StageTime] = field(default_factory=lambda: defaultdict(StageTime))
    counting_seconds: float = 0.0
    counting_cpu_seconds: float = 0.0
    _flops: dict[Hashable, int] = field(default_factory=dict)

    def wrap(self, stage: str, function: Callable[P, R], *, count: bool = False) -> Callable[P, R]:
        """``function``, timed as part of ``stage``; ``count`` also counts its operations."""

        def timed(*args: P.args, **kwargs: P.kwargs) -> R:
            if not self.is_on:
                return function(*args, **kwargs)
            key = stage, getattr(function, "__name__", ""), _shapes([*args, *kwargs.values()])
            is_new = count and key not in self._flops
            if is_new and self.counts_apart:
                self._counted(key, function, *args, **kwargs)
                is_new = False
            with self.measure(stage) as record:
                result = self._counted(key, function, *args, **kwargs) if is_new else function(*args, **kwargs)
            record.flops += self._flops.get(key, 0)
            return result

        return timed

    def _counted(self, key: Hashable, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        started, cpu = time.perf_counter(), time.process_time()
        with FlopCounterMode(display=False, custom_mapping=_FORMULAS) as counter:
            result = function(*args, **kwargs)
        self._flops[key] = counter.get_total_flops()
        if self.counts_apart:
            self._wait()
            self.counting_seconds += time.perf_counter() - started
            self.counting_cpu_seconds += time.process_time() - cpu
        return result

    @contextmanager
    def measure(self, stage: str) -> Iterator[StageTime]:
        """Time the body as one call of ``stage``."""
        self._wait()
        record, started, cpu = self.stages[stage], time.perf_counter(), time.process_time()
        try:
            yield record
        finally:
            self._wait()
            record.seconds += time.perf_counter() - started
            record.cpu_seconds += time.process_time() - cpu
            record.calls += 1

    def _wait(self) -> None:
        if self.is_cuda:
            torch.cuda.synchronize()


@contextmanager
def replaced(owner: Any, name: str, value: Any) -> Iterator[None]:  # noqa: ANN401 - any attribute of anything
    """``owner.name`` is ``value`` inside the context."""
    had = name in vars(owner)
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        if had:
            setattr(owner, name, before)
        else:
            delattr(owner, name)


def _shapes(values: Any) -> Any:  # noqa: ANN401
    """What decides how many operations a call takes, as something that can be a key."""
    if isinstance(values, torch.Tensor):
        return tuple(values.shape)
    if isinstance(values, Memory):
        return (*values.tokens.shape, values.temporal_index is None)
    if isinstance(values, FrameFeatures):
        return tuple(values.levels[2].shape)
    if isinstance(values, list | tuple):
        return tuple(_shapes(value) for value in values)
    return values if isinstance(values, bool | int | str | type(None)) else type(values).__name__


def _fused_cpu_attention(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:  # noqa: ANN401
    return sdpa_flop_count(query, key, value)


def _product(rows: Any, weight: Any, *_: Any, **__: Any) -> int:  # noqa: ANN401
    return 2 * rows.numel() * weight[0]


# operators that torch does not count by itself
_FORMULAS: dict[Any, Any] = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _fused_cpu_attention}
if hasattr(torch.ops.mkldnn, "_linear_pointwise"):
    _FORMULAS[torch.ops.mkldnn._linear_pointwise] = _product
