"""SA-Co/VEval predictions: one JSON list with an entry per masklet; a pair answered with nothing has no entry.

The scorer keeps what has a score of at least 0.5, and another of its metrics what is above 0.5, while our scores rank
tracks and are no probabilities. So everything the dataset holds is kept: scores are written between 0.501 and 1, in the
order of ours. Leave out with ``--reject-below`` what should not count.
"""

from collections.abc import Sequence
from typing import Any

from pipeline.export.answers import Answers, Track
from pipeline.export.check_json import read_json
from pipeline.export.formats.common import Format, WriteOptions
from pipeline.export.json_arrays import json_arrays
from pipeline.export.names import NameStyle
from pipeline.manifest.saco import read_saco, saco_tasks
from pipeline.masks import areas_and_bboxes, compressed
from pipeline.schema import VideoTask
from pipeline.storage import absolute, join, parent

_LOWEST = 0.501


def write(answers: Answers, output: str, options: WriteOptions) -> int:
    """Write the file (a folder gets ``predictions.json``); returns the number of masklets."""
    location = output if output.lower().endswith(".json") else join(output, "predictions.json")
    numbers = {video["video_name"]: video["id"] for video in read_saco(options.manifest)["videos"]}
    with json_arrays(location, ("predictions",), None) as arrays:
        for video in answers.videos():
            for answer in video.answers:
                for track in answer.tracks:
                    if any(track.masks):
                        ids = (numbers[video.video_id], int(answer.expression.expression_id))
                        arrays.add("predictions", _entry(*ids, track))
        return arrays.counts["predictions"]


def _entry(video: int, category: int, track: Track) -> dict[str, Any]:
    areas, boxes = areas_and_bboxes(track.masks)
    return {
        "video_id": video,
        "category_id": category,
        "score": 1.0 if track.score is None else _LOWEST + (1 - _LOWEST) * min(max(track.score, 0.0), 1.0),
        "segmentations": track.masks,
        "bboxes": boxes,
        "areas": [area if rle is not None else None for rle, area in zip(track.masks, areas, strict=True)],
    }


def check(submission: str, tasks: Sequence[VideoTask], manifest: str) -> list[str]:
    """List the faults of a predictions file. Raises UsageError when it is not readable as JSON."""
    content = read_json(submission)
    if not isinstance(content, list):
        return ["expected a list of masklets"]
    if not content:
        return ["an empty list, which the public scorer cannot score"]
    videos = {video["id"]: video for video in read_saco(manifest)["videos"]}
    asked = {(task.video_id, item.expression_id) for task in tasks for item in task.expressions}
    faults = []
    for index, entry in enumerate(content):
        faults += [f"entry {index}: {fault}" for fault in _entry_faults(entry, videos, asked)]
    scores = [entry.get("score") for entry in content if isinstance(entry, dict)]
    if not any(isinstance(score, int | float) and score > 0.5 for score in scores):
        faults.append("no score is above 0.5, so that the public scorer keeps nothing and fails")
    return faults


def _entry_faults(entry: object, videos: dict[int, Any], asked: set[tuple[str, str]]) -> list[str]:
    if not isinstance(entry, dict):
        return ["not an object"]
    video = videos.get(entry["video_id"]) if type(entry.get("video_id")) is int else None
    if video is None:
        return [f"video_id {entry.get('video_id')!r} is not in the annotation file"]
    faults = []
    if (video["video_name"], str(entry.get("category_id"))) not in asked:
        faults.append(f"category_id {entry.get('category_id')!r} is not asked of this video; it counts as false")
    if not isinstance(entry.get("score"), int | float):
        faults.append("has no score")
    length = len(video["file_names"])
    for name in ("segmentations", "bboxes", "areas"):
        values = entry.get(name)
        if not isinstance(values, list) or len(values) != length:
            faults.append(f"{name}: expected a list of {length}, one for each frame")
    for frame, rle in enumerate(entry.get("segmentations") or ()):
        try:
            if rle is not None and compressed(rle)["size"] != [video.get("height"), video.get("width")]:
                faults.append(f"mask {frame}: is of size {rle['size']}, the video of another")
        except ValueError as error:
            faults.append(f"mask {frame}: {error}")
    return faults


def read_manifest(manifest: str) -> list[VideoTask]:
    """The pairs of an annotation file. Raises UsageError."""
    return saco_tasks(read_saco(manifest), parent(absolute(manifest)))


FORMAT = Format(
    name="saco-veval",
    write=write,
    check_against=check,
    objects=("all", "first", "union"),
    unit="masklets",
    names=NameStyle.FREE,
    read_manifest=read_manifest,
)
