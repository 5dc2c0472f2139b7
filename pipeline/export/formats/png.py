"""Plain pictures ``<video>/<expression>/<frame>.png`` in a folder or zip, for looking at and for other tools.

With ``--objects all`` every object has a folder: ``<video>/<expression>/object_0/<frame>.png``.
"""

from functools import partial

from pipeline.export.answers import Answers, VideoAnswers
from pipeline.export.check import check_pictures
from pipeline.export.formats.common import Format, WriteOptions, video_expression_frame, write_pictures
from pipeline.export.names import NameStyle, written_name, written_video
from pipeline.export.pictures import mask_png
from pipeline.export.sinks import Sink, open_sink
from pipeline.masks import decode_masks

NAMES = NameStyle.ESCAPED


def write(answers: Answers, output: str, options: WriteOptions) -> int:
    """Write the pictures to a zip file or folder; returns how many."""
    if options.objects != "all":
        return write_pictures(answers, output, options, path_of=video_expression_frame, names=NAMES)
    with open_sink(output) as sink:
        return sum(_write_objects(video, sink) for video in answers.videos())


def _write_objects(video: VideoAnswers, sink: Sink) -> int:
    pictures = 0
    for answer in video.answers:
        expression = written_name(answer.expression.expression_id, NAMES)
        for track in answer.tracks:
            group = f"{expression}/object_{track.object_id}"
            for name, rle in zip(video.frames, track.masks, strict=True):
                path = video_expression_frame(written_video(video.video_id, NAMES), group, written_name(name, NAMES))
                sink.write(path, mask_png(decode_masks([rle], video.height, video.width)[0]))
                pictures += 1
    return pictures


FORMAT = Format(
    name="png",
    write=write,
    check=partial(check_pictures, path_of=video_expression_frame, names=NAMES),
    objects=("first", "union", "all"),
    names=NAMES,
)
