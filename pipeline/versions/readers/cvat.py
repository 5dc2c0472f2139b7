"""CVAT for images 1.1, as CVAT exports a task that was made from our export."""

import io
import posixpath
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree as ET

import numpy as np

from pipeline.errors import UsageError
from pipeline.masks import MAX_PIXELS, encode_masks
from pipeline.schema import Rle
from pipeline.versions.annotations import Annotations, VideoAnnotation
from pipeline.versions.readers.files import content_of

DEFAULT_FILE = "annotations.xml"


def read(location: str) -> Annotations:
    """Read an XML file, or ``annotations.xml`` of a folder. Raises UsageError."""
    name, content = content_of(location, DEFAULT_FILE)
    if b"<!DOCTYPE" in content[:4096] or b"<!ENTITY" in content:
        raise UsageError(f"{name}: declares a document type, which CVAT never writes; refused")
    annotations: Annotations = {}
    try:
        for _, element in ET.iterparse(io.BytesIO(content)):  # noqa: S314 - no entities, checked above
            if element.tag == "image":
                _add_image(annotations, element, name)
                element.clear()
            elif element.tag == "track":
                raise UsageError(f"{name}: has tracks; export it from CVAT as 'CVAT for images 1.1'")
    except ET.ParseError as error:
        raise UsageError(f"{name}: not readable as XML ({error})") from error
    if not annotations:
        raise UsageError(f"{name}: has no images")
    return annotations


def _add_image(annotations: Annotations, image: ET.Element, file: str) -> None:
    picture = image.get("name", "")
    where = f"{file}: image {picture!r}"
    folder, base = posixpath.split(picture)
    if not folder:
        raise UsageError(f"{where}: must be called VIDEO/FRAME.jpg, as the export names it")
    video = annotations.setdefault(unquote(folder), VideoAnnotation())
    frame = unquote(posixpath.splitext(base)[0])
    video.frames.add(frame)
    height, width = _number(image, "height", where), _number(image, "width", where)
    if not 0 < height * width <= MAX_PIXELS:
        raise UsageError(f"{where}: its size is {width}x{height}")
    for mask in image.findall("mask"):
        _add_mask(video, frame, mask, _mask(mask, height, width, where), where)
    other = next((shape.tag for shape in image if shape.tag not in ("mask", "tag")), None)
    if other is not None:
        raise UsageError(f"{where}: has a {other}; only masks can be taken back, convert it to a mask in CVAT")


def _add_mask(video: VideoAnnotation, frame: str, mask: ET.Element, rle: Rle | None, where: str) -> None:
    values = {item.get("name"): item.text or "" for item in mask.findall("attribute")}
    text, expression_id, object_id = (values.get(name, "") for name in ("expression", "expression_id", "object_id"))
    if not expression_id:  # drawn anew: one object a text and group
        if not text:
            raise UsageError(f"{where}: a mask has neither expression_id nor expression; give it the text of one")
        track = video.track(f"{text} ({mask.get('group_id') or 0})", None)
    else:
        if object_id and not object_id.isdecimal():
            raise UsageError(f"{where}: object_id is {object_id!r}; it must be a whole number")
        track = video.track(unquote(expression_id), int(object_id) if object_id else None)
    track.call(text, where)
    if rle is not None:
        track.add(frame, rle)


def _mask(mask: ET.Element, height: int, width: int, where: str) -> Rle | None:
    left, top, inner_width, inner_height = (_number(mask, key, where) for key in ("left", "top", "width", "height"))
    try:
        runs = [int(run) for run in (mask.get("rle") or "").split(",")]
    except ValueError as error:
        raise UsageError(f"{where}: a mask's rle is not a list of numbers") from error
    fits = left + inner_width <= width and top + inner_height <= height and min(left, top, *runs) >= 0
    if not fits or sum(runs) != inner_width * inner_height:
        raise UsageError(f"{where}: a mask's runs do not fill its box, or the box leaves the picture")
    values = np.arange(len(runs)) % 2 == 1
    full = np.zeros((1, height, width), np.bool_)
    inside = np.repeat(values, runs).reshape(inner_height, inner_width)
    full[0, top : top + inner_height, left : left + inner_width] = inside
    return encode_masks(full)[0]


def _number(element: Any, key: str, where: str) -> int:  # noqa: ANN401
    try:
        return int(float(element.get(key)))
    except (TypeError, ValueError) as error:
        raise UsageError(f"{where}: {key} is {element.get(key)!r}; it must be a number") from error
