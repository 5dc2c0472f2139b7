"""What a submission must hold: the manifest's videos, expressions and frames."""

from pipeline.errors import AccessDeniedError, UsageError
from pipeline.evaluation.pictures import PictureError, size_of_picture
from pipeline.manifest import read_manifest
from pipeline.manifest.benchmarks import read_meta_expressions, rows_of
from pipeline.manifest.plan import Plan
from pipeline.schema import VideoTask
from pipeline.storage import MissingFileError, absolute, join, parent, read_bytes, scrub

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
    base = videos_folder(manifest, videos)
    with Plan.of_rows(rows_of(content), manifest=scrub(manifest), base=base, unit="expression") as plan:
        plan.group()
        return plan.all_tasks()


def videos_folder(manifest: str, videos: str | None) -> str:
    """The folder that the relative videos of a manifest are taken from."""
    beside = parent(absolute(manifest))
    return absolute(videos or (join(beside, "JPEGImages") if manifest.lower().endswith(".json") else beside))


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
        except (AccessDeniedError, PictureError, ValueError):  # ValueError: a name that no file system takes
            return None
    return None
