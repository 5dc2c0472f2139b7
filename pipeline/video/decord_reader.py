"""Frames of a video file through decord, the fastest reader of plain files; it checks itself before it is believed."""

import numpy as np

from pipeline.video.container import ContainerFacts

# The two libraries round a container's times differently; frames are further apart than this.
_SAME_TIME_S = 2e-3

# The two libraries bring different FFmpeg builds: a conversion to RGB may differ by a rounding, not by more.
_SAME_PICTURE_MEAN = 2.0

# decord hands out its neighbour for a frame that it cannot decode, unless told that none may be replaced.
_NO_REPLACED_FRAMES = 1e-9


class DecordUnfit(Exception):  # noqa: N818 - not an error of the video: PyAV reads on
    """decord cannot read this file, or says something else about it than the container does."""


class DecordReader:
    """Frames by position, one at a time: decord's batch calls are known to hang at the end of a file."""

    def __init__(self, path: str, facts: ContainerFacts, position: int, expected: np.ndarray) -> None:
        """Open the file and compare what decord says with what is known.

        Args:
            path: Local path.
            facts: What the container says; must be plain.
            position: A frame to compare.
            expected: That frame as another decoder gives it, uint8 ``[H, W, 3]``.

        Raises:
            DecordUnfit: If decord cannot open the file or differs.
        """
        try:
            import decord
        except (ImportError, OSError) as error:
            raise DecordUnfit(f"not usable here: {error}") from error
        self._failures = (decord.DECORDError, RuntimeError, StopIteration, AssertionError)
        decord.logging.set_level(decord.logging.QUIET)
        try:
            self._reader: decord.VideoReader | None = decord.VideoReader(path, fault_tol=_NO_REPLACED_FRAMES)
            count = len(self._reader)
            times = self._reader.get_frame_timestamp(np.arange(count))[:, 0]
        except self._failures as error:
            raise DecordUnfit(_first_line(error)) from error
        if count != facts.count:
            raise DecordUnfit(f"it counts {count} frames, the container holds {facts.count}")
        known = np.asarray(facts.times_s)
        if np.abs((times - times[0]) - (known - known[0])).max() > _SAME_TIME_S:
            raise DecordUnfit("its frame times differ from the container's")
        frame = self.frame(position)
        if frame.shape != expected.shape or np.abs(frame.astype(np.int16) - expected).mean() > _SAME_PICTURE_MEAN:
            raise DecordUnfit("its first frame differs from PyAV's")

    def frame(self, position: int) -> np.ndarray:
        """Decode one frame; the next one comes without seeking.

        Raises:
            DecordUnfit: If decord gives up.
        """
        assert self._reader is not None
        try:
            frame: np.ndarray = self._reader[position].asnumpy()
        except self._failures as error:
            raise DecordUnfit(_first_line(error)) from error
        return frame

    def close(self) -> None:
        """Free the decoder."""
        self._reader = None


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
