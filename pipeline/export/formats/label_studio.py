"""Label Studio: a task per expression and frame, with a brush mask for every object of it.

Label Studio has masks on images only. ``--output`` is a ``.json`` file or a folder that gets ``tasks.json``; the label
configuration that belongs to it is written beside as ``config.xml`` (``x.config.xml`` for ``x.json``). Tasks link to
pictures: ``--file-names`` says how, ``--with-frames`` writes them under ``images/``.
"""

from typing import Any

from pipeline.export.answers import Answer, Answers, VideoAnswers
from pipeline.export.brush import brush_runs
from pipeline.export.formats.common import Format, WriteOptions, picture_links
from pipeline.export.frames import FrameWriter
from pipeline.export.json_arrays import JsonArrays, json_arrays
from pipeline.export.names import NameStyle
from pipeline.masks import decode_mask
from pipeline.schema import Rle
from pipeline.storage import atomic_write, join

CONTROL, IMAGE = "masks", "image"
_COLOURS = ("#e6194b", "#3cb44b", "#4363d8", "#f58231", "#911eb4", "#46f0f0", "#f032e6", "#bcf60c")


def label_of(object_id: int) -> str:
    """The label of an object of an expression."""
    return f"object {object_id}"


def write(answers: Answers, output: str, options: WriteOptions) -> int:
    """Write tasks, configuration, and pictures if they are wanted; returns the number of tasks."""
    is_file = output.lower().endswith(".json")
    location = output if is_file else join(output, "tasks.json")
    most_objects = 1
    with (
        json_arrays(location, ("tasks",), None) as arrays,
        FrameWriter(answers, None if is_file else output, options.with_frames) as pictures,
    ):
        for video in answers.videos():
            if not pictures.write(video):
                continue
            links = picture_links(video, options)
            for answer in video.answers:
                _add(video, answer, links, arrays)
                most_objects = max(most_objects, *(track.object_id + 1 for track in answer.tracks), 1)
        count = arrays.counts["tasks"]
    config = output[: -len(".json")] + ".config.xml" if is_file else join(output, "config.xml")
    atomic_write(config, label_config(most_objects).encode())
    return count


def label_config(objects: int) -> str:
    """The labeling interface for answers of up to so many objects; one more can be drawn."""
    labels = "".join(
        f'<Label value="{label_of(number)}" background="{_COLOURS[number % len(_COLOURS)]}"/>'
        for number in range(objects + 1)
    )
    return (
        f'<View><Header value="$expression"/><Image name="{IMAGE}" value="${IMAGE}"/>'
        f'<BrushLabels name="{CONTROL}" toName="{IMAGE}">{labels}</BrushLabels></View>\n'
    )


def _add(video: VideoAnswers, answer: Answer, links: list[str], arrays: JsonArrays) -> None:
    """The tasks of one expression; none where it has no object."""
    if not answer.tracks:
        return
    for index, frame in enumerate(video.frames):
        regions = [
            _region(rle, track.object_id, track.score)
            for track in answer.tracks
            if (rle := track.masks[index]) is not None
        ]
        scores = [track.score for track in answer.tracks if track.score is not None]
        prediction = {"model_version": "sa2va-i", "score": max(scores, default=0.0), "result": regions}
        data = {
            IMAGE: links[index],
            "video_id": video.video_id,
            "frame": frame,
            "expression_id": answer.expression.expression_id,
            "expression": answer.expression.text,
            **video.terms(),
        }
        arrays.add("tasks", {"data": data, "predictions": [prediction]})


def _region(rle: Rle, object_id: int, score: float | None) -> dict[str, Any]:
    height, width = rle["size"]
    return {
        "id": f"object-{object_id}",
        "type": "brushlabels",
        "from_name": CONTROL,
        "to_name": IMAGE,
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "score": score,
        "value": {"format": "rle", "rle": brush_runs(decode_mask(rle)), "brushlabels": [label_of(object_id)]},
    }


FORMAT = Format(
    name="label-studio",
    write=write,
    objects=("all",),
    unit="tasks",
    names=NameStyle.ESCAPED,
    comes_back=True,
    has_frames=True,
)
