"""What every format is made of, and the picture formats' shared way of writing."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from pipeline.export.answers import Answers, VideoAnswers
from pipeline.export.file_names import FileNames
from pipeline.export.frames import IMAGES_FOLDER, picture_name
from pipeline.export.names import NameStyle, written_name, written_video
from pipeline.export.pictures import mask_png
from pipeline.export.sinks import Sink, open_sink
from pipeline.schema import VideoTask

Check = Callable[[str, Sequence[VideoTask]], list[str]]
"""From a submission's location and the manifest to a list of faults."""
PathOf = Callable[[str, str, str], str]
"""From video, expression and frame, as they are written, to a picture's path in the submission."""


@dataclass(frozen=True, kw_only=True)
class WriteOptions:
    """Choices that some formats offer."""

    manifest: str
    """Location of the manifest; formats that number things as a benchmark does read more of it."""
    file_names: FileNames
    """Names of the pictures that were annotated."""
    objects: str = "first"
    """What was taken of an answer with several objects: ``first``, ``union``, or ``all``."""
    rle: str = "compressed"
    """Masks in COCO files: ``compressed``, ``uncompressed`` or ``polygons``."""
    tracker: str = "sa2va-i"
    """VOTSr: what the results are called."""
    text_masks: bool = False
    """VOTSr: text files instead of binary ones."""
    frames_per_video: int | None = None
    """Evenly spread frames to take of a video, for formats that offer it; None is what the format usually has."""
    with_frames: bool = False
    """Pictures of the frames beside the annotations, for formats that offer it."""


@dataclass(frozen=True, kw_only=True)
class Format:
    """One format to export to."""

    name: str
    write: Callable[[Answers, str, WriteOptions], int]
    """Write all answers to an output; returns the number of files or records written."""
    check: Check | None = None
    objects: tuple[str, ...] = ("first", "union")
    """What can be done with an answer of several objects; the first is the default."""
    unit: str = "pictures"
    names: NameStyle = NameStyle.FOLDERS
    """What becomes of ids and frame names."""
    read_manifest: Callable[[str], list[VideoTask]] | None = None
    """Reads the benchmark's own kind of manifest; None if it has none of its own."""
    check_against: Callable[[str, Sequence[VideoTask], str], list[str]] | None = None
    """Instead of ``check``, for a format that looks up more in the manifest, whose location comes last."""
    comes_back: bool = False
    """``import`` reads what a tool made of it, so that only the dataset's own masks may be in it."""
    has_frames: bool = False
    """It can have pictures of the frames beside it."""
    picks_frames: bool = False
    """It can hold a few frames of each video."""
    rle: tuple[str, ...] = field(default=("compressed",))
    """Values of ``--rle`` that it can write."""


def picture_links(video: VideoAnswers, options: WriteOptions) -> list[str]:
    """Where an annotation tool finds the picture of every frame: beside the export, or where ``--file-names`` says."""
    if options.with_frames and not options.file_names.has_pattern:
        return [f"{IMAGES_FOLDER}/{picture_name(video.video_id, frame)}" for frame in video.frames]
    return options.file_names.of(video.video_id, video.video, video.frames)


def video_expression_frame(video_id: str, expression_id: str, frame: str) -> str:
    """``<video>/<expression>/<frame>.png``, the layout of MeViS and most others."""
    return f"{video_id}/{expression_id}/{frame}.png"


def write_pictures(
    answers: Answers,
    output: str,
    options: WriteOptions,  # noqa: ARG001 - of other formats
    *,
    path_of: PathOf,
    foreground: int = 255,
    names: NameStyle = NameStyle.FOLDERS,
) -> int:
    """Write one single-channel PNG per expression and frame to a zip file or folder; returns how many."""
    with open_sink(output) as sink:
        return sum(_write_video(video, sink, path_of, foreground, names) for video in answers.videos())


def _write_video(video: VideoAnswers, sink: Sink, path_of: PathOf, foreground: int, names: NameStyle) -> int:
    empty: bytes | None = None
    for answer in video.answers:
        for frame, name in enumerate(video.frames):
            if any(track.masks[frame] is not None for track in answer.tracks):
                data = mask_png(video.mask(answer, frame), foreground)
            else:
                empty = empty if empty is not None else mask_png(video.mask(answer, frame))
                data = empty
            parts = (written_name(answer.expression.expression_id, names), written_name(name, names))
            sink.write(path_of(written_video(video.video_id, names), *parts), data)
    return len(video.answers) * len(video.frames)
