"""FiftyOne datasets that came from our export, as ``dataset.export`` writes them in ``types.FiftyOneDataset``.

Samples carry ``video_id`` and ``frame``, detections ``expression_id`` and ``object_id``; a detection without them is an
object that was drawn anew, with its label as expression and its ``index`` as what holds it together.
"""

from typing import Any

from pipeline.errors import UsageError
from pipeline.export.fiftyone_masks import picture_mask
from pipeline.export.formats.fiftyone import FIELD, SAMPLES_FILE
from pipeline.masks import MAX_PIXELS, encode_masks
from pipeline.versions.annotations import Annotations, VideoAnnotation
from pipeline.versions.readers.files import json_of, object_field, text_field


def read(location: str) -> Annotations:
    """Read a JSON file, or ``samples.json`` of a folder. Raises UsageError."""
    name, content = json_of(location, SAMPLES_FILE)
    samples = content.get("samples") if isinstance(content, dict) else None
    if not isinstance(samples, list):
        raise UsageError(f"{name}: must be an object with 'samples'; export from FiftyOne as FiftyOneDataset")
    annotations: Annotations = {}
    for number, sample in enumerate(samples):
        where = f"{name}: sample {number}"
        video = annotations.setdefault(text_field(sample, "video_id", where), VideoAnnotation())
        frame = text_field(sample, "frame", where)
        video.frames.add(frame)
        height, width = _size(sample, where)
        for detection in _detections(sample, where):
            _add(video, frame, detection, height, width, where)
    return annotations


def _detections(sample: dict[str, Any], where: str) -> list[Any]:
    if FIELD not in sample:
        raise UsageError(f"{where}: has no field {FIELD!r}, which the export wrote")
    found = sample[FIELD]
    if found is None:
        return []
    detections = found.get("detections") if isinstance(found, dict) else None
    if not isinstance(detections, list):
        raise UsageError(f"{where}: field {FIELD!r} must hold detections")
    return detections


def _size(sample: dict[str, Any], where: str) -> tuple[int, int]:
    metadata = sample.get("metadata")
    values = metadata if isinstance(metadata, dict) else {}
    height, width = values.get("height"), values.get("width")
    if type(height) is not int or type(width) is not int or not 0 < height * width <= MAX_PIXELS:
        raise UsageError(f"{where}: its metadata do not say the size; call dataset.compute_metadata() before exporting")
    return height, width


def _add(video: VideoAnnotation, frame: str, detection: Any, height: int, width: int, where: str) -> None:  # noqa: ANN401
    label = text_field(detection, "label", where)
    if detection.get("expression_id") is None:  # drawn anew: one object a text and index
        track = video.track(f"{label} ({detection.get('index') or 0})", None)
    else:
        track = video.track(text_field(detection, "expression_id", where), object_field(detection, where))
    track.call(label, where)
    try:
        mask = picture_mask(detection.get("bounding_box"), detection.get("mask"), height, width)
    except ValueError as error:
        raise UsageError(f"{where}: {error}") from error
    rle = encode_masks(mask[None])[0]
    if rle is not None:
        track.add(frame, rle)
