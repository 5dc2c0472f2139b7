"""Clean-up of finished masks: small parts, holes, frames in which the object is hardly there."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from pipeline.cleanup.settings import CleanUp
from pipeline.masks import decode_mask, encode_masks
from pipeline.schema import Rle

SPECKS, HOLES, BLANKED = "specks removed", "holes filled", "frames blanked"
EIGHT_NEIGHBOURS = np.ones((3, 3), bool)


class Cleaner:
    """Applies a clean-up to tracks and counts what it did.

    Args:
        settings: What to clean.

    Attributes:
        counts: Specks, holes and frames so far, by name.
    """

    def __init__(self, settings: CleanUp) -> None:
        self.settings = settings
        self.counts: Counter[str] = Counter()

    def track(self, masks: Sequence[Rle | None], scores: Sequence[float]) -> list[Rle | None]:
        """The masks of one track, cleaned.

        Args:
            masks: One per frame.
            scores: SAM 2's confidence per frame; an empty list blanks nothing.
        """
        if not self.settings.is_on:
            return list(masks)
        return [self._mask(rle, scores[index] if index < len(scores) else None) for index, rle in enumerate(masks)]

    def _mask(self, rle: Rle | None, score: float | None) -> Rle | None:
        if rle is None:
            return None
        if score is not None and score < self.settings.blank_below:
            self.counts[BLANKED] += 1
            return None
        if not (self.settings.specks_below or self.settings.holes_below):
            return rle
        mask, specks = _without_small_parts(decode_mask(rle), self.settings.specks_below, EIGHT_NEIGHBOURS)
        # a hole is a part of the background that does not touch the edge; 4-connected, as the mask is 8-connected
        background, holes = _without_small_parts(~mask, self.settings.holes_below, None, keep_edge=True)
        if not specks and not holes:
            return rle
        self.counts[SPECKS] += specks
        self.counts[HOLES] += holes
        return encode_masks(~background[None])[0]

    def __str__(self) -> str:
        return "clean-up: " + ", ".join(f"{self.counts[name]} {name}" for name in (SPECKS, HOLES, BLANKED))


def _without_small_parts(
    mask: np.ndarray, below: int, structure: np.ndarray | None, *, keep_edge: bool = False
) -> tuple[np.ndarray, int]:
    """``mask``, bool ``[H, W]``, without connected parts of fewer than ``below`` pixels, and how many those were."""
    if below <= 1:
        return mask, 0
    labels, count = ndimage.label(mask, structure)
    small = np.bincount(labels.ravel(), minlength=count + 1) < below
    small[0] = False
    if keep_edge:
        edges = (labels[0], labels[-1], labels[:, 0], labels[:, -1])
        small[np.unique(np.concatenate(edges))] = False
    return mask & ~small[labels], int(small.sum())
