"""Sa2VA's own fine-tuning data: ``annotations.json`` beside ``images/``, pictures with sentences and a mask for each.

Sa2VA fine-tunes on pictures, so evenly spread frames of each video are taken (``--frames-per-video``). Masks are
uncompressed run lengths, which its loader reads exactly, holes included; polygons would lose them. A frame that does
not show what a sentence names is left out: the loader would train an empty mask as a positive answer.
"""

from pipeline.export.answers import Answers, VideoAnswers
from pipeline.export.formats.common import Format, WriteOptions
from pipeline.export.frames import FrameWriter, evenly_spread, picture_name
from pipeline.export.json_arrays import json_arrays
from pipeline.export.names import NameStyle
from pipeline.masks import run_lengths
from pipeline.storage import join

FRAMES_PER_VIDEO = 5


def write(answers: Answers, output: str, options: WriteOptions) -> int:
    """Write annotations and pictures into a folder; returns the number of pairs of a sentence and a mask."""
    count = options.frames_per_video or FRAMES_PER_VIDEO
    pairs = 0
    with (
        json_arrays(join(output, "annotations.json"), ("pictures",), None) as arrays,
        FrameWriter(answers, output, is_wanted=True) as pictures,
    ):
        for video in answers.videos():
            records = {video.frames[index]: _record(video, index) for index in evenly_spread(video.frames, count)}
            shown = {frame: record for frame, record in records.items() if record["text"]}
            if shown and pictures.write(video, list(shown)):
                for record in shown.values():
                    arrays.add("pictures", record)
                    pairs += len(record["text"])
    return pairs


def _record(video: VideoAnswers, index: int) -> dict[str, list[object] | str]:
    """One picture with the sentences whose object it shows."""
    masks: list[object] = []
    texts: list[object] = []
    for answer in video.answers:
        text = " ".join(answer.expression.text.split())
        rle = answer.tracks[0].masks[index] if answer.tracks else None
        if rle is not None and text.rstrip("."):  # the loader takes the full stop away, and fails on an empty text
            masks.append({"size": list(rle["size"]), "counts": run_lengths(rle)})
            texts.append(text)
    return {"image": picture_name(video.video_id, video.frames[index]), "mask": masks, "text": texts}


FORMAT = Format(
    name="sa2va-finetune",
    write=write,
    objects=("union", "first"),
    unit="pairs of a sentence and a mask",
    names=NameStyle.ESCAPED,
    has_frames=True,
    picks_frames=True,
)
