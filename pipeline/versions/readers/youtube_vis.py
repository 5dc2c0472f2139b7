"""YouTube-VIS datasets, as a tool writes back what ``export --format youtube-vis`` gave it.

Videos carry their id as ``name``, annotations ``expression_id``, ``object_id`` and ``expression``. Frames are known by
the stems of ``file_names``.
"""

import posixpath

from pipeline.errors import UsageError
from pipeline.versions.annotations import Annotations, VideoAnnotation
from pipeline.versions.readers.files import lists_of, mask_field, object_field, optional_text, text_field

DEFAULT_FILE = "dataset.json"


def read(location: str) -> Annotations:
    """Read a JSON file, or ``dataset.json`` of a folder. Raises UsageError."""
    name, videos, records = lists_of(location, DEFAULT_FILE, "videos", "annotations")
    annotations: Annotations = {}
    places: dict[object, tuple[VideoAnnotation, list[str], int, int]] = {}
    for number, video in enumerate(videos):
        video_id = text_field(video, "name", f"{name}: video {number}")
        frames = [posixpath.splitext(posixpath.basename(str(file)))[0] for file in video.get("file_names") or ()]
        annotation = annotations.setdefault(video_id, VideoAnnotation(frames=set(frames)))
        places[video.get("id")] = (annotation, frames, video.get("height"), video.get("width"))
    for number, record in enumerate(records):
        where = f"{name}: annotation {number}"
        expression_id = text_field(record, "expression_id", where)
        place = places.get(record.get("video_id"))
        if place is None:
            raise UsageError(f"{where}: there is no video {record.get('video_id')!r}")
        annotation, frames, height, width = place
        masks = record.get("segmentations")
        if not isinstance(masks, list) or len(masks) != len(frames):
            raise UsageError(f"{where}: expected one mask or null for each of {len(frames)} frames")
        track = annotation.track(expression_id, object_field(record, where))
        track.call(optional_text(record, "expression", where), where)
        for frame, rle in zip(frames, masks, strict=True):
            if rle is not None:
                track.add(frame, mask_field(rle, height, width, where))
    return annotations
