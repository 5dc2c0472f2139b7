"""Files of annotation tools: which one is meant, and its content."""

import json
from typing import Any

from pipeline.errors import AccessDeniedError, UsageError
from pipeline.masks import compressed
from pipeline.schema import Rle
from pipeline.storage import MissingFileError, absolute, join, read_bytes, scrub


def content_of(location: str, default: str) -> tuple[str, bytes]:
    """Name and content of a file, or of the file called ``default`` in a folder. Raises UsageError."""
    suffix = default[default.rindex(".") :]
    file = absolute(location) if location.lower().endswith(suffix) else join(absolute(location), default)
    try:
        return scrub(file), read_bytes(file)
    except (MissingFileError, AccessDeniedError) as error:
        raise UsageError(f"--annotations: {error}") from error


def json_of(location: str, default: str) -> tuple[str, Any]:
    """Name and content of a JSON file. Raises UsageError."""
    name, content = content_of(location, default)
    try:
        return name, json.loads(content)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{name}: not readable as JSON ({error})") from error


def lists_of(location: str, default: str, first: str, second: str) -> tuple[str, list[Any], list[Any]]:
    """Name of a JSON file, and the two lists that its object has under these keys. Raises UsageError."""
    name, content = json_of(location, default)
    found = (content.get(first), content.get(second)) if isinstance(content, dict) else (None, None)
    if not isinstance(found[0], list) or not isinstance(found[1], list):
        raise UsageError(f"{name}: must be an object with {first!r} and {second!r}")
    return name, found[0], found[1]


def text_field(record: Any, key: str, where: str) -> str:  # noqa: ANN401 - whatever stood in a file
    """A text of a JSON object. Raises UsageError."""
    value = record.get(key) if isinstance(record, dict) else None
    if not isinstance(value, str):
        raise UsageError(
            f"{where}: has no {key}, so the row it belongs to is not known; tools must keep what the export wrote there"
        )
    return value


def optional_text(record: Any, key: str, where: str) -> str | None:  # noqa: ANN401
    """A text of a JSON object; None where there is none. Raises UsageError."""
    return None if record.get(key) is None else text_field(record, key, where)


def object_field(record: Any, where: str) -> int | None:  # noqa: ANN401
    """The object id of a JSON object; None where there is none. Raises UsageError."""
    value = record.get("object_id") if isinstance(record, dict) else None
    if value is not None and (type(value) is not int or value < 0):
        raise UsageError(f"{where}: object_id is {value!r}; it must be a whole number of at least 0")
    return value


def mask_field(segmentation: Any, height: int, width: int, where: str) -> Rle:  # noqa: ANN401
    """A mask in any of COCO's forms: compressed or uncompressed run lengths, or polygons. Raises UsageError."""
    try:
        if isinstance(segmentation, list):
            return _from_polygons(segmentation, height, width)
        return compressed(segmentation)
    except (ValueError, TypeError) as error:
        raise UsageError(f"{where}: {error}") from error


def _from_polygons(polygons: list[Any], height: int, width: int) -> Rle:
    from pycocotools import mask as coco

    if not all(isinstance(item, list) and len(item) >= 6 and len(item) % 2 == 0 for item in polygons) or not polygons:
        raise ValueError("segmentation must be a list of polygons, each of at least three points")
    union = coco.merge(coco.frPyObjects([[float(value) for value in item] for item in polygons], height, width))
    return Rle(size=[height, width], counts=union["counts"].decode("ascii"))
