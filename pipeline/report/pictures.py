"""Small pictures for the page: a frame as WebP, and over it masks as PNG with transparent ground.

A frame is stored once for all expressions of its video; masks of flat colours are a few hundred bytes each.
"""

import base64
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from pipeline.report.overlay import COLOURS, outline

SIDE = 240
"""Longest side of a small picture, pixels."""

_LEAST_SHARE = 0.35
"""Share of a small pixel's area that a mask must cover to be drawn there."""

_CLEAR = (0, 0, 0, 0)
_MASK_COLOURS = [_CLEAR, *((*colour, alpha) for colour in COLOURS for alpha in (128, 255))]
"""Tint and outline of every object."""
_TRUTH_COLOURS = [_CLEAR, (255, 255, 255, 255), (0, 0, 0, 170)]
"""Line around the true object, and the line around that: seen on any ground."""


def small_size(height: int, width: int) -> tuple[int, int]:
    """Height and width of the small picture of a frame; never larger than the frame."""
    scale = min(1.0, SIDE / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def frame_picture(frame: np.ndarray) -> str:
    """A frame (uint8 RGB ``[H, W, 3]``) as base64 of a small WebP."""
    height, width = small_size(*frame.shape[:2])
    small = Image.fromarray(frame).resize((width, height), Image.Resampling.BOX)
    return _encoded(small, "WEBP", quality=60, method=3)


def mask_picture(masks: Sequence[tuple[int, np.ndarray]]) -> str:
    """Masks as base64 of a small PNG: tinted and outlined, later objects on top.

    Args:
        masks: Object ids and bool ``[H, W]``, at least one, all of one size.
    """
    labels = np.zeros(small_size(*masks[0][1].shape), np.uint8)
    for object_id, mask in masks:
        tint = 1 + 2 * (object_id % len(COLOURS))
        small = shrink(mask)
        labels[small] = tint
        labels[outline(small)] = tint + 1
    return _palette_png(labels, _MASK_COLOURS)


def truth_picture(mask: np.ndarray) -> str:
    """The true object (bool ``[H, W]``) as base64 of a small PNG: a white line with a dark line around it."""
    small = shrink(mask)
    line = outline(small)
    around = np.zeros_like(small)
    around[1:] |= line[:-1]
    around[:-1] |= line[1:]
    around[:, 1:] |= line[:, :-1]
    around[:, :-1] |= line[:, 1:]
    labels = np.where(line, 1, np.where(around, 2, 0)).astype(np.uint8)
    return _palette_png(labels, _TRUTH_COLOURS)


def shrink(mask: np.ndarray) -> np.ndarray:
    """A mask at the small picture's size, bool ``[h, w]``; a mask with any pixel keeps at least one."""
    height, width = small_size(*mask.shape)
    cover = np.asarray(
        Image.fromarray(mask.view(np.uint8) * np.uint8(255)).resize((width, height), Image.Resampling.BOX)
    )
    least = min(_LEAST_SHARE * 255, max(1, int(cover.max())))
    return np.asarray(cover >= least)


def _palette_png(labels: np.ndarray, palette: Sequence[tuple[int, ...]]) -> str:
    picture = Image.fromarray(labels, "P")
    picture.putpalette([part for colour in palette for part in colour[:3]])
    bits = next(bits for bits in (1, 2, 4, 8) if 2**bits >= len(palette))
    return _encoded(picture, "PNG", transparency=bytes(colour[3] for colour in palette), bits=bits, optimize=True)


def _encoded(picture: Image.Image, kind: str, **options: object) -> str:
    data = io.BytesIO()
    picture.save(data, kind, **options)
    return base64.b64encode(data.getvalue()).decode("ascii")
