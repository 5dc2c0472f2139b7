"""Pixels to normalised network input, with the same bits on every device."""

from collections.abc import Sequence

import torch
from torch import Tensor


def normalisation_table(mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Normalised value of each of 256 pixel values in each of three channels, float32 ``[3, 256]``, made on the CPU."""
    value = torch.arange(256, dtype=torch.float32) / 255
    return (value - torch.tensor(mean).view(3, 1)) / torch.tensor(std).view(3, 1)


def normalise_pixels(frames_NHWC: Tensor, table: Tensor) -> Tensor:
    """Frames uint8 ``[N, H, W, 3]`` to ``(pixels / 255 - mean) / std``, float32 ``[N, 3, H, W]``.

    A GPU looks the values up, since it would multiply by 1/255, which differs from the division in the last bit.

    Args:
        frames_NHWC: On any device.
        table: From :func:`normalisation_table`, on the same device.
    """
    channels = torch.arange(0, 3 * 256, 256, dtype=torch.int32, device=frames_NHWC.device).view(3, 1, 1)
    return table.flatten()[frames_NHWC.permute(0, 3, 1, 2) + channels]
