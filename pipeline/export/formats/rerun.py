"""Rerun: a folder with a recording (``.rrd``) per video, to be looked at with ``rerun FOLDER/*.rrd``.

A recording has a timeline ``frame``. Each object is an entity of its own, ``video/masks/EXPRESSION/OBJECT``, since a
pixel of a segmentation has one class and objects may overlap; its label is the expression. ``--with-frames`` adds the
pictures as ``video/image``. Rerun is a viewer: nothing comes back from it.
"""

from types import ModuleType
from typing import Any

from pipeline.dataset.video_frames import VideoFrames
from pipeline.errors import MissingPackageError, VideoError
from pipeline.export.answers import Answers, Track, VideoAnswers
from pipeline.export.formats.common import Format, WriteOptions
from pipeline.export.frames import jpeg
from pipeline.export.names import NameStyle, written_video
from pipeline.export.sinks import finished_file
from pipeline.masks import decode_mask
from pipeline.schema import Expression
from pipeline.storage import join

APPLICATION = "sa2va-i"
TIMELINE = "frame"
IMAGE = "video/image"
_OPACITY = 0.5
_COLOURS = ((230, 25, 75), (60, 180, 75), (67, 99, 216), (245, 130, 49), (145, 30, 180), (70, 240, 240), (240, 50, 230))


def write(answers: Answers, output: str, options: WriteOptions) -> int:
    """Write the recordings; returns their number.

    Raises:
        MissingPackageError: The package of Rerun is not installed.
    """
    rerun = _package()
    written = 0
    with VideoFrames({}) as frames:
        for video in answers.videos():
            try:
                with finished_file(join(output, f"{written_video(video.video_id, NameStyle.ESCAPED)}.rrd")) as path:
                    recording = rerun.RecordingStream(APPLICATION, recording_id=video.video_id)
                    recording.set_log_time_enabled(False)
                    recording.save(path)
                    _log(rerun, recording, video, frames if options.with_frames else None)
                    recording.flush()
                    recording.disconnect()
            except VideoError as error:
                answers.leave_out(video, error)
            else:
                written += 1
    return written


def _package() -> ModuleType:
    try:
        import rerun
    except ImportError as error:
        raise MissingPackageError("--format rerun: pip install 'sa2va-i-pipeline[rerun]'") from error
    return rerun


def _log(
    rerun: ModuleType,
    recording: Any,  # noqa: ANN401 - of a class of the package
    video: VideoAnswers,
    frames: VideoFrames | None,
) -> None:
    """Put one video into a recording."""
    recording.send_recording_name(video.video_id)
    for number, (expression, track) in enumerate(video.tracks()):
        _log_track(rerun, recording, expression, track, _COLOURS[number % len(_COLOURS)])
    if frames is None:
        return
    pictures = frames.read_at(video.video, video.frames, (video.height, video.width))
    for index, picture in enumerate(pictures):
        recording.set_time(TIMELINE, sequence=index)
        recording.log(IMAGE, rerun.EncodedImage(contents=jpeg(picture), media_type="image/jpeg"))


def _log_track(
    rerun: ModuleType,
    recording: Any,  # noqa: ANN401
    expression: Expression,
    track: Track,
    colour: tuple[int, int, int],
) -> None:
    """Put one object into a recording; what was shown stays until it is cleared, so absence is said."""
    entity = rerun.new_entity_path(["video", "masks", expression.expression_id, str(track.object_id)])
    score = "" if track.score is None else f" {track.score:.2f}"
    label = rerun.AnnotationInfo(id=1, label=f"{expression.text}{score}", color=colour)
    recording.log(entity, rerun.AnnotationContext([label]), static=True)
    is_shown = False
    for index, rle in enumerate(track.masks):
        recording.set_time(TIMELINE, sequence=index)
        if rle is not None:
            recording.log(entity, rerun.SegmentationImage(decode_mask(rle).astype("uint8"), opacity=_OPACITY))
        elif is_shown:
            recording.log(entity, rerun.Clear(recursive=False))
        is_shown = rle is not None


FORMAT = Format(
    name="rerun",
    write=write,
    objects=("all", "first", "union"),
    unit="recordings",
    names=NameStyle.ESCAPED,
    has_frames=True,
)
