"""The one way frames are resized before a model sees them."""

import numpy as np
from PIL import Image


def resize_square(frame: np.ndarray, side: int) -> np.ndarray:
    """Resize a frame to a square, ignoring its aspect ratio, exactly as the reference does for both branches.

    Pillow's bicubic filter on uint8: antialiased when shrinking, rounded to uint8.

    Args:
        frame: uint8 RGB ``[H, W, 3]``.
        side: Pixels of the result's sides.

    Returns:
        uint8 RGB ``[side, side, 3]``, writable and contiguous.
    """
    return resize(frame, width=side, height=side)


def resize(frame: np.ndarray, *, width: int, height: int) -> np.ndarray:
    """Resize a uint8 RGB frame by Pillow's bicubic filter to ``[height, width, 3]``, writable and contiguous."""
    return np.array(Image.fromarray(frame).resize((width, height), Image.Resampling.BICUBIC))
