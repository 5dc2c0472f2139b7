"""The videos behind a dataset, as far as they can still be found and read."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from types import TracebackType
from typing import Any, Self

import numpy as np

from pipeline.dataset.run_file import annotation_of
from pipeline.errors import StorageError, UsageError, VideoError
from pipeline.manifest import read_manifest, read_tasks
from pipeline.storage import join, list_names
from pipeline.video.frames import FrameSelection
from pipeline.video.isolated import IsolatedDecoder

logger = logging.getLogger(__name__)

DECODE_TIMEOUT_S = 60.0
GROUND = 96
"""Grey of the plain ground where there is no picture."""


class VideoFrames:
    """Frames of videos by id. Decoding happens in a process of its own, which may hang or die.

    Args:
        places: Where each video is.
        problem: Why there are none, if so.
    """

    def __init__(self, places: Mapping[str, str], problem: str | None = None) -> None:
        self.places = dict(places)
        self._problem = problem
        self._decoder = IsolatedDecoder(timeout_s=DECODE_TIMEOUT_S)

    def read(self, video_id: str, names: Sequence[str], size: tuple[int, int]) -> Iterator[np.ndarray]:
        """Yield frames by name, uint8 RGB ``[height, width, 3]``; only these are decoded.

        Args:
            video_id: The video.
            names: Frame names as in the dataset.
            size: Height and width that the masks have.

        Raises:
            VideoError: It cannot be found or read, or is not of that size; maybe only after some frames.
        """
        place = self.places.get(video_id)
        if place is None:
            raise VideoError(self._problem or "the manifest has no such video")
        yield from self.read_at(place, names, size)

    def read_at(self, place: str, names: Sequence[str], size: tuple[int, int]) -> Iterator[np.ndarray]:
        """:meth:`read`, of a video at a known location."""
        with self._decoder.open(place, FrameSelection(frames=tuple(names))) as source:
            if (source.height, source.width) != size:
                raise VideoError(
                    f"{place}: is {source.width}x{source.height} pixels, its masks are {size[1]}x{size[0]}"
                )
            yield from source.read(range(len(source)))

    def close(self) -> None:
        """End the decoder's process; harmless when repeated."""
        self._decoder.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def find_video_frames(run: dict[str, Any], manifest: str | None = None, videos: str | None = None) -> VideoFrames:
    """Find the videos of a dataset.

    By the manifest given or, without one, the manifest that ``run.json`` names; where that is gone, by files and
    folders directly under ``videos`` that are called like the video.

    Args:
        run: The content of ``run.json``, may be empty.
        manifest: A manifest.
        videos: The folder that relative paths start from.

    Raises:
        UsageError: The manifest given, or the folder, cannot be read. One named in ``run.json`` may be gone.
    """
    configuration = annotation_of(run)
    try:
        if manifest is not None:
            tasks = read_manifest(manifest, videos=videos)
        else:  # the dataset may hold more than the last run was limited to
            tasks = read_tasks({**configuration, "limit": None}, videos=videos)
        return VideoFrames({task.video_id: task.video for task in tasks})
    except (UsageError, StorageError) as error:
        if manifest is not None:
            raise
        problem = f"{error}; name the manifest with --manifest"
    if videos is None:
        logger.info("no videos: %s", problem)
        return VideoFrames({}, problem)
    try:
        names = list_names(videos)
    except StorageError as error:
        raise UsageError(f"--videos: {error}") from error
    by_stem = {PurePosixPath(name).stem: join(videos, name) for name in names}
    whole = {name: join(videos, name) for name in names}
    return VideoFrames(by_stem | whole, f"nothing of this name in {videos}")


def grey_picture(size: tuple[int, int]) -> np.ndarray:
    """A grey picture, uint8 RGB ``[height, width, 3]``."""
    return np.full((*size, 3), GROUND, np.uint8)
