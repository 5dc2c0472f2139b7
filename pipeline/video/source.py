"""Open whatever holds a video's frames, in this process."""

from collections.abc import Callable

from pipeline.errors import VideoError
from pipeline.storage import scrub
from pipeline.video.archive import ARCHIVE_SUFFIXES, open_archive
from pipeline.video.folder import FilesystemStore, ImageSource
from pipeline.video.frames import DEFAULT_LIMITS, EVERY_FRAME, FrameSelection, FrameSource, VideoLimits
from pipeline.video.images import IMAGE_SUFFIXES
from pipeline.video.locations import find
from pipeline.video.videofile import VideoFileSource

_HEIF_SUFFIXES = (".heic", ".heif", ".hif", ".avif")
"""FFmpeg's video reader would give the first tile, or a plane of transparency or depth, as if it were the picture."""

__all__ = ["FrameSelection", "FrameSource", "VideoLimits", "open_video"]


def _no_progress() -> None:
    """Nobody is watching."""


def open_video(
    location: str,
    selection: FrameSelection = EVERY_FRAME,
    limits: VideoLimits = DEFAULT_LIMITS,
    progress: Callable[[], None] = _no_progress,
) -> FrameSource:
    """Open a video file, a folder or archive (zip, tar) of frame images, or a single image.

    A file is what its extension says; one that is neither image nor archive is taken for a video. Remote video files
    are fetched to a temporary file, folders and archives are read in place.

    Example:
        >>> with open_video("clip.mp4", FrameSelection(frame_stride=5)) as source:
        ...     for name, frame in zip(source.frame_names, source.read(range(len(source)), side=1024)):
        ...         print(name, frame.shape)

    Args:
        location: Local path or fsspec URL.
        selection: Which frames to use.
        limits: What to refuse.
        progress: Called now and then while opening makes headway.

    Returns:
        The source; close it after use.

    Raises:
        VideoError: If it cannot be read; the message names the file and the cause.
    """
    place = find(location)
    if place.is_folder:
        return ImageSource(location, FilesystemStore(place), selection, limits)
    if place.file_name.endswith(ARCHIVE_SUFFIXES):
        return ImageSource(location, open_archive(place, limits), selection, limits)
    if place.suffix in _HEIF_SUFFIXES:
        raise VideoError(
            f"{scrub(location)}: HEIC, HEIF and AVIF pictures are not read; convert it to PNG or JPEG first"
        )
    if place.suffix in IMAGE_SUFFIXES:
        return ImageSource(location, FilesystemStore(place), selection, limits, is_image=True)
    return VideoFileSource(place, selection, limits, progress)
