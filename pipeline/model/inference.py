"""One video through the model: grounding its keyframes, then segmenting its frames as they stream in."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
import torch

from pipeline.model.grounder import Grounder, Grounding
from pipeline.model.procedure import Procedure
from pipeline.model.propagation import FrameMasks, Propagation
from pipeline.model.segmenter import FrameFeatures, Segmenter, masks_at
from pipeline.model.tiles import image_tiles
from pipeline.video.frames import FrameSource


def keyframes_of(source: FrameSource, procedure: Procedure, count: int) -> list[int]:
    """Distinct keyframe indices of a video, ascending."""
    return sorted(set(procedure.sample(len(source), count)))


def ground_video(
    grounder: Grounder, source: FrameSource, expressions: Sequence[str], procedure: Procedure, num_keyframes: int
) -> list[Grounding]:
    """Answers and prompt vectors for every expression of one video (an image goes in as tiles).

    Raises:
        VideoError: a keyframe cannot be read.
    """
    if source.is_image:
        tiles = image_tiles(next(source.read([0])), grounder.config)
        return grounder.ground(tiles, expressions, one_image=True)
    keyframes = keyframes_of(source, procedure, num_keyframes)
    frames = np.stack(list(source.read(keyframes, side=grounder.config.image_size)))
    return grounder.ground(frames, expressions)


@dataclass(kw_only=True)
class SegmentOptions:
    """How frames and objects go through the segmenter; none of it changes a mask."""

    frames_per_batch: int = 1
    """Frames the image encoder takes at once."""
    max_objects: int = 16
    """Objects propagated at once; halved by itself when GPU memory runs out."""


@dataclass
class TrackEvidence:
    """What the model says about its own tracks.

    Attributes:
        keyframes: Indices of the keyframes.
        keyframe_ious: float32 ``[K, O]``, IoU the fine-tuned decoder predicts for its chosen first masks.
    """

    keyframes: list[int]
    keyframe_ious: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.float32))


@dataclass(frozen=True)
class SegmentedFrame:
    """Final masks of one frame.

    Attributes:
        index: Of the frame.
        masks: bool ``[O, H, W]``.
        presence: float32 ``[O]``, SAM 2's confidence 0..1 that the object is there.
    """

    index: int
    masks: np.ndarray
    presence: np.ndarray


def segment_video(
    segmenter: Segmenter,
    source: FrameSource,
    prompts: np.ndarray,
    procedure: Procedure,
    num_keyframes: int,
    *,
    options: SegmentOptions | None = None,
    on_keyframes: Callable[[TrackEvidence], None] | None = None,
) -> Iterator[SegmentedFrame]:
    """Masks of all objects on every frame, in time order.

    Every frame goes through the image encoder once, for all objects. Memory does not grow with the video.

    Args:
        segmenter: SAM 2.
        source: The frames.
        prompts: float32 ``[O, d_model]`` prompt vectors, O at least 1.
        procedure: Sa2VA-i's, Sa2VA's, or a mixture.
        num_keyframes: K.
        options: Batch sizes.
        on_keyframes: Called once the first masks are made.

    Raises:
        VideoError: a frame cannot be read.
    """
    for frame in propagate(
        segmenter, source, prompts, procedure, num_keyframes, options=options, on_keyframes=on_keyframes
    ):
        with torch.inference_mode():
            masks = masks_at(frame.logits, source.height, source.width, through=segmenter.config.image_size)
            yield SegmentedFrame(frame.index, masks.cpu().numpy(), frame.object_score.sigmoid().cpu().numpy())


def propagate(
    segmenter: Segmenter,
    source: FrameSource,
    prompts: np.ndarray,
    procedure: Procedure,
    num_keyframes: int,
    *,
    options: SegmentOptions | None = None,
    on_keyframes: Callable[[TrackEvidence], None] | None = None,
    on_propagation: Callable[[Propagation], None] | None = None,
) -> Iterator[FrameMasks]:
    """As :func:`segment_video`, giving low-resolution logits and memory instead of masks."""
    options = options or SegmentOptions()
    keyframes = keyframes_of(source, procedure, num_keyframes)
    propagation = Propagation(
        segmenter,
        procedure,
        torch.from_numpy(np.ascontiguousarray(prompts)),
        num_frames=len(source),
        height=source.height,
        width=source.width,
        max_objects=options.max_objects,
    )
    for index, features in _encoded(segmenter, source, keyframes, options.frames_per_batch):
        propagation.add_keyframe(index, features)
    if on_keyframes is not None:
        best = [propagation.first_masks(index).ious.amax(1).cpu().numpy() for index in keyframes]
        on_keyframes(TrackEvidence(keyframes, np.stack(best)))
    if on_propagation is not None:
        on_propagation(propagation)
    others = [index for index in range(len(source)) if index not in set(keyframes)]
    tracked = _encoded(segmenter, source, others, options.frames_per_batch)
    for index in range(len(source)):
        if index in propagation.keyframe_indices:
            yield propagation.keyframe_masks(index)
        else:
            frame_index, features = next(tracked)
            assert frame_index == index
            yield propagation.track(index, features)


def _encoded(
    segmenter: Segmenter, source: FrameSource, indices: Sequence[int], batch: int
) -> Iterator[tuple[int, FrameFeatures]]:
    """Frames of ``indices`` through the image encoder, ``batch`` at a time."""
    frames = source.read(indices, side=segmenter.config.image_size)
    pairs = zip(indices, frames, strict=True)
    while part := list(islice(pairs, batch)):
        encoded = segmenter.encode(torch.from_numpy(np.stack([frame for _, frame in part])))
        for (index, _), features in zip(part, encoded, strict=True):
            yield index, features
