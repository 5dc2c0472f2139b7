"""Label Studio's JSON export of tasks that came from our export.

A task that nobody annotated changes nothing. Of several annotations of one task the last one that was not cancelled
counts.
"""

from collections.abc import Iterator
from typing import Any

from pipeline.errors import UsageError
from pipeline.export.brush import brush_mask
from pipeline.masks import MAX_PIXELS, encode_masks
from pipeline.schema import Rle
from pipeline.versions.annotations import Annotations, VideoAnnotation
from pipeline.versions.readers.files import json_of, text_field

DEFAULT_FILE = "tasks.json"
_LABEL = "object "


def read(location: str) -> Annotations:
    """Read a JSON file, or ``tasks.json`` of a folder. Raises UsageError."""
    name, tasks = json_of(location, DEFAULT_FILE)
    if not isinstance(tasks, list):
        raise UsageError(f"{name}: must be a list of tasks; export from Label Studio as JSON, not JSON-MIN")
    annotations: Annotations = {}
    for number, task in enumerate(tasks):
        _add_task(annotations, task, f"{name}: task {number}")
    return annotations


def _add_task(annotations: Annotations, task: Any, where: str) -> None:  # noqa: ANN401 - whatever stood in a file
    data = task.get("data") if isinstance(task, dict) else None
    video_id, frame, expression_id = (text_field(data, key, where) for key in ("video_id", "frame", "expression_id"))
    result = _result(task, where)
    if result is None:
        return
    video = annotations.setdefault(video_id, VideoAnnotation())
    video.frames_of.setdefault(expression_id, set()).add(frame)
    for object_id, rle in _masks(result, where):
        video.track(expression_id, object_id).add(frame, rle)


def _result(task: dict[str, Any], where: str) -> list[Any] | None:
    """The regions of the annotation that counts; None where there is none."""
    done = task.get("annotations") or []
    if not isinstance(done, list) or not all(isinstance(item, dict) for item in done):
        raise UsageError(f"{where}: annotations must be a list of objects")
    valid = [item for item in done if not item.get("was_cancelled")]
    if not valid:
        return None
    last = max(valid, key=lambda item: (str(item.get("updated_at") or ""), item.get("id") or 0))
    result = last.get("result")
    if not isinstance(result, list):
        raise UsageError(f"{where}: an annotation has no result")
    return result


def _masks(result: list[Any], where: str) -> Iterator[tuple[int, Rle]]:
    """Objects and their masks; several strokes of one label are several masks."""
    for region in result:
        if not isinstance(region, dict) or region.get("type") != "brushlabels":
            continue
        value = region.get("value") or {}
        labels = value.get("brushlabels") or []
        if len(labels) != 1:
            raise UsageError(f"{where}: a region must have one label, it has {labels}")
        height, width = region.get("original_height"), region.get("original_width")
        if type(height) is not int or type(width) is not int or not 0 < height * width <= MAX_PIXELS:
            raise UsageError(f"{where}: a region does not say the size of its picture")
        try:
            mask = brush_mask(value.get("rle") or [], height, width)
        except ValueError as error:
            raise UsageError(f"{where}: {error}") from error
        rle = encode_masks(mask[None])[0]
        if rle is not None:
            yield _object_id(labels[0], where), rle


def _object_id(label: object, where: str) -> int:
    text = str(label)
    number = text.removeprefix(_LABEL)
    if not text.startswith(_LABEL) or not number.isdecimal():
        raise UsageError(f"{where}: its label is {text!r}; labels are called 'object 0', 'object 1', ...")
    return int(number)
