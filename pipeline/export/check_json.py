"""Checking YouTube-VIS results and COCO annotations: structure, ids, and masks that decode to their own size."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from pipeline.errors import UsageError
from pipeline.masks import compressed
from pipeline.schema import VideoTask
from pipeline.storage import MissingFileError, read_bytes, scrub


def check_youtube_vis(location: str, tasks: Sequence[VideoTask]) -> list[str]:
    """List the faults of a results file (a list) or a dataset file (an object); ids count the manifest's videos from 1.

    Raises:
        UsageError: It is not readable as JSON.
    """
    content = read_json(location)
    if isinstance(content, dict):
        faults = _video_faults(content.get("videos"), tasks)
        records = content.get("annotations")
    else:
        faults, records = [], content
    if not isinstance(records, list):
        return [*faults, "expected a list of results, or an object with 'videos' and 'annotations'"]
    for index, record in enumerate(records):
        where = f"record {index}"
        if not isinstance(record, dict):
            faults.append(f"{where}: not an object")
            continue
        number, masks = record.get("video_id"), record.get("segmentations")
        if type(number) is not int or not 1 <= number <= len(tasks):
            faults.append(f"{where}: video_id {number!r} is none of 1 to {len(tasks)}")
            continue
        frames = tasks[number - 1].frames
        if not isinstance(masks, list) or (frames is not None and len(masks) != len(frames)):
            faults.append(f"{where}: expected one mask or null for each frame of video {tasks[number - 1].video_id!r}")
            continue
        faults += _mask_faults(where, masks)
    return faults


def check_coco(location: str, tasks: Sequence[VideoTask]) -> list[str]:
    """List the faults of a file of per-frame annotations. Raises UsageError when it is not readable as JSON."""
    content = read_json(location)
    images = content.get("images") if isinstance(content, dict) else None
    annotations = content.get("annotations") if isinstance(content, dict) else None
    if not isinstance(images, list) or not isinstance(annotations, list):
        return ["expected an object with 'images' and 'annotations'"]
    known = {image.get("id"): image for image in images if isinstance(image, dict)}
    faults = [] if len(known) == len(images) else ["images without an id, or with the id of another"]
    frames_of_images = {_frame_of(image) for image in known.values()}
    for task in tasks:
        absent = [frame for frame in task.frames or () if (task.video_id, frame) not in frames_of_images]
        faults += [f"no image for frame {frame!r} of video {task.video_id!r}" for frame in absent]
    for index, record in enumerate(annotations):
        where = f"annotation {index}"
        image = known.get(record.get("image_id")) if isinstance(record, dict) else None
        if image is None:
            faults.append(f"{where}: of no image in the file")
            continue
        mask = record.get("segmentation")
        faults += _mask_faults(where, [mask], polygons_allowed=True)
        if isinstance(mask, dict) and mask.get("size") != [image.get("height"), image.get("width")]:
            faults.append(f"{where}: the mask's size is {mask.get('size')}, the image's another")
    return faults


def _frame_of(image: dict[str, Any]) -> tuple[str, str]:
    """Video and frame of an image, from its extra keys, else from its file's path ``VIDEO/FRAME.jpg``."""
    if isinstance(image.get("video_id"), str) and isinstance(image.get("frame"), str):
        return image["video_id"], image["frame"]
    folder, _, name = str(image.get("file_name")).rpartition("/")
    return folder, name.rpartition(".")[0]


def read_json(location: str) -> Any:  # noqa: ANN401 - whatever stands in the file
    """The content of a JSON file. Raises UsageError."""
    try:
        return json.loads(read_bytes(location))
    except MissingFileError as error:
        raise UsageError(str(error)) from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{scrub(location)}: not a JSON file: {error}") from error


def _video_faults(videos: object, tasks: Sequence[VideoTask]) -> list[str]:
    if not isinstance(videos, list):
        return ["'videos' is not a list"]
    numbers = {video.get("id") for video in videos if isinstance(video, dict) and isinstance(video.get("id"), int)}
    return [
        f"video {task.video_id!r} (id {number}) is missing"
        for number, task in enumerate(tasks, start=1)
        if number not in numbers
    ]


def _mask_faults(where: str, masks: Iterable[object], *, polygons_allowed: bool = False) -> list[str]:
    faults = []
    for frame, rle in enumerate(masks):
        if rle is None:
            continue
        try:
            if isinstance(rle, list) and polygons_allowed:
                _check_polygons(rle)
            else:
                compressed(rle)
        except ValueError as error:
            faults.append(f"{where}, mask {frame}: {error}")
    return faults


def _check_polygons(polygons: list[object]) -> None:
    for polygon in polygons:
        if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2 or not _all_numbers(polygon):
            raise ValueError("a polygon must be a list of at least three pairs of numbers")
    if not polygons:
        raise ValueError("an empty list of polygons")


def _all_numbers(values: Iterable[object]) -> bool:
    return all(type(value) in (int, float) for value in values)
