"""FiftyOne: a folder that ``fiftyone.Dataset.from_dir`` reads as ``fiftyone.types.FiftyOneDataset``.

A sample is a frame, and its field ``objects`` has a detection with a mask for every object on it. The file is
``samples.json`` alone: where ``metadata.json`` names no version of FiftyOne's database, the importer takes the fields
from the samples, so that the export is not bound to one version. ``--with-frames`` writes the pictures under
``images/``; without it samples refer to the pictures that were annotated, and ``from_dir`` wants ``rel_dir``.
"""

from typing import Any

from pipeline.export.answers import Answers, VideoAnswers
from pipeline.export.fiftyone_masks import detection_mask
from pipeline.export.formats.common import Format, WriteOptions, picture_links
from pipeline.export.frames import FrameWriter
from pipeline.export.json_arrays import JsonArrays, json_arrays
from pipeline.export.names import NameStyle
from pipeline.masks import decode_mask
from pipeline.storage import join

FIELD = "objects"
SAMPLES_FILE = "samples.json"


def write(answers: Answers, output: str, options: WriteOptions) -> int:
    """Write samples, and pictures if they are wanted, into a folder; returns the number of masks."""
    masks = 0
    with (
        json_arrays(join(output, SAMPLES_FILE), ("samples",), {}) as arrays,
        FrameWriter(answers, output, options.with_frames) as pictures,
    ):
        for video in answers.videos():
            if pictures.write(video):
                masks += _add(video, picture_links(video, options), arrays)
    return masks


def _add(video: VideoAnswers, links: list[str], arrays: JsonArrays) -> int:
    """Add the samples of one video; returns the number of their masks."""
    masks = 0
    for index, frame in enumerate(video.frames):
        detections = _detections(video, index)
        masks += len(detections)
        sample = {
            "filepath": links[index],
            "tags": [],
            "metadata": {"_cls": "ImageMetadata", "width": video.width, "height": video.height},
            "video_id": video.video_id,
            "frame": frame,
            "frame_number": index + 1,
            **video.terms(),
            FIELD: {"_cls": "Detections", "detections": detections},
        }
        arrays.add("samples", sample)
    return masks


def _detections(video: VideoAnswers, index: int) -> list[dict[str, Any]]:
    """The objects on one frame; ``index`` of a detection is the number of its track in the video."""
    return [
        {
            "_cls": "Detection",
            "attributes": {},
            "tags": [],
            "label": expression.text,
            **detection_mask(decode_mask(rle)),
            "confidence": track.score,
            "index": number,
            "expression_id": expression.expression_id,
            "object_id": track.object_id,
        }
        for number, (expression, track) in enumerate(video.tracks(), start=1)
        if (rle := track.masks[index]) is not None
    ]


FORMAT = Format(
    name="fiftyone",
    write=write,
    objects=("all",),
    unit="masks",
    names=NameStyle.ESCAPED,
    comes_back=True,
    has_frames=True,
)
