"""COCO instances: every frame an image, every object in it an annotation with its run-length mask.

``--output`` is the file, or a folder that gets ``annotations.json``. There is one category; annotations carry video,
expression and object as extra keys, so that a track can be put together again.
"""

from pipeline.export.answers import Answers, VideoAnswers
from pipeline.export.check_json import check_coco
from pipeline.export.coco_masks import KINDS, written_mask
from pipeline.export.formats.common import Format, WriteOptions
from pipeline.export.formats.youtube_vis import CATEGORIES, Licenses
from pipeline.export.json_arrays import JsonArrays, json_arrays
from pipeline.export.names import NameStyle
from pipeline.masks import areas_and_bboxes
from pipeline.storage import join


def write(answers: Answers, output: str, options: WriteOptions) -> int:
    """Write the file; returns the number of annotations."""
    location = output if output.lower().endswith(".json") else join(output, "annotations.json")
    head = {"info": {"description": "sa2va-i-pipeline export"}, "categories": CATEGORIES}
    with json_arrays(location, ("licenses", "images", "annotations"), head) as arrays:
        licenses = Licenses(arrays)
        for video in answers.videos():
            _add_video(video, arrays, options, licenses.of(video))
        return arrays.counts["annotations"]


def _add_video(video: VideoAnswers, arrays: JsonArrays, options: WriteOptions, terms: dict[str, int | str]) -> None:
    first_image = arrays.counts["images"] + 1
    file_names = options.file_names.of(video.video_id, video.video, video.frames)
    for index, frame in enumerate(video.frames):
        arrays.add(
            "images",
            {
                "id": first_image + index,
                "file_name": file_names[index],
                "width": video.width,
                "height": video.height,
                "video_id": video.video_id,
                "frame": frame,
                **terms,
            },
        )
    for answer in video.answers:
        for track in answer.tracks:
            for index, rle in enumerate(track.masks):
                (area,), (box,) = areas_and_bboxes([rle])
                if rle is None or box is None:
                    continue
                arrays.add(
                    "annotations",
                    {
                        "id": arrays.counts["annotations"] + 1,
                        "image_id": first_image + index,
                        "category_id": 1,
                        "segmentation": written_mask(rle, options.rle),
                        "area": area,
                        "bbox": box,
                        "iscrowd": 0,
                        "video_id": video.video_id,
                        "expression_id": answer.expression.expression_id,
                        "expression": answer.expression.text,
                        "object_id": track.object_id,
                        "score": track.score,
                    },
                )


FORMAT = Format(
    name="coco",
    write=write,
    check=check_coco,
    objects=("all", "first", "union"),
    unit="annotations",
    names=NameStyle.FREE,
    rle=KINDS,
)
