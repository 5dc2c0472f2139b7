"""Switchable ways to compute that may change masks: measured beside ours, with their agreement; all off by default."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import torch

from pipeline.model.sa2va import Sa2VA
from pipeline.workshop.bench.clock import replaced


@contextmanager
def _bfloat16(model: Sa2VA, _frames_per_batch: int) -> Iterator[None]:
    with replaced(model.segmenter, "compute_dtype", torch.bfloat16):
        yield


@contextmanager
def _compile(model: Sa2VA, frames_per_batch: int) -> Iterator[None]:
    segmenter = model.segmenter
    with replaced(segmenter, "graphs", None), replaced(segmenter, "compiled_encoder", None):
        segmenter.compile_steps(frames_per_batch)
        yield


VARIANTS: dict[str, Callable[[Sa2VA, int], AbstractContextManager[None]]] = {
    "bfloat16": _bfloat16,
    "compile": _compile,
}
"""Each takes the model and the frames of a batch. ``bfloat16``: SAM 2 under bfloat16 autocast; ``compile``: as
``annotate --compile``."""
