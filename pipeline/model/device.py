"""Devices: which one to compute on, in which precision, how much memory to use, and what to do when it runs out."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch

from pipeline.errors import CheckpointError

log = logging.getLogger(__name__)

B = TypeVar("B")
R = TypeVar("R")

SECONDS_BEFORE_RETRY = 2.0
"""Wait before the smallest batch is tried a second time: another worker on the same GPU may have freed memory."""
_ALLOCATION_ERRORS = ("CUDA out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED")


def resolve_device(device: str) -> torch.device:
    """``auto`` is the GPU if there is one, else the CPU."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(device)


def resolve_dtype(dtype: str, device: torch.device) -> torch.dtype:
    """``auto`` is bfloat16 on a GPU and float32 on a CPU.

    Raises:
        CheckpointError: the name is not one of auto, float32, bfloat16.
    """
    kinds = {"float32": torch.float32, "bfloat16": torch.bfloat16}
    if dtype == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    if dtype not in kinds:
        raise CheckpointError(f"dtype {dtype!r} is not known (auto, float32, bfloat16)")
    return kinds[dtype]


def use_full_precision(device: torch.device, dtype: torch.dtype) -> None:
    """Where float32 is asked for on a GPU, compute in it: by default cuDNN's convolutions use TF32 (10 bits)."""
    if device.type == "cuda" and dtype == torch.float32:
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False


@dataclass(frozen=True)
class WorkingSet:
    """Memory that may be used beside weights and frames. It decides how work is split, not what is computed.

    Attributes:
        attention_bytes: Keys, values and activations of one layer of memory attention.
        cache_bytes: Projected memories that are kept for one batch of objects.
    """

    attention_bytes: int = 2**30
    cache_bytes: int = 2**31


def working_set(device: torch.device) -> WorkingSet:
    """What a worker may use on ``device``: constants on a CPU, an eighth of the free memory each on a GPU.

    Call it once the weights are loaded, so that it stays the same for all videos.
    """
    if device.type != "cuda":
        return WorkingSet()
    free, _ = torch.cuda.mem_get_info(device)
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    share = max(2**28, (free + unused) // 8)
    return WorkingSet(attention_bytes=share, cache_bytes=share)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether device memory ran out; cuBLAS and cuDNN report it as a plain RuntimeError."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _ALLOCATION_ERRORS)


def run_halving(
    step: Callable[[B], R], batches: list[B], *, size: Callable[[B], int], split: Callable[[B], list[B]]
) -> list[tuple[B, R]]:
    """Run ``step`` on every batch; a batch that does not fit in device memory is halved and tried again.

    The smallest batch is tried a second time after a pause.

    Args:
        step: The work.
        batches: What to work on.
        size: Length of a batch; one of length 1 cannot be split.
        split: Cuts a batch in two.

    Returns:
        Every batch that ``step`` ran on, in order, with its result.

    Raises:
        RuntimeError: Device memory does not suffice for a batch of length 1.
    """
    waiting, results = list(batches), list[tuple[B, R]]()
    is_second_try = False
    while waiting:
        batch = waiting.pop(0)
        try:
            results.append((batch, step(batch)))
            is_second_try = False
            continue
        except RuntimeError as error:
            if not is_out_of_memory(error) or (size(batch) == 1 and is_second_try):
                raise
        # only here, where the error is gone, is what the failed step had allocated free again
        torch.cuda.empty_cache()
        if size(batch) > 1:
            log.warning("out of GPU memory with a batch of %d: halving it", size(batch))
            waiting = split(batch) + waiting
        else:
            log.warning("out of GPU memory with a batch of 1: trying once more")
            is_second_try = True
            time.sleep(SECONDS_BEFORE_RETRY)
            waiting.insert(0, batch)
    return results
