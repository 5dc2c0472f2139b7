"""What a submission must hold: the manifest's videos, expressions and frames, under names that are safe to write."""

from pipeline.errors import UsageError
from pipeline.evaluation.pictures import PictureError, size_of_picture
from pipeline.manifest import read_manifest
from pipeline.manifest.benchmarks import read_meta_expressions, rows_of
from pipeline.manifest.grouping import group_rows, shown
from pipeline.schema import VideoTask
from pipeline.storage import AccessDeniedError, MissingFileError, absolute, join, parent, read_bytes, scrub

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")


def read_expected(manifest: str, *, videos: str | None = None, exclude_meta: str | None = None) -> list[VideoTask]:
    """Read a manifest as :func:`read_manifest` does, except that a benchmark's pictures need not be at hand.

    Raises:
        UsageError: The manifest cannot be used.
    """
    if not manifest.lower().endswith(".json"):
        return read_manifest(manifest, videos=videos, exclude_meta=exclude_meta)
    try:
        content = read_meta_expressions(absolute(manifest))
        if exclude_meta is not None:
            excluded = read_meta_expressions(absolute(exclude_meta))
            content = {video_id: video for video_id, video in content.items() if video_id not in excluded}
    except (MissingFileError, AccessDeniedError) as error:
        raise UsageError(str(error)) from error
    if not content:
        raise UsageError(f"{scrub(manifest)}: no videos are left")
    base = videos or join(parent(absolute(manifest)), "JPEGImages")
    return group_rows(rows_of(content), manifest=scrub(manifest), base=absolute(base))


def source_size(task: VideoTask) -> tuple[int, int] | None:
    """Height and width of a video whose frames lie as pictures in a folder; None where they are not at hand."""
    if not task.frames:
        return None
    for suffix in IMAGE_SUFFIXES:
        location = join(task.video, task.frames[0] + suffix)
        try:
            return size_of_picture(read_bytes(location), location)
        except MissingFileError:
            continue
        except (AccessDeniedError, PictureError):
            return None
    return None


def check_names(tasks: list[VideoTask], *, nested_videos: bool) -> None:
    """Refuse ids and frame names that would leave their folder, or not be one folder, in a submission.

    Args:
        tasks: The manifest.
        nested_videos: Whether a video id may hold ``/`` (ReVOS names videos so).

    Raises:
        UsageError: Naming the first such id.
    """
    for task in tasks:
        parts = task.video_id.split("/") if nested_videos else [task.video_id]
        names = [*parts, *(expression.expression_id for expression in task.expressions), *(task.frames or ())]
        for name in names:
            check_name(name, f"video {shown(task.video_id)}")


def check_name(name: str, where: str) -> None:
    """Refuse a name that is not one plain path component. Raises UsageError."""
    hostile = name in ("", ".", "..") or any(character in "/\\:" or character < " " for character in name)
    if hostile or not name.isprintable():
        raise UsageError(f"{where}: {shown(name)} cannot be a file or folder name in a submission")
