"""The verbs: write a submission from a dataset, and check one that lies there."""

from dataclasses import dataclass

from pipeline.cleanup.settings import CleanUp
from pipeline.errors import UsageError
from pipeline.export.answers import Answers
from pipeline.export.expected import read_expected, videos_folder
from pipeline.export.file_names import FileNames
from pipeline.export.formats import Format, WriteOptions, format_of
from pipeline.export.plan import ExpressionKey
from pipeline.schema import VideoTask


@dataclass(frozen=True, kw_only=True)
class ExportResult:
    """What was written."""

    written: int
    """Pictures, or annotations."""
    missing: dict[ExpressionKey, str]
    """Expressions exported as empty masks although there is no answer, and why."""
    left_out: dict[ExpressionKey, str]
    """Expressions that are not in the export at all, and why."""
    notes: list[str]
    """What rejection and clean-up did."""


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
    reject_below: float | None = None,
    clean_up: CleanUp | None = None,
    file_names: str | None = None,
    rle: str = "compressed",
    tracker: str = "sa2va-i",
    text_masks: bool = False,
    with_frames: bool = False,
    frames_per_video: int | None = None,
) -> ExportResult:
    """Write a dataset's answers to a manifest in a benchmark's format.

    Args:
        predictions: URL of a mask dataset.
        manifest: What the export must hold: a manifest or a benchmark's ``meta_expressions.json``.
        format_name: A key of ``FORMATS``.
        output: A ``.zip`` file or a folder; for the JSON formats a ``.json`` file or a folder.
        videos: Folder of the videos; needed only where no row tells a video's size.
        exclude_meta: A meta file whose videos are left out of the manifest.
        objects: What becomes of answers with several objects: ``first``, ``union``, or (formats with tracks) ``all``;
            by default what the format usually wants.
        allow_missing: Write empty masks where an expression has no answer, ``failed`` or does not read back, and leave
            out what cannot be written at all.
        reject_below: Answer expressions with a lower verdict (or, without one, ``presence``) with nothing.
        clean_up: What to clean in the masks.
        file_names: For formats that name pictures: a pattern of ``{video_id}``, ``{video}`` and ``{frame}``.
        rle: For ``coco``: ``compressed``, ``uncompressed`` or ``polygons``.
        tracker: For ``votsr``: what the results are called.
        text_masks: For ``votsr``: text files instead of binary ones.
        frames_per_video: For formats that offer it: evenly spread frames to take of a video.
        with_frames: For formats that offer it: pictures of the frames beside the annotations.

    Raises:
        UsageError: The arguments or the manifest cannot be used, or nothing could be rejected.
        IncompleteDatasetError: Answers are missing, or cannot be written, and that is not allowed.
        DamagedDatasetError: Rows of the dataset do not read back, and that is not allowed.
        StorageError: The output cannot be written.
    """
    chosen = format_of(format_name)
    objects = objects or chosen.objects[0]
    if objects not in chosen.objects:
        raise UsageError(f"--objects {objects} is not for {format_name}; choose from {', '.join(chosen.objects)}")
    if rle not in chosen.rle:
        raise UsageError(f"--rle {rle} is not for {format_name}; choose from {', '.join(chosen.rle)}")
    if with_frames and not chosen.has_frames:
        raise UsageError(f"--with-frames is not for {format_name}")
    if frames_per_video is not None and not chosen.picks_frames:
        raise UsageError(f"--frames-per-video is not for {format_name}")
    if chosen.comes_back and (reject_below is not None or (clean_up is not None and clean_up.is_on)):
        raise UsageError(
            f"{format_name}: only the dataset's own masks can be corrected and imported again; curate first, and "
            "export what curate wrote"
        )
    options = WriteOptions(
        manifest=manifest,
        file_names=FileNames(videos_folder(manifest, videos), file_names),
        objects=objects,
        rle=rle,
        tracker=tracker,
        text_masks=text_masks,
        with_frames=with_frames,
        frames_per_video=frames_per_video,
    )
    answers = Answers(
        predictions,
        _tasks(chosen, manifest, videos, exclude_meta),
        objects=objects,
        allow_missing=allow_missing,
        names=chosen.names,
        reject_below=reject_below,
        clean_up=clean_up,
    )
    written = chosen.write(answers, output, options)
    notes = [str(answers.rejection)] if reject_below is not None else []
    notes += [str(answers.cleaner)] if clean_up is not None and clean_up.is_on else []
    return ExportResult(written=written, missing=answers.missing, left_out=answers.left_out, notes=notes)


def check(
    submission: str,
    manifest: str,
    format_name: str,
    *,
    videos: str | None = None,
    exclude_meta: str | None = None,
) -> list[str]:
    """List every fault of a submission in a benchmark's format, whoever wrote it.

    Args:
        submission: A zip file or a folder; for the JSON formats a JSON file.
        manifest: What it must hold.
        format_name: A key of ``FORMATS``.
        videos: Folder of the videos, to compare sizes with; without it a video's pictures are compared to each other.
        exclude_meta: A meta file whose videos are left out of the manifest.

    Raises:
        UsageError: There is no submission, or the manifest cannot be used.
    """
    chosen = format_of(format_name)
    tasks = _tasks(chosen, manifest, videos, exclude_meta)
    if chosen.check_against is not None:
        return chosen.check_against(submission, tasks, manifest)
    if chosen.check is None:
        raise UsageError(f"--check is not for {format_name}, which is no benchmark's")
    return chosen.check(submission, tasks)


def _tasks(chosen: Format, manifest: str, videos: str | None, exclude_meta: str | None) -> list[VideoTask]:
    if chosen.read_manifest is not None:
        return chosen.read_manifest(manifest)
    return read_expected(manifest, videos=videos, exclude_meta=exclude_meta)
