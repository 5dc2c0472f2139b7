"""One video and its expressions, named without a manifest."""

import posixpath
from collections.abc import Sequence

from pipeline.errors import UsageError
from pipeline.schema import Expression, VideoTask
from pipeline.storage import absolute, resolve


def task_of_video(video: str, expressions: Sequence[str], *, videos: str | None = None) -> VideoTask:
    """A task for one video; its id is the file's name without extension, expressions are numbered from 0.

    Args:
        video: Path or URL of a video file, an image, or a folder or archive of frames.
        expressions: What to segment in it.
        videos: Folder that a relative ``video`` starts from; by default the working directory.

    Raises:
        UsageError: The path has no file name.
    """
    location = absolute(video) if videos is None else resolve(video, absolute(videos))
    name = posixpath.basename(location.split("?", 1)[0].rstrip("/"))
    video_id = posixpath.splitext(name)[0]
    if not video_id:
        raise UsageError(f"{video}: names no video")
    return VideoTask(
        video_id=video_id,
        video=location,
        expressions=tuple(Expression(expression_id=str(i), text=text) for i, text in enumerate(expressions)),
    )
