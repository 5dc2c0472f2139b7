"""COCO annotations of frames, as a tool writes back what ``export --format coco`` gave it.

Images carry ``video_id`` and ``frame``, annotations ``expression_id``, ``object_id`` and ``expression``. Masks may be
compressed or uncompressed run lengths, or polygons.
"""

from typing import Any

from pipeline.errors import UsageError
from pipeline.versions.annotations import Annotations, VideoAnnotation
from pipeline.versions.readers.files import lists_of, mask_field, object_field, optional_text, text_field

DEFAULT_FILE = "annotations.json"


def read(location: str) -> Annotations:
    """Read a JSON file, or ``annotations.json`` of a folder. Raises UsageError."""
    name, images, records = lists_of(location, DEFAULT_FILE, "images", "annotations")
    annotations: Annotations = {}
    places: dict[Any, tuple[VideoAnnotation, str, int, int]] = {}
    for number, image in enumerate(images):
        where = f"{name}: image {number}"
        video = annotations.setdefault(text_field(image, "video_id", where), VideoAnnotation())
        frame = text_field(image, "frame", where)
        video.frames.add(frame)
        places[image.get("id")] = (video, frame, image.get("height"), image.get("width"))
    for number, record in enumerate(records):
        where = f"{name}: annotation {number}"
        expression_id = text_field(record, "expression_id", where)
        place = places.get(record.get("image_id"))
        if place is None:
            raise UsageError(f"{where}: there is no image {record.get('image_id')!r}")
        video, frame, height, width = place
        track = video.track(expression_id, object_field(record, where))
        track.call(optional_text(record, "expression", where), where)
        track.add(frame, mask_field(record.get("segmentation"), height, width, where))
    return annotations
