"""Ref-DAVIS17, four annotators: folders ``anno_0`` to ``anno_3`` of palette PNGs, the objects of a frame merged."""

from collections.abc import Sequence

from pipeline.errors import UsageError
from pipeline.evaluation.protocols.four_annotator import ANNOTATORS, expression_of, merge, objects_of
from pipeline.export.answers import Answers, VideoAnswers
from pipeline.export.check import check_labels
from pipeline.export.formats.common import Format, WriteOptions
from pipeline.export.pictures import label_png
from pipeline.export.sinks import Sink, open_sink
from pipeline.schema import VideoTask


def picture_path(annotator: int, video_id: str, frame: str) -> str:
    """Where one annotator's merged picture lies."""
    return f"anno_{annotator}/{video_id}/{frame}.png"


def write(answers: Answers, output: str, options: WriteOptions) -> int:  # noqa: ARG001 - of other formats
    """Write the four folders to a zip file or folder; returns the number of pictures.

    Raises:
        UsageError: A video's expressions are not numbered 4 * (object - 1) + annotator.
    """
    with open_sink(output) as sink:
        return sum(_write_video(video, sink) for video in answers.videos())


def _write_video(video: VideoAnswers, sink: Sink) -> int:
    by_id = {answer.expression.expression_id: answer for answer in video.answers}
    objects = objects_of(video.video_id, list(by_id))
    if objects == 0:
        raise UsageError(f"video {video.video_id!r} has no expressions")
    for annotator in range(ANNOTATORS):
        own = [by_id[expression_of(annotator, label)] for label in range(1, objects + 1)]
        for frame, name in enumerate(video.frames):
            labels = merge([video.mask(answer, frame) for answer in own])
            sink.write(picture_path(annotator, video.video_id, name), label_png(labels))
    return ANNOTATORS * len(video.frames)


def check(submission: str, tasks: Sequence[VideoTask]) -> list[str]:
    """List the faults of four annotator folders."""
    objects = {
        task.video_id: objects_of(task.video_id, [expression.expression_id for expression in task.expressions])
        for task in tasks
    }
    return check_labels(submission, tasks, picture_path, ANNOTATORS, objects)


FORMAT = Format(
    name="ref-davis17",
    write=write,
    check=check,
)
