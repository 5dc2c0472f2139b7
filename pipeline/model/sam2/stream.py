"""A video's frames through SAM 2 as they are decoded: each frame once, for all objects of the video."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from pipeline.model.procedure import Procedure
from pipeline.model.sam2.frame import FrameFeatures
from pipeline.model.sam2.propagation import FrameMasks, Propagation
from pipeline.model.sam2.segmenter import Segmenter, masks_at
from pipeline.video.frames import FrameSource

FRAMES_BEHIND = 2
"""Frames whose masks are still being copied from the GPU when the next one is begun."""
CHUNK_BYTES = 2**26
"""Masks of one frame that are brought to full size together, at most (one mask, if it is larger)."""
COPYING_BYTES = 2 * CHUNK_BYTES
"""Masks that are being copied from the GPU, at most (and one chunk)."""


@dataclass(kw_only=True)
class SegmentOptions:
    """How frames and objects go through the segmenter; nothing but ``merge_tracks`` changes a mask."""

    frames_per_batch: int = 1
    """Frames the image encoder takes at once."""
    max_objects: int = 16
    """Objects propagated at once; halved automatically when GPU memory runs out."""
    merge_tracks: float | None = None
    """Objects whose first masks have at least this IoU on every keyframe share a track; ``None``: only equal ones."""


@dataclass(frozen=True)
class MaskChunk:
    """Final masks of one frame, or of some of its tracks if all of them would be too large to hold together.

    Attributes:
        index: Frame index.
        tracks: Numbers of the tracks.
        masks: bool ``[T, H, W]``, one for each of ``tracks``.
        presence: float32 ``[T]``, SAM 2's confidence 0..1 that the object is there.
    """

    index: int
    tracks: range
    masks: np.ndarray
    presence: np.ndarray


class MaskStream:
    """One video on its way through SAM 2. Memory does not grow with the number of frames.

    The constructor reads the keyframes and makes the first masks; :meth:`masks` or :meth:`logits` then goes through
    all frames, once.

    Attributes:
        keyframes: Indices of the keyframes, ascending.
        keyframe_ious: float32 ``[K, O]``, IoU the fine-tuned decoder predicts for its chosen first masks.
        shared_with: For each object the first object whose track it has; its own number if it shares with none.
        track_of: For each object, the number of its track.
        propagation: The objects and their memory.

    Args:
        segmenter: SAM 2.
        source: The frames.
        prompts: float32 ``[O, d_model]`` prompt vectors, O at least 1.
        procedure: Sa2VA-i's, Sa2VA's, or a mixture.
        keyframes: Indices of the keyframes, ascending, at least one.
        options: Batch sizes.
        given: First masks by keyframe, bool ``[O, H, W]``, in place of those that the prompts would give; every object
            then has a track of its own.

    Raises:
        VideoError: a frame cannot be read (here or while the frames are iterated over).
    """

    def __init__(
        self,
        segmenter: Segmenter,
        source: FrameSource,
        prompts: np.ndarray,
        procedure: Procedure,
        keyframes: Sequence[int],
        options: SegmentOptions | None = None,
        *,
        given: Mapping[int, np.ndarray] | None = None,
    ) -> None:
        options = options or SegmentOptions()
        self._segmenter, self._source = segmenter, source
        self.keyframes = list(keyframes)
        others = sorted(set(range(len(source))) - set(keyframes))
        self.propagation = Propagation(
            segmenter,
            procedure,
            torch.from_numpy(np.ascontiguousarray(prompts)),
            num_frames=len(source),
            height=source.height,
            width=source.width,
            max_objects=options.max_objects,
        )
        side = None if segmenter.resizes_frames else segmenter.config.image_size
        pictures = _read(source, self.keyframes, others, side)
        batch = options.frames_per_batch
        for index, features in _encoded(segmenter, zip(self.keyframes, pictures, strict=False), batch):
            if given is not None:
                self.propagation.give(index, torch.from_numpy(given[index]))
            self.propagation.add_keyframe(index, features)
        if given is None:
            self.shared_with = self.propagation.share(options.merge_tracks)
            ious = [self.propagation.first_masks(index).ious.amax(1).cpu().numpy() for index in self.keyframes]
            self.keyframe_ious = np.stack(ious)
        else:
            self.shared_with = list(range(len(prompts)))
            self.keyframe_ious = np.ones((len(self.keyframes), len(prompts)), np.float32)
        self.track_of = self.propagation.track_of
        self._tracked = _encoded(segmenter, zip(others, pictures, strict=True), batch)

    def masks(self) -> Iterator[MaskChunk]:
        """Final masks of every distinct track on every frame, in time order.

        However many tracks there are, masks of about :data:`COPYING_BYTES` exist at a time.
        """
        height, width = self._source.height, self._source.width
        per_chunk = max(1, CHUNK_BYTES // (height * width))
        is_cuda = self._segmenter.device.type == "cuda"
        copies: deque[_Copy] = deque()
        for frame in self._frames():
            count = len(frame.logits)
            for start in range(0, count, per_chunk):
                tracks = range(start, min(start + per_chunk, count))
                copies.append(self._copy(frame, tracks))
                while copies and not (
                    is_cuda
                    and frame.index - copies[0].index < FRAMES_BEHIND
                    and sum(copy.nbytes for copy in copies) <= COPYING_BYTES
                ):
                    yield copies.popleft().finish()
        while copies:
            yield copies.popleft().finish()

    def logits(self) -> Iterator[FrameMasks]:
        """Low-resolution logits and memory of every object on every frame, in time order."""
        for frame in self._frames():
            yield frame.rows(self.track_of)

    def _frames(self) -> Iterator[FrameMasks]:
        for index in range(len(self._source)):
            if index in self.propagation.keyframe_indices:
                yield self.propagation.keyframe_masks(index)
            else:
                frame_index, features = next(self._tracked)
                assert frame_index == index
                yield self.propagation.track(index, features)

    @torch.inference_mode()
    def _copy(self, frame: FrameMasks, tracks: range) -> "_Copy":
        """Begin to copy some masks of a frame to the host."""
        rows = slice(tracks.start, tracks.stop)
        presence_T = frame.object_score[rows].sigmoid()
        masks_THW = final_masks(
            frame.logits[rows], self._source.height, self._source.width, self._segmenter.config.image_size
        )
        if masks_THW.device.type == "cpu":
            chunk = MaskChunk(frame.index, tracks, masks_THW.numpy(), presence_T.numpy())
            return _Copy(frame.index, masks_THW.nbytes, lambda: chunk)
        # a GPU turns them column by column, as run lengths are counted, much faster than the host would
        masks_TWH, presence = _pinned(masks_THW.transpose(1, 2).contiguous()), _pinned(presence_T)
        done = torch.cuda.Event()
        done.record()

        def finish() -> MaskChunk:
            done.synchronize()
            return MaskChunk(frame.index, tracks, masks_TWH.numpy().transpose(0, 2, 1), presence.numpy())

        return _Copy(frame.index, masks_TWH.nbytes, finish)


@dataclass(frozen=True)
class _Copy:
    """A copy of masks to the host that has begun; ``finish`` waits for it."""

    index: int
    nbytes: int
    finish: Callable[[], MaskChunk]


def final_masks(logits: Tensor, height: int, width: int, side: int) -> Tensor:
    """Propagated logits ``[T, s, s]`` to masks, bool ``[T, height, width]``."""
    return masks_at(logits, height, width, through=side)


def _pinned(tensor: Tensor) -> Tensor:
    """A copy in pinned host memory, which is complete once the GPU has come to it."""
    copy = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    return copy.copy_(tensor, non_blocking=True)


def _read(
    source: FrameSource, keyframes: Sequence[int], others: Sequence[int], side: int | None
) -> Iterator[np.ndarray]:
    """Keyframes, then the others, which are decoded from before the last keyframe is handed out."""
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
