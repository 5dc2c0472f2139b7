"""Video files: decord where it is known to be right, PyAV everywhere else."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from pipeline.storage import scrub
from pipeline.video.container import inspect_container
from pipeline.video.decord_reader import DecordReader, DecordUnfit
from pipeline.video.frames import BaseSource, FrameSelection, VideoLimits
from pipeline.video.images import check_not_heif
from pipeline.video.locations import LocalCopy, Place
from pipeline.video.pyav_reader import PyavReader
from pipeline.video.resize import resize

logger = logging.getLogger(__name__)


class VideoFileSource(BaseSource):
    """The frames of a video file, named by their zero-padded index in it.

    Frames come out as players show them: edit lists, rotation and mirroring are applied, non-square pixels are not
    stretched, high dynamic range is not tone-mapped. A damaged packet that the decoder conceals is let pass, a frame it
    cannot give at all is an error. Where a recording changes its resolution, its frames are scaled to the size of the
    first one used, and ``note`` says so from the first scaled frame on.
    """

    def __init__(
        self, place: Place, selection: FrameSelection, limits: VideoLimits, progress: Callable[[], None]
    ) -> None:
        """Inspect the file, choose its frames and a decoder, and decode the first frame.

        Raises:
            VideoError: If it is no whole, readable video within ``limits``.
        """
        self._limits = limits
        with ExitStack() as stack:
            copy = LocalCopy(place, limits, progress)
            stack.callback(copy.close)
            with Path(copy.path).open("rb") as file:
                check_not_heif(file.read(64), scrub(place.location))
            facts = inspect_container(copy.path, place.location, limits, progress)
            names = [f"{index:05d}" for index in range(facts.count)]
            self._positions = selection.apply(names, place.location)
            self._pyav = PyavReader(copy.path, place.location, facts)
            stack.callback(self._pyav.close)
            first = self._pyav.frame(self._positions[0])
            limits.check_size(first.shape[1], first.shape[0], place.location)
            self._decord: DecordReader | None = None
            if facts.is_plain and self._pyav.orientation.is_rotation:  # decord turns pictures, it does not mirror
                try:
                    self._decord = DecordReader(copy.path, facts, self._positions[0], first)
                    stack.callback(self._decord.close)
                    self._pyav.close()
                except DecordUnfit as reason:
                    logger.info("%s: read with PyAV instead of decord (%s)", place.location, reason)
            self._resources = stack.pop_all()
        super().__init__(
            place.location, [names[position] for position in self._positions], first.shape[1], first.shape[0]
        )

    def _frames(self, indices: Sequence[int]) -> Iterator[np.ndarray]:
        for index in indices:
            yield self._frame(self._positions[index])

    def _frame(self, position: int) -> np.ndarray:
        frame = self._decoded(position)
        height, width = frame.shape[:2]
        if (height, width) == (self.height, self.width):
            return frame
        if self.note is None:
            self.note = f"Note: the recording changes its resolution; frames were scaled to {self.width}x{self.height}"
            logger.info("%s: %s", scrub(self.location), self.note)
        self._limits.check_size(width, height, scrub(self.location))
        return resize(frame, width=self.width, height=self.height)

    def _decoded(self, position: int) -> np.ndarray:
        if self._decord is not None:
            try:
                return self._decord.frame(position)
            except DecordUnfit as reason:
                logger.warning("%s: reading on with PyAV from frame %d (decord: %s)", self.location, position, reason)
                self._decord.close()
                self._decord = None
        return self._pyav.frame(position)

    def close(self) -> None:
        """Close the decoders and remove a fetched copy."""
        self._resources.close()
