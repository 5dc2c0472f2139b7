"""One picture of a dataset: a strip of frames per (video, expression) with the masks drawn on them."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pipeline.masks import decode_mask
from pipeline.report.overlay import draw_mask
from pipeline.video.frames import FrameSource

CELL_WIDTH = 160
CAPTION_HEIGHT = 18
GAP = 4


def contact_sheet(strips: Iterable[tuple[str, Sequence[np.ndarray]]]) -> Image.Image:
    """Put strips of frames (uint8 RGB ``[H, W, 3]`` each) under one another, each below its caption."""
    rendered = [_strip(caption, frames) for caption, frames in strips]
    width = max((strip.width for strip in rendered), default=CELL_WIDTH)
    sheet = Image.new("RGB", (width + 2 * GAP, sum(strip.height + GAP for strip in rendered) + GAP), "white")
    top = GAP
    for strip in rendered:
        sheet.paste(strip, (GAP, top))
        top += strip.height + GAP
    return sheet


def masked_frames(source: FrameSource, rows: Sequence[dict[str, Any]], count: int = 6) -> list[np.ndarray]:
    """Evenly spread frames of a video with the masks of one expression drawn on them.

    Args:
        source: The video, with the frame selection the dataset was made with.
        rows: The expression's rows of the dataset, one per object.
        count: Frames wanted.
    """
    indices = sorted({int(i) for i in np.linspace(0, len(source) - 1, count)})
    frames = []
    for index, frame in zip(indices, source.read(indices), strict=True):
        for row in rows:
            if row["masks"] and row["masks"][index] is not None:
                frame = draw_mask(frame, decode_mask(row["masks"][index]), row["object_id"])
        frames.append(frame)
    return frames


def _strip(caption: str, frames: Sequence[np.ndarray]) -> Image.Image:
    cells = []
    for frame in frames:
        height = max(1, round(frame.shape[0] * CELL_WIDTH / frame.shape[1]))
        cells.append(Image.fromarray(frame).resize((CELL_WIDTH, height), Image.Resampling.BILINEAR))
    height = max((cell.height for cell in cells), default=0)
    strip = Image.new("RGB", (max(1, len(cells)) * (CELL_WIDTH + GAP), height + CAPTION_HEIGHT), "white")
    ImageDraw.Draw(strip).text((0, 2), caption, fill="black", font=ImageFont.load_default(12))
    for number, cell in enumerate(cells):
        strip.paste(cell, (number * (CELL_WIDTH + GAP), CAPTION_HEIGHT))
    return strip
