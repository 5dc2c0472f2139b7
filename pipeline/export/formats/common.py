"""What every format is made of, and the picture formats' shared way of writing."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pipeline.export.answers import Answers
from pipeline.export.pictures import mask_png
from pipeline.export.sinks import Sink, open_sink
from pipeline.schema import VideoTask

Check = Callable[[str, Sequence[VideoTask]], list[str]]
"""From a submission's location and the manifest to a list of faults."""
PathOf = Callable[[str, str, str], str]
"""From video, expression and frame to a picture's path in the submission."""


@dataclass(frozen=True, kw_only=True)
class Format:
    """One format to export to."""

    name: str
    write: Callable[[Answers, str], int]
    """Write all answers to an output; returns the number of files or records written."""
    check: Check
    objects: tuple[str, ...] = ("first", "union")
    """What can be done with an answer of several objects; the first is the default."""
    unit: str = "pictures"
    nested_videos: bool = False
    """Whether a video id may be a path of several folders."""


def video_expression_frame(video_id: str, expression_id: str, frame: str) -> str:
    """``<video>/<expression>/<frame>.png``, the layout of MeViS and most others."""
    return f"{video_id}/{expression_id}/{frame}.png"


def write_pictures(answers: Answers, output: str, path_of: PathOf, foreground: int = 255) -> int:
    """Write one single-channel PNG per expression and frame to a zip file or folder; returns how many."""
    with open_sink(output) as sink:
        return _write_videos(answers, sink, path_of, foreground)


def _write_videos(answers: Answers, sink: Sink, path_of: PathOf, foreground: int) -> int:
    count = 0
    empty: dict[tuple[int, int], bytes] = {}
    for video in answers.videos():
        size = (video.height, video.width)
        for answer in video.answers:
            for frame, name in enumerate(video.frames):
                if any(track.masks[frame] is not None for track in answer.tracks):
                    data = mask_png(video.mask(answer, frame), foreground)
                else:
                    if size not in empty:
                        empty[size] = mask_png(video.mask(answer, frame))
                    data = empty[size]
                sink.write(path_of(video.video_id, answer.expression.expression_id, name), data)
                count += 1
    return count
