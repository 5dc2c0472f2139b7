"""The verbs: write a submission from a dataset, and check one that lies there."""

from dataclasses import dataclass

from pipeline.errors import UsageError
from pipeline.export.answers import Answers
from pipeline.export.expected import check_names, read_expected
from pipeline.export.formats import format_of


@dataclass(frozen=True, kw_only=True)
class ExportResult:
    """What was written."""

    written: int
    """Pictures, or annotations."""
    missing: dict[tuple[str, str], str]
    """(video, expression) exported as empty masks although there is no answer, and why."""


def export(
    predictions: str,
    manifest: str,
    format_name: str,
    output: str,
    *,
    videos: str | None = None,
    exclude_meta: str | None = None,
    objects: str | None = None,
    allow_missing: bool = False,
) -> ExportResult:
    """Write a dataset's answers to a manifest in a benchmark's format.

    Args:
        predictions: URL of a mask dataset.
        manifest: What the export must hold: a manifest or a benchmark's ``meta_expressions.json``.
        format_name: A key of ``FORMATS``.
        output: A ``.zip`` file or a folder; for ``coco`` and ``youtube-vis`` a ``.json`` file or a folder.
        videos: Folder of the videos; needed only where no row tells a video's size.
        exclude_meta: A meta file whose videos are left out of the manifest.
        objects: What becomes of answers with several objects: ``first``, ``union``, or (``coco``, ``youtube-vis``)
            ``all``; by default what the format usually wants.
        allow_missing: Write empty masks where an expression has no answer or ``failed``.

    Raises:
        UsageError: The arguments, the manifest or a name in it cannot be used.
        IncompleteDatasetError: Answers are missing, and that is not allowed.
        StorageError: The output cannot be written.
    """
    chosen = format_of(format_name)
    objects = objects or chosen.objects[0]
    if objects not in chosen.objects:
        raise UsageError(f"--objects {objects} is not for {format_name}; choose from {', '.join(chosen.objects)}")
    tasks = read_expected(manifest, videos=videos, exclude_meta=exclude_meta)
    check_names(tasks, nested_videos=chosen.nested_videos)
    answers = Answers(predictions, tasks, objects=objects, allow_missing=allow_missing)
    return ExportResult(written=chosen.write(answers, output), missing=answers.missing)


def check(
    submission: str,
    manifest: str,
    format_name: str,
    *,
    videos: str | None = None,
    exclude_meta: str | None = None,
) -> list[str]:
    """List every fault of a submission, ours or anyone's, in a benchmark's format.

    Args:
        submission: A zip file or a folder; for ``coco`` and ``youtube-vis`` a JSON file.
        manifest: What it must hold.
        format_name: A key of ``FORMATS``.
        videos: Folder of the videos, to compare sizes with; without it a video's pictures are compared to each other.
        exclude_meta: A meta file whose videos are left out of the manifest.

    Raises:
        UsageError: There is no submission, or the manifest cannot be used.
    """
    tasks = read_expected(manifest, videos=videos, exclude_meta=exclude_meta)
    return format_of(format_name).check(submission, tasks)
