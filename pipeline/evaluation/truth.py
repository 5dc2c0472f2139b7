"""Ground truth of a benchmark's split folder: which expressions are scored, on which frames, against which masks."""

import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UsageError
from pipeline.evaluation.pictures import PictureError, PictureTree, picture_path
from pipeline.manifest.benchmarks import read_meta_expressions
from pipeline.masks import compressed, decode_mask
from pipeline.schema import Rle
from pipeline.storage import exists, join, read_bytes, scrub

logger = logging.getLogger(__name__)

BoolArray = NDArray[np.bool_]
MaybeMask = BoolArray | None
"""A mask ``[H, W]``, or None where nothing is annotated or predicted."""


class Annotations(Protocol):
    """The annotated objects of one video, decoded one frame at a time."""

    def objects(self, frame: int) -> dict[str, BoolArray]:
        """Masks ``[H, W]`` of the objects annotated in this frame, by key."""


@dataclass(frozen=True, kw_only=True)
class RleAnnotations:
    """Objects of a ``mask_dict.json``: per key, one run-length mask or None per frame."""

    masks: dict[str, list[Rle | None]]

    def objects(self, frame: int) -> dict[str, BoolArray]:
        """Decode every object of the frame once."""
        found = {}
        for key, masks in self.masks.items():
            rle = masks[frame]
            if rle is not None:
                try:
                    found[key] = decode_mask(compressed(rle))
                except ValueError as error:
                    raise UsageError(f"ground truth under {key!r}, frame {frame}: {error}") from error
        return found


@dataclass(frozen=True, kw_only=True)
class IndexedAnnotations:
    """Objects of a folder of indexed PNGs: the pixel value is the object's key."""

    tree: PictureTree
    video_id: str
    frames: tuple[str, ...]

    def labels(self, frame: int) -> NDArray[np.integer]:
        """The frame's labels ``[H, W]``; 0 is background, 255 is void. Raises UsageError where they are missing."""
        try:
            return self.tree.labels(picture_path(self.video_id, self.frames[frame]))
        except PictureError as error:
            raise UsageError(f"{scrub(self.tree.url)}: annotation {error}") from error

    def objects(self, frame: int) -> dict[str, BoolArray]:
        """One mask per label of the frame; void is background."""
        labels = self.labels(frame)
        return {str(label): labels == label for label in np.unique(labels) if label not in (0, 255)}


@dataclass(frozen=True, kw_only=True)
class ExpressionTruth:
    """One expression that is scored."""

    expression_id: str
    text: str
    objects: tuple[str, ...]
    """Keys of the annotated objects whose union is the target; none for an expression that matches nothing."""
    kind: int | None = None
    """ReVOS's ``type_id``."""


@dataclass(frozen=True, kw_only=True)
class VideoTruth:
    """One video of the split."""

    video_id: str
    frames: tuple[str, ...]
    expressions: tuple[ExpressionTruth, ...]
    annotations: Annotations
    size: tuple[int, int] | None = None
    """Height and width; None where no mask of the video tells it."""
    foreground: list[list[Rle]] = field(default_factory=list)
    """ReVOS: per frame, the masks whose union is all annotated foreground."""


def union_of(objects: dict[str, BoolArray], keys: Iterable[str]) -> MaybeMask:
    """The union of some of a frame's objects; None when none of them is there."""
    present = [objects[key] for key in keys if key in objects]
    return np.logical_or.reduce(present) if present else None


def read_meta(ground_truth: str, candidates: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The videos of the first meta file found among ``candidates``, paths relative to the ground truth's folder.

    Raises:
        UsageError: There is none, or it is no meta file.
    """
    videos = read_meta_expressions(_first(ground_truth, candidates, "the expressions"))
    for video_id, video in videos.items():
        if sorted(video["frames"]) != video["frames"]:
            logger.warning("%s: frames are not listed in order; they are scored as listed", video_id)
    return videos


def read_mask_dict(ground_truth: str, candidates: Sequence[str]) -> tuple[str, dict[str, Any]]:
    """Location and content of the first ``mask_dict.json`` found. Raises UsageError when there is none."""
    location = _first(ground_truth, candidates, "the masks (only splits with public ground truth can be scored here)")
    return location, _read_json(location)


def indexed_folder(ground_truth: str, candidates: Sequence[str]) -> PictureTree:
    """The first folder of indexed PNGs found among ``candidates``. Raises UsageError when there is none."""
    return PictureTree(_first(ground_truth, candidates, "the annotations"))


def annotations_of(
    video_id: str, keys: Iterable[str], frames: Sequence[str], mask_dict: dict[str, Any], location: str
) -> RleAnnotations:
    """The objects ``keys`` of one video from a ``mask_dict.json``.

    Raises:
        UsageError: A key is missing, or its masks are not one per frame.
    """
    found: dict[str, list[Rle | None]] = {}
    for key in keys:
        masks = mask_dict.get(key)
        if not isinstance(masks, list):
            raise UsageError(f"{scrub(location)}: no masks under {key!r}, which video {video_id!r} names")
        if len(masks) != len(frames):
            raise UsageError(
                f"{scrub(location)}: {len(masks)} masks under {key!r}, but video {video_id!r} has {len(frames)} frames"
            )
        found[key] = [rle or None for rle in masks]
    return RleAnnotations(masks=found)


def size_of(annotations: RleAnnotations) -> tuple[int, int] | None:
    """Height and width as the first annotated mask states them; None when nothing is annotated."""
    for masks in annotations.masks.values():
        for rle in masks:
            if rle is not None:
                return int(rle["size"][0]), int(rle["size"][1])
    return None


def expressions_of(video_id: str, video: dict[str, Any], objects: str) -> tuple[ExpressionTruth, ...]:
    """The expressions of one video of a meta file, whose objects are listed under ``objects``. Raises UsageError."""
    return tuple(
        ExpressionTruth(
            expression_id=expression_id,
            text=expression["exp"],
            objects=object_keys(expression, objects, f"expression {expression_id!r} of video {video_id!r}"),
            kind=expression.get("type_id"),
        )
        for expression_id, expression in video["expressions"].items()
    )


def mask_dict_truths(ground_truth: str, meta: Sequence[str]) -> list[VideoTruth]:
    """Ground truth of a folder with a meta file and a ``mask_dict.json``, as MeViS and ReVOS have them.

    Raises:
        UsageError: A file is missing, or they do not fit each other.
    """
    videos = read_meta(ground_truth, meta)
    location, mask_dict = read_mask_dict(ground_truth, ("mask_dict.json",))
    truths = []
    for video_id, video in videos.items():
        expressions = expressions_of(video_id, video, "anno_id")
        keys = dict.fromkeys(key for expression in expressions for key in expression.objects)
        annotations = annotations_of(video_id, keys, video["frames"], mask_dict, location)
        stated = (video["height"], video["width"]) if "height" in video and "width" in video else None
        truths.append(
            VideoTruth(
                video_id=video_id,
                frames=tuple(video["frames"]),
                expressions=expressions,
                annotations=annotations,
                size=size_of(annotations) or stated,
            )
        )
    return truths


def object_keys(expression: dict[str, Any], name: str, where: str) -> tuple[str, ...]:
    """The ids an expression lists under ``name``, as strings; a single id may stand without a list.

    Raises:
        UsageError: The expression has no such entry.
    """
    value = expression.get(name)
    if isinstance(value, str | int):
        value = [value]
    if not isinstance(value, list):
        raise UsageError(f"{where} has no {name!r}: this split comes without public ground truth")
    return tuple(str(item) for item in value)


def _first(ground_truth: str, candidates: Sequence[str], what: str) -> str:
    for candidate in candidates:
        location = join(ground_truth, candidate)
        if exists(location):
            return location
    raise UsageError(f"{scrub(ground_truth)}: {what} should be here as {' or '.join(candidates)}, but is not")


def _read_json(location: str) -> dict[str, Any]:
    try:
        content = json.loads(read_bytes(location))
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{scrub(location)}: not a JSON file: {error}") from error
    if not isinstance(content, dict):
        raise UsageError(f"{scrub(location)}: expected an object with one entry per annotation")
    return content
