"""Frames of a video file through PyAV (FFmpeg): slower than decord, right on everything FFmpeg can play."""

from bisect import bisect_right
from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING

import numpy as np

from pipeline.errors import VideoError
from pipeline.video.container import ContainerFacts, decoded_frames, open_container
from pipeline.video.display_matrix import AS_STORED, orientation_of

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

# Seeking empties the decoder's pipeline; for a gap shorter than this many frames decoding through is faster.
_WORTH_SEEKING_FRAMES = 16


class PyavReader:
    """Frames by position: checked against the container's times where those are reliable, counted elsewhere."""

    def __init__(self, path: str, location: str, facts: ContainerFacts) -> None:
        self._path = path
        self._location = location
        self._facts = facts
        self._stack = ExitStack()
        self._frames: Iterator[VideoFrame] | None = None
        self._is_careful = not facts.pts  # without times the order is all there is: no frame may get lost
        self._next = 0  # position of the frame that comes next, once the decoder has given the one before
        self._current: tuple[int, np.ndarray] | None = None
        self.orientation = AS_STORED  # of the frame decoded last

    def frame(self, position: int) -> np.ndarray:
        """Decode one frame; ascending positions go on from the last.

        Raises:
            VideoError: If the file does not give this frame.
        """
        import av

        if self._current is not None and self._current[0] == position:
            return self._current[1].copy()
        where = f"{self._location}: frame {position} of {self._facts.count}"
        try:
            self._go_near(position)
            found = self._decode_to(position)
            if found is None:  # a seek may land late: from the beginning and one by one there is no doubt
                self._is_careful = True
                self._restart()
                found = self._decode_to(position)
        except av.error.FFmpegError as error:
            raise VideoError(f"{where} cannot be read ({error.strerror})") from error
        if found is None:
            raise VideoError(f"{where} cannot be decoded; the file is damaged there")
        self.orientation = orientation_of(found)
        pixels = self.orientation.apply(found.to_ndarray(format="rgb24"))
        self._current = (position, pixels)
        return pixels.copy()

    def _go_near(self, position: int) -> None:
        """Bring the decoder to a place before ``position``, by seeking where it pays."""
        syncs = self._facts.sync_frames
        sync = syncs[bisect_right(syncs, position) - 1] if syncs and syncs[0] <= position else 0
        is_ahead = self._frames is not None and self._next <= position
        if is_ahead and sync - self._next < _WORTH_SEEKING_FRAMES:
            return
        self._restart()
        if sync:
            self._container.seek(self._facts.pts[sync], stream=self._stream, backward=True)
            self._next = sync

    def _restart(self) -> None:
        self._stack.close()
        self._container, self._stream = self._stack.enter_context(open_container(self._path, self._location))
        self._frames = decoded_frames(self._container, self._stream, is_careful=self._is_careful)
        self._next = 0

    def _decode_to(self, position: int) -> "VideoFrame | None":
        assert self._frames is not None
        for frame in self._frames:
            if not self._facts.pts:
                self._next += 1
                if self._next > position:
                    return frame
            elif frame.pts is not None and frame.pts >= self._facts.pts[position]:
                # Too late a frame means that the wanted one is missing.
                self._next = position + 1 if frame.pts == self._facts.pts[position] else self._facts.count
                return frame if frame.pts == self._facts.pts[position] else None
        self._frames = None
        return None

    def close(self) -> None:
        """Close the file."""
        self._stack.close()
        self._frames = None
