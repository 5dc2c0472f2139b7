"""YouTube-VIS: a dataset file (videos, one annotation per object with its masks over time) and a results file.

``--output x.json`` writes the dataset to ``x.json`` and the results to ``x.results.json``; a folder gets
``dataset.json`` and ``results.json``. There is one category; annotations carry the expression as extra keys.
"""

from collections.abc import Sequence
from typing import Any

from pipeline.export.answers import Answer, Answers, Track, VideoAnswers
from pipeline.export.check_json import check_youtube_vis
from pipeline.export.formats.common import Format, WriteOptions
from pipeline.export.json_arrays import JsonArrays, json_arrays
from pipeline.export.names import NameStyle
from pipeline.masks import areas_and_bboxes
from pipeline.schema import Rle
from pipeline.storage import join

CATEGORIES = [{"id": 1, "name": "object", "supercategory": "object"}]


def locations(output: str) -> tuple[str, str]:
    """Where the dataset and the results go."""
    if output.lower().endswith(".json"):
        return output, output[: -len(".json")] + ".results.json"
    return join(output, "dataset.json"), join(output, "results.json")


def write(answers: Answers, output: str, options: WriteOptions) -> int:
    """Write both files; returns the number of annotations."""
    dataset_file, results_file = locations(output)
    head = {"info": {"description": "sa2va-i-pipeline export"}, "categories": CATEGORIES}
    with (
        json_arrays(results_file, ("results",), None) as results,
        json_arrays(dataset_file, ("licenses", "videos", "annotations"), head) as dataset,
    ):
        licenses = Licenses(dataset)
        for video in answers.videos():
            dataset.add("videos", {**_video(video, options), **licenses.of(video)})
            for answer in video.answers:
                for track in answer.tracks:
                    _add(video, answer, track, dataset, results)
        return dataset.counts["annotations"]


class Licenses:
    """The list ``licenses`` of a file, to which a licence is added when its first video is written."""

    def __init__(self, arrays: JsonArrays) -> None:
        self._arrays = arrays
        self._ids: dict[str, int] = {}

    def of(self, video: VideoAnswers) -> dict[str, int | str]:
        """Keys to add to a record: ``license``, its id, and ``video_source``, as far as they are known."""
        found: dict[str, int | str] = {**video.terms()}
        if video.license is not None:
            if video.license not in self._ids:
                self._ids[video.license] = len(self._ids) + 1
                self._arrays.add("licenses", {"id": self._ids[video.license], "name": video.license, "url": ""})
            found["license"] = self._ids[video.license]
        return found


def _video(video: VideoAnswers, options: WriteOptions) -> dict[str, Any]:
    return {
        "id": video.number + 1,
        "name": video.video_id,
        "width": video.width,
        "height": video.height,
        "length": len(video.frames),
        "file_names": options.file_names.of(video.video_id, video.video, video.frames),
    }


def _add(video: VideoAnswers, answer: Answer, track: Track, dataset: JsonArrays, results: JsonArrays) -> None:
    areas, boxes = _areas_and_boxes(track.masks)
    about = {"expression_id": answer.expression.expression_id, "expression": answer.expression.text}
    score = 1.0 if track.score is None else track.score
    dataset.add(
        "annotations",
        {
            "id": dataset.counts["annotations"] + 1,
            "video_id": video.number + 1,
            "category_id": 1,
            "iscrowd": 0,
            "width": video.width,
            "height": video.height,
            "length": len(video.frames),
            "segmentations": track.masks,
            "areas": areas,
            "bboxes": boxes,
            **about,
            "object_id": track.object_id,
            "score": score,
        },
    )
    results.add(
        "results",
        {"video_id": video.number + 1, "category_id": 1, "score": score, "segmentations": track.masks, **about},
    )


def _areas_and_boxes(masks: Sequence[Rle | None]) -> tuple[list[int | None], list[list[float] | None]]:
    """Per frame, None where the object is absent, as YouTube-VIS has it."""
    areas: list[int | None] = []
    boxes: list[list[float] | None] = []
    for rle in masks:
        (area,), (box,) = areas_and_bboxes([rle])
        areas.append(area or None)
        boxes.append(box)
    return areas, boxes


FORMAT = Format(
    name="youtube-vis",
    write=write,
    check=check_youtube_vis,
    objects=("all", "first", "union"),
    unit="annotations",
    names=NameStyle.FREE,
)
