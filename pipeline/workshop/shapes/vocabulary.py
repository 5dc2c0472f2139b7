"""The closed lists of the world of shapes: looks, motions, kinds of expression, words, and what is held out."""

from typing import Literal

Split = Literal["train", "test"]

COLOURS: dict[str, tuple[float, float, float]] = {
    "red": (0.85, 0.10, 0.12),
    "green": (0.12, 0.62, 0.18),
    "blue": (0.12, 0.22, 0.90),
    "yellow": (0.95, 0.85, 0.10),
    "purple": (0.55, 0.12, 0.68),
    "orange": (0.98, 0.48, 0.04),
    "cyan": (0.10, 0.80, 0.85),
    "white": (0.95, 0.95, 0.95),
}
"""Name to RGB in 0..1, before texture and lighting."""

SHAPES = ("circle", "square", "triangle", "star", "cross")

SIZES: dict[str, tuple[float, float]] = {"small": (0.105, 0.125), "large": (0.165, 0.190)}
"""Name to the range of radii, as a share of the frame's height."""

MOTIONS = ("left", "right", "up", "down", "circle", "back_and_forth", "stops", "still", "enters", "leaves")

KINDS = ("appearance", "position", "motion", "motion-hard", "relation", "multiple", "none")
"""``motion-hard``: the target has a look-alike whose path crosses its own. ``none``: nothing in the clip matches."""

COLOUR_NAMES = tuple(COLOURS)
SIZE_NAMES = tuple(SIZES)

MAX_OBJECTS = 6


def is_held_out(colour: int, shape: int, motion: int) -> bool:
    """Whether this combination of indices never occurs in training clips (one in ten)."""
    return (3 * colour + 5 * shape + 7 * motion) % 10 == 0


_SENTENCES = """
Please segment Sure No such object It is the a one ones shape shapes objects thing things both all two three that which
and of to on in at side top bottom left right middle above below up down moves move moving upwards downwards goes go
stops stop still stands stand stays stay enters enter leaves leave last late back forth comes come into out picture from
does do not around Is there video Answer yes Yes or no
"""
_PLURALS = (*(shape + "s" for shape in SHAPES if shape != "cross"), "crosses")
WORDS = tuple(sorted({*COLOUR_NAMES, *SHAPES, *_PLURALS, *SIZE_NAMES, *_SENTENCES.split()}))
"""Every word a sentence of this world, or an answer to it, can hold."""
