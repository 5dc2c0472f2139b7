"""Devices that this machine need not have: precision, memory that runs out, working sets, no stray CUDA contexts."""

import gc
import weakref
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.model import device
from pipeline.model.device import is_out_of_memory, run_halving, use_full_precision, working_set
from pipeline.model.pixels import normalisation_table, normalise_pixels
from pipeline.model.sa2va import Sa2VA, check_checkpoint
from pipeline.model.sam2.segmenter import PIXEL_MEAN, PIXEL_STD

CUDA = torch.device("cuda", 0)


def test_building_sam2_makes_no_cuda_context(untrained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU-only build raises where a GPU build would make a context."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    check_checkpoint(untrained)
    model = Sa2VA.from_checkpoint(untrained, device="cpu")
    assert model.segmenter.device.type == "cpu"


@pytest.mark.parametrize(("dtype", "allowed"), [(torch.float32, False), (torch.bfloat16, True)])
def test_float32_on_a_gpu_is_float32(dtype: torch.dtype, allowed: bool) -> None:
    backends = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [backend.allow_tf32 for backend in backends]
    try:
        for backend in backends:
            backend.allow_tf32 = True
        use_full_precision(torch.device("cpu"), torch.float32)
        assert [backend.allow_tf32 for backend in backends] == [True, True]
        use_full_precision(CUDA, dtype)
        assert [backend.allow_tf32 for backend in backends] == [allowed, allowed]
    finally:
        for backend, value in zip(backends, before, strict=True):
            backend.allow_tf32 = value


def test_a_working_set_is_a_share_of_the_free_memory_of_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (40 * 2**30, 80 * 2**30))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 3 * 2**30)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: 2**30)
    assert working_set(CUDA).cache_bytes == working_set(CUDA).attention_bytes == 42 * 2**30 // 8
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (0, 80 * 2**30))
    assert working_set(CUDA).cache_bytes == 2**28, "never nothing"
    assert working_set(torch.device("cpu")).cache_bytes == 2**31


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory."), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("shapes do not match"), False),
        (ValueError("CUDA out of memory"), False),
    ],
    ids=str,
)
def test_what_counts_as_out_of_memory(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) == expected


class Device:
    """Runs batches of numbers while they fit."""

    def __init__(self, room: int, failures_of_one: int = 0) -> None:
        self.room = room
        self.failures_of_one = failures_of_one
        self.sizes: list[int] = []
        self.allocated: list[weakref.ref[torch.Tensor]] = []

    def run(self, batch: list[int]) -> list[int]:
        assert [tensor() for tensor in self.allocated if tensor() is not None] == [], "what failed is free again"
        self.sizes.append(len(batch))
        intermediate = torch.ones(1)
        self.allocated.append(weakref.ref(intermediate))
        if len(batch) > self.room or (len(batch) == 1 and self.failures_of_one > 0):
            self.failures_of_one -= len(batch) == 1
            raise torch.OutOfMemoryError("too much")
        return [-number for number in batch]


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    pauses: list[float] = []
    monkeypatch.setattr(device.time, "sleep", pauses.append)
    return pauses


def halves(batch: list[int]) -> list[list[int]]:
    return [batch[: len(batch) // 2], batch[len(batch) // 2 :]]


def test_a_batch_is_halved_until_it_fits(pauses: list[float]) -> None:
    gpu = Device(room=2)
    done = run_halving(gpu.run, [list(range(6)), [6]], size=len, split=halves)
    assert [result for _, part in done for result in part] == [-number for number in range(7)]
    assert gpu.sizes == [6, 3, 1, 2, 3, 1, 2, 1]
    assert pauses == []


def test_the_smallest_batch_is_tried_twice(pauses: list[float]) -> None:
    gpu = Device(room=2, failures_of_one=1)
    assert run_halving(gpu.run, [[1]], size=len, split=halves) == [([1], [-1])]
    assert len(pauses) == 1
    with pytest.raises(torch.OutOfMemoryError):
        run_halving(Device(room=2, failures_of_one=2).run, [[1]], size=len, split=halves)


def test_other_errors_are_not_tried_again() -> None:
    def broken(batch: list[int]) -> None:
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        run_halving(broken, [[1, 2]], size=len, split=halves)


def test_frames_that_do_not_fit_together_are_encoded_in_smaller_batches(
    untrained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.set_num_threads(1)
    segmenter = Sa2VA.from_checkpoint(untrained).segmenter
    side = segmenter.config.image_size
    frames = torch.randint(0, 255, (5, side, side, 3), dtype=torch.uint8)
    expected = [features.levels for features in segmenter.encode(frames)]
    forward: Callable[[torch.Tensor], dict] = segmenter.sam2.image_encoder.forward
    sizes = []

    def small(pixels: torch.Tensor) -> dict:
        sizes.append(len(pixels))
        if len(pixels) > 2:
            raise torch.OutOfMemoryError("too much")
        return forward(pixels)

    monkeypatch.setattr(segmenter.sam2.image_encoder, "forward", small)
    found = [features.levels for features in segmenter.encode(frames)]
    assert sizes == [5, 3, 2, 1, 2]
    assert segmenter.encoded_frames == 10, "a frame counts once however often it was tried"
    for levels, same in zip(expected, found, strict=True):
        for one, other in zip(levels, same, strict=True):
            torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)
    gc.collect()


def test_pixels_are_looked_up_in_a_table_that_equals_the_arithmetic() -> None:
    frames = torch.randint(0, 256, (2, 9, 7, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    frames[0].flatten()[:189] = torch.arange(189, dtype=torch.uint8)
    found = normalise_pixels(frames, normalisation_table(PIXEL_MEAN, PIXEL_STD)).numpy()
    pixels = frames.permute(0, 3, 1, 2).numpy().astype(np.float32) / np.float32(255)
    mean, std = (np.array(values, np.float32).reshape(3, 1, 1) for values in (PIXEL_MEAN, PIXEL_STD))
    np.testing.assert_array_equal(found, (pixels - mean) / std)
