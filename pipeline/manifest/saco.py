"""The annotation file of SA-Co/VEval as a manifest: one expression per (video, noun phrase) pair that is asked."""

import json
import posixpath
from typing import Any

from pipeline.errors import UsageError
from pipeline.schema import Expression, VideoTask
from pipeline.storage import MissingFileError, join, read_bytes, scrub

PAIRS = "video_np_pairs"


def is_saco(content: object) -> bool:
    """Whether the content of a JSON file is such an annotation file, or one without its annotations."""
    return (
        isinstance(content, dict) and isinstance(content.get(PAIRS), list) and isinstance(content.get("videos"), list)
    )


def read_saco(location: str) -> dict[str, Any]:
    """The content of an annotation file, checked as far as tasks need it.

    Raises:
        UsageError: It is no such file.
    """
    try:
        content = json.loads(read_bytes(location))
    except MissingFileError as error:
        raise UsageError(str(error)) from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{scrub(location)}: not a JSON file: {error}") from error
    if not is_saco(content):
        raise UsageError(f"{scrub(location)}: not an annotation file of SA-Co/VEval: no videos and {PAIRS} in it")
    try:
        for video in content["videos"]:
            if not (type(video["id"]) is int and video["file_names"] and isinstance(video["video_name"], str)):
                raise UsageError(f"{scrub(location)}: a video without id, video_name or file_names")
        known = {video["id"] for video in content["videos"]}
        for pair in content[PAIRS]:
            if pair["video_id"] not in known or not isinstance(pair["noun_phrase"], str):
                raise UsageError(f"{scrub(location)}: {PAIRS} names video {pair['video_id']!r}, which is not in it")
    except (KeyError, TypeError) as error:
        raise UsageError(f"{scrub(location)}: not an annotation file of SA-Co/VEval: {error} is missing") from error
    return content


def saco_tasks(content: dict[str, Any], pictures: str) -> list[VideoTask]:
    """One task per video: its id is ``video_name``, its expressions are the noun phrases, by category id.

    Args:
        content: Of :func:`read_saco`.
        pictures: Folder that ``file_names`` start from.
    """
    phrases: dict[int, dict[str, str]] = {}
    for pair in content[PAIRS]:
        phrases.setdefault(pair["video_id"], {})[str(pair["category_id"])] = pair["noun_phrase"]
    return [
        VideoTask(
            video_id=video["video_name"],
            video=join(pictures, posixpath.dirname(video["file_names"][0])),
            expressions=tuple(
                Expression(expression_id=key, text=text) for key, text in phrases.get(video["id"], {}).items()
            ),
            frames=tuple(posixpath.splitext(posixpath.basename(name))[0] for name in video["file_names"]),
        )
        for video in content["videos"]
        if video["id"] in phrases
    ]
