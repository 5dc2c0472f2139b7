"""Switchable ways to compute that may change masks: measured beside ours, with their agreement; all off by default."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import torch

from pipeline.model.sa2va import Sa2VA
from pipeline.workshop.bench.clock import replaced


@contextmanager
def _bfloat16(model: Sa2VA) -> Iterator[None]:
    with replaced(model.segmenter, "compute_dtype", torch.bfloat16):
        yield


@contextmanager
def _compile(model: Sa2VA) -> Iterator[None]:
    encoder = model.segmenter.sam2.image_encoder
    with replaced(encoder, "forward", torch.compile(encoder.forward)):
        yield


VARIANTS: dict[str, Callable[[Sa2VA], AbstractContextManager[None]]] = {"bfloat16": _bfloat16, "compile": _compile}
"""``bfloat16``: SAM 2 under bfloat16 autocast; ``compile``: its image encoder through ``torch.compile``."""
