"""Pillow's bicubic resize of uint8 pictures, bit for bit, in integer arithmetic that every device does alike.

On a GPU it takes the place of Pillow, which would keep a CPU core busy for 16 to 25 ms a frame. The arithmetic is that
of Pillow's ``Resample.c``: separable passes with coefficients of 22 fractional bits, each rounded and clipped to uint8.
Which pass comes first is Pillow 13's rule, the version that the reference numbers of the tests were made with. Version
12 and older always begin with the horizontal one, which changes some values by 1 or 2.
"""

import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

_FRACTION_BITS = 22
_SUPPORT = 2.0
_SHARPNESS = -0.5
"""The bicubic filter's free parameter; Pillow's."""


def resize_bicubic(pictures_NHWC: Tensor, *, height: int, width: int) -> Tensor:
    """Resize pictures as ``Image.resize((width, height), Image.Resampling.BICUBIC)`` does.

    Args:
        pictures_NHWC: uint8 ``[N, H, W, C]`` on any device.
        height: Of the result, pixels.
        width: Of the result, pixels.

    Returns:
        uint8 ``[N, height, width, C]`` on the same device.
    """
    old_height, old_width = pictures_NHWC.shape[1:3]
    passes = [(2, width), (1, height)]
    if old_height - height > 2 * max(0, old_width - width):
        passes.reverse()
    for dimension, size in passes:
        if pictures_NHWC.shape[dimension] != size:
            pictures_NHWC = _resize_along(pictures_NHWC, dimension, size)
    return pictures_NHWC


def _resize_along(pictures: Tensor, dimension: int, size: int) -> Tensor:
    """One pass, along the rows or the columns."""
    starts, coefficients = (
        torch.from_numpy(values).to(pictures.device) for values in _coefficients(pictures.shape[dimension], size)
    )
    shape = [1] * pictures.ndim
    shape[dimension] = size
    total = torch.full((1,), 1 << (_FRACTION_BITS - 1), dtype=torch.int32, device=pictures.device)
    last = pictures.shape[dimension] - 1
    for tap in range(coefficients.shape[1]):  # a tap that lies outside has the coefficient 0
        pixels = pictures.index_select(dimension, (starts + tap).clamp(max=last))
        total = total + pixels.to(torch.int32) * coefficients[:, tap].view(shape)
    return (total >> _FRACTION_BITS).clamp(0, 255).to(torch.uint8)


@lru_cache(maxsize=32)
def _coefficients(old: int, new: int) -> tuple[np.ndarray, np.ndarray]:
    """First pixel, int64 ``[new]``, and fixed-point weights, int32 ``[new, taps]``, of each pixel of a resized row.

    Sums are taken in Pillow's order, since the last bit of a double decides some roundings.
    """
    scale = old / new
    stretch = max(scale, 1.0)
    support = _SUPPORT * stretch
    taps = math.ceil(support) * 2 + 1
    centre = (np.arange(new) + 0.5) * scale
    first = np.maximum((centre - support + 0.5).astype(np.int64), 0)
    count = np.minimum((centre + support + 0.5).astype(np.int64), old) - first
    weights = np.zeros((new, taps))
    total = np.zeros(new)
    for tap in range(taps):
        weight = _bicubic((tap + first - centre + 0.5) * (1.0 / stretch))
        weights[:, tap] = np.where(tap < count, weight, 0.0)
        total += weights[:, tap]
    weights = np.where(total[:, None] != 0, weights * (1.0 / total)[:, None], weights)
    fixed = weights * (1 << _FRACTION_BITS)
    return first, np.trunc(fixed + np.where(weights < 0, -0.5, 0.5)).astype(np.int32)


def _bicubic(x: np.ndarray) -> np.ndarray:
    a, x = _SHARPNESS, np.abs(x)
    near = ((a + 2.0) * x - (a + 3.0)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * a
    return np.where(x < 1.0, near, np.where(x < 2.0, far, 0.0))
