"""Masks as PNG files, in the two modes benchmarks ask for."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def mask_png(mask: NDArray[np.bool_], foreground: int = 255) -> bytes:
    """A mask ``[H, W]`` as a single-channel PNG (mode L) of 0 and ``foreground``."""
    return _png(Image.fromarray(mask.astype(np.uint8) * np.uint8(foreground)))


def label_png(labels: NDArray[np.uint8]) -> bytes:
    """Labels ``[H, W]`` as a palette PNG (mode P) with DAVIS's colours; the pixel value is the label."""
    picture = Image.fromarray(labels, mode="L")
    picture.putpalette(davis_palette())
    return _png(picture)


def davis_palette() -> bytes:
    """The 256 colours of PASCAL VOC and DAVIS: the bits of the label dealt out to red, green and blue in turn."""
    palette = bytearray()
    for label in range(256):
        colour = [0, 0, 0]
        for bit in range(8):
            channel = bit % 3
            colour[channel] |= (label >> bit & 1) << (7 - bit // 3)
        palette += bytes(colour)
    return bytes(palette)


def _png(picture: Image.Image) -> bytes:
    data = io.BytesIO()
    picture.save(data, "PNG")
    return data.getvalue()
