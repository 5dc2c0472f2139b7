"""What a judge is shown: which frames of a row, and each as a picture with the object outlined."""

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from pipeline.masks import decode_mask
from pipeline.report.overlay import outline
from pipeline.report.sample import spread
from pipeline.schema import Rle

_LINE, _AROUND = (255, 0, 0), (0, 0, 0)
"""A red line with a thin black one around it: seen on any ground."""


def choose_frames(row: Mapping[str, Any], count: int, *, outlined: bool) -> list[int]:
    """Which frames of a row to show, as ascending indices into its frames.

    Args:
        row: With ``frames``, ``keyframes`` and ``areas``.
        count: How many, at most.
        outlined: Frames without a mask are of no use: of the keyframes those that have one, then others that have one,
            evenly spread. Else keyframes alone, or without any, frames evenly spread.
    """
    frames, areas = range(len(row["frames"] or ())), row["areas"] or []
    keyframes = [frame for frame in dict.fromkeys(row["keyframes"] or ()) if frame in frames]
    if not outlined:
        usable = keyframes or list(frames)
        return sorted(usable[index] for index in spread(len(usable), count))
    usable = [frame for frame in frames if frame < len(areas) and areas[frame]]
    shown = [frame for frame in keyframes if frame in set(usable)]
    chosen = {shown[index] for index in spread(len(shown), count)}
    others = [usable[index] for index in spread(len(usable), count) if usable[index] not in chosen]
    return sorted(chosen.union(others[: count - len(chosen)]))


def scaled(frame: np.ndarray, side: int) -> np.ndarray:
    """A frame (uint8 RGB ``[H, W, 3]``) with its longest side at most ``side`` pixels."""
    height, width = frame.shape[:2]
    if max(height, width) <= side:
        return frame.copy()
    scale = side / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.LANCZOS))


def outlined_picture(frame: np.ndarray, rle: Rle | None) -> np.ndarray:
    """A scaled frame (uint8 RGB ``[h, w, 3]``) with the outline of a mask of the unscaled one.

    Raises:
        ValueError: The mask is not a valid encoding.
    """
    if rle is None:
        return frame
    height, width = frame.shape[:2]
    full = Image.fromarray(decode_mask(rle).view(np.uint8) * np.uint8(255))
    cover = np.asarray(full.resize((width, height), Image.Resampling.BOX))
    mask = cover >= min(128, max(1, int(cover.max())))  # an object of any size keeps a pixel
    line = outline(mask)
    thickness = max(1, max(height, width) // 400)
    drawn = frame.copy()
    drawn[_grown(line, thickness + 1)] = _AROUND
    drawn[_grown(line, thickness)] = _LINE
    return drawn


def data_url(picture: np.ndarray) -> str:
    """A picture (uint8 RGB ``[h, w, 3]``) as a JPEG in a data URL."""
    data = io.BytesIO()
    Image.fromarray(picture).save(data, "JPEG", quality=90)
    return "data:image/jpeg;base64," + base64.b64encode(data.getvalue()).decode("ascii")


def _grown(mask: np.ndarray, by: int) -> np.ndarray:
    """The pixels at most ``by`` rows and columns away from ``mask``."""
    for axis in (0, 1):
        grown = mask.copy()
        for step in range(1, by + 1):
            there, here = [slice(None)] * 2, [slice(None)] * 2
            there[axis], here[axis] = slice(step, None), slice(None, -step)
            grown[tuple(there)] |= mask[tuple(here)]
            grown[tuple(here)] |= mask[tuple(there)]
        mask = grown
    return mask


def data_urls(frames: Sequence[np.ndarray], masks: Sequence[Rle | None]) -> list[str]:
    """Scaled frames with their masks outlined, as data URLs."""
    return [data_url(outlined_picture(frame, rle)) for frame, rle in zip(frames, masks, strict=True)]
