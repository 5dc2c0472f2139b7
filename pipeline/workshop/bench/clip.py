"""What the model is measured on: a video of the user's, or a drawn one with true sentences about it."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice, zip_longest
from pathlib import Path

from pipeline.model.allocation import trim_heap
from pipeline.workshop.shapes.benchmark import BenchmarkTree, make_video
from pipeline.workshop.shapes.grammar import ShapeExpression

_SEED = 25
"""Draws a clip with six objects, about which 75 true sentences can be said."""


@dataclass(frozen=True)
class BenchClip:
    """A video and what is asked about it.

    Attributes:
        location: Path or URL of the video.
        sentences: All different, as many as are needed.
    """

    location: str
    sentences: list[str]


@contextmanager
def bench_clip(
    video: str | None, *, frames: int, height_width: tuple[int, int], expressions: int
) -> Iterator[BenchClip]:
    """The clip to measure on.

    Args:
        video: A video of your own; ``None`` draws one of JPEG frames.
        frames: Number of frames to draw.
        height_width: Size of the drawn frames, pixels.
        expressions: Sentences needed.
    """
    if video is not None:
        yield BenchClip(video, list(islice(_any_sentences(), expressions)))
        return
    drawn = make_video(
        "clip", seed=_SEED, split="test", height_width=height_width, num_frames=(frames, frames), expressions=1000
    )
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        BenchmarkTree(Path(scratch)).add(drawn)
        sentences_found = drawn.expressions
        del drawn
        trim_heap()  # or it would count as the model's
        # the small model finds what a true sentence names; any other is answered without a mask to follow
        sentences = islice(chain(_about_each_target(sentences_found), _any_sentences()), expressions)
        yield BenchClip(str(Path(scratch, "JPEGImages", "clip")), list(sentences))


def _about_each_target(found: list[ShapeExpression]) -> Iterator[str]:
    """True sentences, about another object or other objects each time as far as there are any."""
    by_target: dict[tuple[int, ...], list[str]] = {}
    for expression in sorted(found, key=lambda e: (e.kind != "appearance", len(e.targets))):
        if expression.targets and expression.kind != "motion-hard":
            by_target.setdefault(expression.targets, []).append(expression.text)
    for texts in zip_longest(*by_target.values()):
        yield from (text for text in texts if text)


def _any_sentences() -> Iterator[str]:
    """Different referring expressions, without end."""
    colours = ("red", "blue", "green", "yellow", "white", "purple", "orange", "grey")
    shapes = ("circle", "square", "triangle", "star")
    ways = ("moving left", "standing still", "moving right", "growing", "turning", "moving up")
    number = 0
    while True:
        round_ = f", number {number // 32}" if number >= 32 else ""
        yield f"the {colours[number % 8]} {shapes[number // 8 % 4]} that is {ways[number % 6]}{round_}"
        number += 1
