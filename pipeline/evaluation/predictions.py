"""What was predicted for one video, in the three forms it comes in: the mask of one expression in one frame."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UsageError
from pipeline.evaluation.pictures import PictureError, PictureTree, picture_path
from pipeline.evaluation.truth import MaybeMask
from pipeline.masks import decode_mask
from pipeline.schema import Rle
from pipeline.storage import scrub


class MissingPredictionError(Exception):
    """An expression has no usable prediction; the message says why. It scores 0."""


class VideoPrediction(Protocol):
    """What was predicted for one video. Can be pickled, so that it can be scored in another process."""

    def mask(self, expression_id: str, frame: int) -> MaybeMask:
        """The mask ``[H, W]`` of an expression in a frame (an index into the ground truth's); None for no pixel.

        Raises:
            MissingPredictionError: There is none, or it cannot be read.
        """


@dataclass(frozen=True, kw_only=True)
class RlePrediction:
    """Run-length masks of one video."""

    tracks: dict[str, list[list[Rle | None]]]
    """Per expression: one or more objects whose union is the answer, each with a mask per ground-truth frame."""
    missing: dict[str, str]
    """Per expression without a usable answer: why."""
    size: tuple[int, int] | None = None
    """The ground truth's height and width: a mask that claims another size is not decoded."""
    presence: dict[str, float] = field(default_factory=dict)
    """Per expression, the probability that what it names is there; where the predictions say."""
    verdicts: dict[str, float] = field(default_factory=dict)
    """Per expression, what a second model said of it, 0..1; where one was asked."""

    def mask(self, expression_id: str, frame: int) -> MaybeMask:
        """See VideoPrediction."""
        if expression_id not in self.tracks:
            raise MissingPredictionError(self.missing.get(expression_id, "not among the predictions"))
        present = [rle for track in self.tracks[expression_id] if (rle := track[frame]) is not None]
        if not present:
            return None
        for rle in present:
            if self.size and tuple(rle["size"]) != self.size:
                raise MissingPredictionError(wrong_size(tuple(rle["size"]), self.size))
        try:
            masks = [decode_mask(rle) for rle in present]
        except ValueError as error:
            raise MissingPredictionError(f"frame {frame}: {error}") from None
        return masks[0] if len(masks) == 1 else np.logical_or.reduce(masks)


@dataclass(frozen=True, kw_only=True)
class PicturePrediction:
    """Pictures ``<root><video>/<expression>/<frame>.png`` of one video."""

    tree: PictureTree
    root: str
    video_id: str
    frames: tuple[str, ...]
    later_frames_may_lack: bool = False
    """Whether a frame without a picture is an empty mask, other than the first one's."""

    def mask(self, expression_id: str, frame: int) -> MaybeMask:
        """See VideoPrediction."""
        try:
            path = picture_path(self.root + self.video_id, expression_id, self.frames[frame])
            if self.later_frames_may_lack and frame and not self.tree.has_file(path):
                return None
            return self.tree.mask(path)
        except PictureError as error:
            raise MissingPredictionError(str(error)) from None


@dataclass(frozen=True, kw_only=True)
class IndexedPrediction:
    """Merged pictures ``anno_<annotator>/<video>/<frame>.png`` whose values are object numbers (Ref-DAVIS17)."""

    tree: PictureTree
    video_id: str
    frames: tuple[str, ...]

    def labels(self, annotator: int, frame: int) -> NDArray[np.integer]:
        """The labels ``[H, W]`` of one frame. Raises MissingPredictionError."""
        try:
            return self.tree.labels(picture_path(f"anno_{annotator}", self.video_id, self.frames[frame]))
        except PictureError as error:
            raise MissingPredictionError(str(error)) from None

    def mask(self, expression_id: str, frame: int) -> MaybeMask:  # noqa: ARG002 - as VideoPrediction has it
        """Not to be had: objects that overlap are lost in merged pictures. Raises UsageError."""
        raise UsageError(
            f"{scrub(self.tree.url)}: merged annotator folders (anno_0, ...) hold no single expressions; "
            "score them with --benchmark ref-davis17 --protocol four-annotator"
        )


def wrong_size(found: Sequence[int], expected: Sequence[int]) -> str:
    """Say that a mask is of another size (height, width) than the ground truth."""
    return f"is {found[1]}x{found[0]} pixels, the ground truth {expected[1]}x{expected[0]}"
