"""Open whatever holds a video's frames, in this process."""

from collections.abc import Callable

from pipeline.errors import VideoError
from pipeline.storage import scrub
from pipeline.video.archive import ARCHIVE_SUFFIXES, open_archive
from pipeline.video.folder import FilesystemStore, ImageSource, ImageStore
from pipeline.video.frames import DEFAULT_LIMITS, EVERY_FRAME, FrameSelection, FrameSource, VideoLimits, no_progress
from pipeline.video.images import HEIF_REFUSED, IMAGE_SUFFIXES
from pipeline.video.locations import Place, find
from pipeline.video.videofile import VideoFileSource

_HEIF_SUFFIXES = (".heic", ".heif", ".hif", ".avif")

__all__ = ["FrameSelection", "FrameSource", "VideoLimits", "open_video"]


def open_video(
    location: str,
    selection: FrameSelection = EVERY_FRAME,
    limits: VideoLimits = DEFAULT_LIMITS,
    progress: Callable[[], None] = no_progress,
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
    store = image_store(place, limits, progress)
    if store is None:
        return VideoFileSource(place, selection, limits, progress)
    is_image = not place.is_folder and place.suffix in IMAGE_SUFFIXES
    return ImageSource(location, store, selection, limits, is_image=is_image)


def image_store(place: Place, limits: VideoLimits, progress: Callable[[], None] = no_progress) -> ImageStore | None:
    """The image files of a folder, an archive or a single image; None for anything else, which is a video file.

    Raises:
        VideoError: It is a kind of picture that is not read, or an archive that cannot be read.
    """
    if place.is_folder:
        return FilesystemStore(place, limits)
    if place.file_name.endswith(ARCHIVE_SUFFIXES):
        return open_archive(place, limits, progress)
    if place.suffix in _HEIF_SUFFIXES:
        raise VideoError(f"{scrub(place.location)}: {HEIF_REFUSED}")
    return FilesystemStore(place, limits) if place.suffix in IMAGE_SUFFIXES else None
