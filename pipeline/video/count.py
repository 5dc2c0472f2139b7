"""How many frames of a video would be used, by its list of files or its container's header; nothing is decoded."""

from pipeline.errors import VideoError
from pipeline.storage import scrub
from pipeline.video.container import video_stream
from pipeline.video.folder import named_paths
from pipeline.video.frames import DEFAULT_LIMITS, FrameSelection, VideoLimits
from pipeline.video.images import check_not_heif
from pipeline.video.locations import Place, find, storage_errors
from pipeline.video.source import image_store

_HEAD_BYTES = 64


def count_frames(location: str, selection: FrameSelection, limits: VideoLimits = DEFAULT_LIMITS) -> int:
    """Frames that reading ``location`` with ``selection`` would give; an estimate where a header states no number.

    Raises:
        VideoError: It cannot be opened, or lacks frames that ``selection`` names.
        NodeError, StorageUnavailableError, AccessDeniedError: As :func:`pipeline.video.source.open_video`.
    """
    place = find(location)
    store = image_store(place, limits)
    if store is not None:
        try:
            names = list(named_paths(location, store.sizes(), limits))
        finally:
            store.close()
        return len(selection.apply(names, location))
    count, is_stated = _frames_by_header(place)
    if selection.frames is not None and not is_stated:
        return len(selection.frames[:: selection.frame_stride][: selection.max_frames])
    return len(selection.apply([f"{index:05d}" for index in range(count)], location))


def _frames_by_header(place: Place) -> tuple[int, bool]:
    """The number that the container states and True, or its duration times its rate and False."""
    import av

    shown = scrub(place.location)
    with storage_errors(place.location), place.open() as file:
        check_not_heif(file.read(_HEAD_BYTES), shown)
        file.seek(0)
        try:
            with av.open(file, "r") as container:
                stream = video_stream(container, shown)
                if stream.frames:
                    return int(stream.frames), True
                if stream.duration is not None and stream.time_base is not None:
                    seconds = float(stream.duration * stream.time_base)
                else:
                    seconds = (container.duration or 0) / av.time_base
                return max(1, round(seconds * float(stream.average_rate or 25))), False
        except av.error.FFmpegError as error:
            raise VideoError(f"{shown}: is not a readable video ({error.strerror})") from error
