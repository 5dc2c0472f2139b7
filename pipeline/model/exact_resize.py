"""Bicubic resizes of uint8 pictures in integer arithmetic, which gives the same bits on every device.

On a GPU they take the place of Pillow's, which keeps a CPU core busy for 16 to 25 ms a frame, and of PyTorch's, which
exists for uint8 on CPUs alone. Both work in separable passes, each rounded and clipped to uint8, with the same filter.
They differ in the fractional bits of the coefficients and in the order of the passes:

- Pillow (``Resample.c``) has 22 bits. Which pass comes first is Pillow 13's rule, the version that the reference
  numbers of the tests were made with. Version 12 and older always begin with the horizontal one, which changes some
  values by 1 or 2.
- PyTorch (``UpSampleKernel.cpp``, ``antialias=True``) has as many bits as let the largest coefficient of a pass fit
  in 16, and always begins with the horizontal pass.
"""

import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from pipeline.video.resize import resize

_PILLOW_BITS = 22
_MOST_TORCH_BITS = 22
_LARGEST_TORCH_COEFFICIENT = 2**15
_SUPPORT = 2.0
_SHARPNESS = -0.5
"""The bicubic filter's free parameter; the same in both."""


def resized_frame(frame: np.ndarray, *, width: int, height: int, on: torch.device | None) -> Tensor:
    """A decoded frame, resized as Pillow does: by Pillow, or on a device to the same pixels.

    Args:
        frame: uint8 RGB ``[H, W, 3]``.
        width: Of the result, pixels.
        height: Of the result, pixels.
        on: The device that resizes; ``None`` leaves it to Pillow.

    Returns:
        uint8 ``[height, width, 3]`` on that device, or on the CPU.
    """
    if on is None:
        return torch.from_numpy(resize(frame, width=width, height=height))
    return resize_bicubic(torch.from_numpy(frame)[None].to(on), height=height, width=width)[0]


def resize_bicubic(pictures_NHWC: Tensor, *, height: int, width: int) -> Tensor:
    """Resize pictures as ``Image.resize((width, height), Image.Resampling.BICUBIC)`` of Pillow does.

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
    return _resize(pictures_NHWC, passes, as_pillow=True)


def interpolate_bicubic(pictures_NHWC: Tensor, *, height: int, width: int) -> Tensor:
    """Resize pictures as ``torch.nn.functional.interpolate(mode="bicubic", antialias=True)`` does on a CPU.

    Args:
        pictures_NHWC: uint8 ``[N, H, W, C]`` on any device; note that PyTorch wants the channels first.
        height: Of the result, pixels.
        width: Of the result, pixels.

    Returns:
        uint8 ``[N, height, width, C]`` on the same device.
    """
    return _resize(pictures_NHWC, [(2, width), (1, height)], as_pillow=False)


def _resize(pictures: Tensor, passes: list[tuple[int, int]], *, as_pillow: bool) -> Tensor:
    for dimension, size in passes:
        if pictures.shape[dimension] != size:
            pictures = _resize_along(pictures, dimension, size, as_pillow=as_pillow)
    return pictures


def _resize_along(pictures: Tensor, dimension: int, size: int, *, as_pillow: bool) -> Tensor:
    """One pass, along the rows or the columns."""
    first, weights, bits = _coefficients(pictures.shape[dimension], size, as_pillow=as_pillow)
    starts, coefficients = (torch.from_numpy(values).to(pictures.device) for values in (first, weights))
    shape = [1] * pictures.ndim
    shape[dimension] = size
    total = torch.full((1,), 1 << (bits - 1), dtype=torch.int32, device=pictures.device)
    last = pictures.shape[dimension] - 1
    for tap in range(coefficients.shape[1]):  # a tap that lies outside has the coefficient 0
        pixels = pictures.index_select(dimension, (starts + tap).clamp(max=last))
        total = total + pixels.to(torch.int32) * coefficients[:, tap].view(shape)
    return (total >> bits).clamp(0, 255).to(torch.uint8)


@lru_cache(maxsize=32)
def _coefficients(old: int, new: int, *, as_pillow: bool) -> tuple[np.ndarray, np.ndarray, int]:
    """Of each pixel of a resized row the first source pixel, int64 ``[new]``, and weights, int32 ``[new, taps]``.

    The third value is the number of fractional bits. Sums are taken, and divided by, in the order of either program,
    since the last bit of a double decides some roundings.
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
    total = np.where(total != 0, total, 1.0)[:, None]
    weights = weights * (1.0 / total) if as_pillow else weights / total
    bits = _PILLOW_BITS if as_pillow else _torch_bits(float(weights.max()))
    fixed = weights * (1 << bits)
    return first, np.trunc(fixed + np.where(weights < 0, -0.5, 0.5)).astype(np.int32), bits


def _torch_bits(largest: float) -> int:
    """Fractional bits that PyTorch gives coefficients whose largest is this."""
    for bits in range(_MOST_TORCH_BITS):
        if int(0.5 + largest * (1 << (bits + 1))) >= _LARGEST_TORCH_COEFFICIENT:
            return bits
    return _MOST_TORCH_BITS


def _bicubic(x: np.ndarray) -> np.ndarray:
    a, x = _SHARPNESS, np.abs(x)
    near = ((a + 2.0) * x - (a + 3.0)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * a
    return np.where(x < 1.0, near, np.where(x < 2.0, far, 0.0))
