"""One video through the model: grounding its keyframes, then segmenting its frames as they stream in."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from pipeline.model.grounder import Grounder, Grounding
from pipeline.model.procedure import Procedure
from pipeline.model.sam2.frame import FrameFeatures
from pipeline.model.sam2.propagation import FrameMasks, Propagation
from pipeline.model.sam2.segmenter import Segmenter, masks_at
from pipeline.model.tiles import image_tiles
from pipeline.video.frames import FrameSource

FRAMES_BEHIND = 2
"""Frames whose masks are still on their way from the GPU when the next one is begun."""


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
    """How frames and objects go through the segmenter; nothing but ``merge_tracks`` changes a mask."""

    frames_per_batch: int = 1
    """Frames the image encoder takes at once."""
    max_objects: int = 16
    """Objects propagated at once; halved by itself when GPU memory runs out."""
    merge_tracks: float | None = None
    """Objects whose first masks have at least this IoU on every keyframe share one track (none: only equal ones do)."""


@dataclass
class TrackEvidence:
    """What the model says about its own tracks.

    Attributes:
        keyframes: Indices of the keyframes.
        keyframe_ious: float32 ``[K, O]``, IoU the fine-tuned decoder predicts for its chosen first masks.
        shared_with: For each object the first object whose track it has; its own number if it shares with none.
    """

    keyframes: list[int]
    keyframe_ious: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    shared_with: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class SegmentedFrame:
    """Final masks of one frame.

    Attributes:
        index: Of the frame.
        masks: bool ``[tracks, H, W]``.
        presence: float32 ``[tracks]``, SAM 2's confidence 0..1 that the object is there.
        track_of: For each object, its row in these; objects with the same first masks have one in common.
    """

    index: int
    masks: np.ndarray
    presence: np.ndarray
    track_of: Sequence[int]


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
    side = segmenter.config.image_size
    waiting: deque[Callable[[], SegmentedFrame]] = deque()
    steps = _propagate(segmenter, source, prompts, procedure, num_keyframes, options or SegmentOptions(), on_keyframes)
    for propagation, frame in steps:
        with torch.inference_mode():
            masks = final_masks(frame.logits, source.height, source.width, side)
            waiting.append(_on_host(frame, masks, propagation.track_of))
        if len(waiting) > FRAMES_BEHIND or masks.device.type == "cpu":
            yield waiting.popleft()()
    while waiting:
        yield waiting.popleft()()


def final_masks(logits: Tensor, height: int, width: int, side: int) -> Tensor:
    """Propagated logits ``[O, s, s]`` to masks, bool ``[O, height, width]``."""
    return masks_at(logits, height, width, through=side)


def _on_host(frame: FrameMasks, masks: Tensor, track_of: Sequence[int]) -> Callable[[], SegmentedFrame]:
    """Start copying a frame's masks to the host; the function returned waits for that."""
    presence = frame.object_score.sigmoid()
    if masks.device.type == "cpu":
        done_frame = SegmentedFrame(frame.index, masks.numpy(), presence.numpy(), track_of)
        return lambda: done_frame
    # a GPU turns them column by column, as run-lengths are counted, much faster than the host would
    transposed = masks.transpose(1, 2).contiguous()
    copies = [torch.empty(t.shape, dtype=t.dtype, pin_memory=True) for t in (transposed, presence)]
    for copy, tensor in zip(copies, (transposed, presence), strict=True):
        copy.copy_(tensor, non_blocking=True)
    done = torch.cuda.Event()
    done.record()

    def finish() -> SegmentedFrame:
        done.synchronize()
        return SegmentedFrame(frame.index, copies[0].numpy().transpose(0, 2, 1), copies[1].numpy(), track_of)

    return finish


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
    """As :func:`segment_video`, giving low-resolution logits and memory of every object instead of masks."""
    told = False
    steps = _propagate(segmenter, source, prompts, procedure, num_keyframes, options or SegmentOptions(), on_keyframes)
    for propagation, frame in steps:
        if on_propagation is not None and not told:
            on_propagation(propagation)
            told = True
        yield frame.rows(propagation.track_of)


def _propagate(
    segmenter: Segmenter,
    source: FrameSource,
    prompts: np.ndarray,
    procedure: Procedure,
    num_keyframes: int,
    options: SegmentOptions,
    on_keyframes: Callable[[TrackEvidence], None] | None,
) -> Iterator[tuple[Propagation, FrameMasks]]:
    keyframes = keyframes_of(source, procedure, num_keyframes)
    others = sorted(set(range(len(source))) - set(keyframes))
    propagation = Propagation(
        segmenter,
        procedure,
        torch.from_numpy(np.ascontiguousarray(prompts)),
        num_frames=len(source),
        height=source.height,
        width=source.width,
        max_objects=options.max_objects,
    )
    pictures = _read(source, keyframes, others, segmenter.config.image_size)
    for index, features in _encoded(segmenter, zip(keyframes, pictures, strict=False), options.frames_per_batch):
        propagation.add_keyframe(index, features)
    shared_with = propagation.share(options.merge_tracks)
    if on_keyframes is not None:
        best = [propagation.first_masks(index).ious.amax(1).cpu().numpy() for index in keyframes]
        on_keyframes(TrackEvidence(keyframes, np.stack(best), shared_with))
    tracked = _encoded(segmenter, zip(others, pictures, strict=True), options.frames_per_batch)
    for index in range(len(source)):
        if index in propagation.keyframe_indices:
            yield propagation, propagation.keyframe_masks(index)
        else:
            frame_index, features = next(tracked)
            assert frame_index == index
            yield propagation, propagation.track(index, features)


def _read(source: FrameSource, keyframes: Sequence[int], others: Sequence[int], side: int) -> Iterator[np.ndarray]:
    """Pictures of the keyframes, then of the others, which are decoded from before the last keyframe is handed out."""
    following: Iterator[np.ndarray] = iter(())
    for number, picture in enumerate(source.read(keyframes, side=side)):
        if number == len(keyframes) - 1 and others:
            following = source.read(others, side=side)
        yield picture
    yield from following


def _encoded(
    segmenter: Segmenter, pictures: Iterator[tuple[int, np.ndarray]], batch: int
) -> Iterator[tuple[int, FrameFeatures]]:
    """Frames through the image encoder, ``batch`` at a time."""
    while part := list(islice(pictures, batch)):
        frames = torch.from_numpy(np.stack([picture for _, picture in part]))
        if segmenter.device.type == "cuda":
            frames = frames.pin_memory()  # else the copy to the GPU would wait for what is queued there
        for (index, _), features in zip(part, segmenter.encode(frames), strict=True):
            yield index, features
