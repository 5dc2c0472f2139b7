"""Draw the picture of the README from the output of ``sa2va-i demo``: some expressions, frames, and their masks."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import binary_dilation

from pipeline.cli.program import run_command
from pipeline.dataset.reader import MaskDataset
from pipeline.masks import decode_mask
from pipeline.settings import CheckedSettings, Option
from pipeline.video.source import open_video

PROGRAM = "python -m pipeline.workshop.picture"
EXPRESSIONS = ("the thing that enters late", "the shape moving in a circle", "both red triangles")
FRAMES = (0, 6, 9, 13, 17)
CELL = (256, 192)
CAPTION_HEIGHT, GAP, SCALE = 26, 4, 2
OUTLINE = (140, 255, 60)


@dataclass(frozen=True, kw_only=True)
class Options(CheckedSettings):
    """Options."""

    demo: Annotated[str, Option("DIR")] = "demo-output"
    """Output of sa2va-i demo."""
    output: Annotated[str, Option("FILE")] = ".github/masks.jpg"
    """The picture."""


def run(options: Options) -> int:
    """Draw."""
    rows = {row["expression"]: row for row in MaskDataset(f"{options.demo}/dataset").iter_rows()}
    strips = [_strip(rows[text], Path(options.demo) / "clips") for text in EXPRESSIONS]
    sheet = Image.new("RGB", (strips[0].width, sum(strip.height for strip in strips)), "white")
    for index, strip in enumerate(strips):
        sheet.paste(strip, (0, index * strip.height))
    sheet.save(options.output, quality=80)
    print(f"{options.output}: {Path(options.output).stat().st_size} bytes")
    return 0


def _strip(row: dict[str, Any], clips: Path) -> Image.Image:
    """The frames of one expression side by side, under what was asked."""
    width, height = CELL
    strip = Image.new("RGB", (len(FRAMES) * (width + GAP) - GAP, height + CAPTION_HEIGHT), "white")
    font = ImageFont.load_default(17)
    ImageDraw.Draw(strip).text(
        (2, 3), f"\N{LEFT DOUBLE QUOTATION MARK}{row['expression']}\N{RIGHT DOUBLE QUOTATION MARK}", "black", font
    )
    with open_video(str(clips / f"{row['video_id']}.mp4")) as source:
        for position, (index, frame) in enumerate(zip(FRAMES, source.read(list(FRAMES)), strict=True)):
            mask = row["masks"][index]
            cell = _highlighted(frame, decode_mask(mask) if mask else np.zeros(frame.shape[:2], bool))
            strip.paste(cell, (position * (width + GAP), CAPTION_HEIGHT))
    return strip


def _highlighted(frame: np.ndarray, mask: np.ndarray) -> Image.Image:
    """The frame in dim grey but for the object, which has an outline."""
    dim = np.repeat(frame.mean(axis=2, keepdims=True) * 0.55, 3, axis=2)
    shown = np.where(mask[..., None], frame, dim).astype(np.uint8)
    shown[binary_dilation(mask, iterations=2) & ~mask] = OUTLINE
    return Image.fromarray(shown).resize(CELL, Image.Resampling.BICUBIC)


if __name__ == "__main__":
    sys.exit(run_command(PROGRAM, Options, run, sys.argv[1:], description=__doc__))
