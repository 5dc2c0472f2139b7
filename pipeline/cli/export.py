"""Write a mask dataset as a benchmark's submission or a training set, or check a submission."""

import sys
from dataclasses import dataclass, fields
from typing import Annotated, Literal

from pipeline.cleanup.settings import CleanUp
from pipeline.cli.terminal import print_line, printable
from pipeline.errors import UsageError
from pipeline.settings import CheckedSettings, OneOf, Option, at_least, between

FORMATS = {
    "mevis": "zip (or folder): <video>/<expression>/<frame>.png, no folder around it; grey PNG of 0 and 255",
    "mevis-v2": "as mevis; --reject-below empties expressions that are not there",
    "ref-youtube-vos": "the same under Annotations/; name the 202 videos with --exclude-meta TEST_META",
    "ref-davis17": "anno_0 .. anno_3/<video>/<frame>.png: palette PNG, an annotator's objects merged",
    "revos": "as mevis, but 0 and 1: the public scorer's accuracy and robustness compare raw values",
    "long-rvos": "as mevis, for Long-RVOS",
    "ref-sav": "as mevis, for Ref-SAV",
    "votsr": "VOTSr results: baseline/<sequence>/<sequence>_<hash>.bin and manifest.yml; --manifest is sequences/",
    "saco-veval": "one JSON list of masklets; --manifest is the benchmark's annotation file",
    "youtube-vis": "x.json and x.results.json, or a folder with dataset.json and results.json; one track per object",
    "coco": "one JSON file of per-frame annotations, masks as --rle says",
    "cvat": "CVAT for images 1.1: x.xml, or a folder; import takes it back",
    "label-studio": "Label Studio: x.json, or a folder; a task per expression and frame; import takes it back",
    "fiftyone": "FiftyOne: a folder for Dataset.from_dir, a sample per frame; import takes it back",
    "rerun": "Rerun: a folder with a recording per video, for looking at; needs the extra `rerun`",
    "sa2va-finetune": "Sa2VA's fine-tuning data: a folder with annotations.json and images/",
    "webdataset": "tar files of frames and masks for training, in a folder",
    "png": "as mevis; any id: what cannot be in a file name becomes %3A and the like; with --objects all a folder per "
    "object; import takes it back",
}
"""Name of a format -> what it writes, for the help text; the formats themselves are in ``pipeline.export.formats``."""

EPILOG = (
    "formats:\n"
    + "".join(f"  {name:16} {text}\n" for name, text in FORMATS.items())
    + """
exit codes: 0 done; 1 done, but with --allow-missing some expressions got empty masks or were left out, or --check found
faults; 2 bad usage; 3 could not run, for instance because answers are missing or a file of the dataset is damaged and
--allow-missing was not given
"""
)


@dataclass(frozen=True, kw_only=True)
class ExportOptions(CheckedSettings):
    """Options."""

    format: Annotated[str, OneOf(tuple(FORMATS))]
    """What to write, see below."""
    manifest: Annotated[str, Option("M")]
    """What must be in it: a manifest or a meta_expressions.json."""
    predictions: Annotated[str, Option("OUT")] | None = None
    """The mask dataset, on any fsspec URL."""
    output: Annotated[str, Option("FILE_OR_DIR")] | None = None
    """A .zip file or a folder (.json file for the JSON formats)."""
    check: Annotated[str, Option("FILE")] | None = None
    """Instead of exporting, list every fault of this submission."""
    videos: Annotated[str, Option("ROOT")] | None = None
    """The videos, to learn a size that no row of the dataset has."""
    exclude_meta: Annotated[str, Option("META")] | None = None
    """Leave out the videos of this meta_expressions.json."""
    objects: Literal["first", "union", "all"] | None = None
    """What to take of an answer with several objects: the first, as the published evaluation does, their union, or all
    of them as tracks (default: all where a format has tracks, union for votsr, else first)."""
    allow_missing: bool = False
    """Export empty masks where an expression failed, is missing or does not read back, and leave out what cannot be
    written at all (exit code 1)."""
    reject_below: Annotated[float, between(0, 1), Option("X")] | None = None
    """Answer expressions whose verdict (of `sa2va-i verify`) or, without one, presence is below this with nothing; the
    dataset stays as it is."""
    file_names: Annotated[str, Option("PATTERN")] | None = None
    """For coco, youtube-vis, label-studio and fiftyone: names of pictures, made of {video_id}, {video} and {frame}, for
    instance {video_id}/{frame}.jpg (default: the pictures that were annotated)."""
    rle: Literal["compressed", "uncompressed", "polygons"] = "compressed"
    """For coco: how masks are written; polygons lose holes."""
    tracker: Annotated[str, Option("NAME")] = "sa2va-i"
    """For votsr: what the results are called."""
    text_masks: bool = False
    """For votsr: text files instead of binary ones."""
    frames_per_video: Annotated[int, at_least(1), Option("N")] | None = None
    """For sa2va-finetune (default: 5) and webdataset (default: all): evenly spread frames to take of a video."""
    with_frames: bool = False
    """For cvat, label-studio and fiftyone: write the frames beside, as JPEG under images/; for rerun: into the
    recordings."""


@dataclass(frozen=True, kw_only=True)
class Options(CleanUp, ExportOptions):
    """Everything."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.check is None and not (self.predictions and self.output):
            raise UsageError("give --predictions and --output to export, or --check to check")
        if self.check is not None and (self.predictions or self.output):
            raise UsageError("--check goes without --predictions and --output")


def run(options: Options) -> int:
    """Export, or check."""
    return _check(options, options.check) if options.check is not None else _export(options)


def _check(options: Options, submission: str) -> int:
    from pipeline.export import check

    faults = check(
        submission, options.manifest, options.format, videos=options.videos, exclude_meta=options.exclude_meta
    )
    for fault in faults:
        print_line(fault)
    if faults:
        print(f"sa2va-i export: {printable(submission)}: {len(faults)} faults", file=sys.stderr)
        return 1
    print_line(f"{submission}: no faults")
    return 0


def _export(options: Options) -> int:
    from pipeline.export import FORMATS, IncompleteDatasetError, export
    from pipeline.storage import scrub

    try:
        result = export(
            str(options.predictions),
            options.manifest,
            options.format,
            str(options.output),
            videos=options.videos,
            exclude_meta=options.exclude_meta,
            objects=options.objects,
            allow_missing=options.allow_missing,
            reject_below=options.reject_below,
            clean_up=CleanUp(**{field.name: getattr(options, field.name) for field in fields(CleanUp)}),
            file_names=options.file_names,
            rle=options.rle,
            tracker=options.tracker,
            text_masks=options.text_masks,
            with_frames=options.with_frames,
            frames_per_video=options.frames_per_video,
        )
    except IncompleteDatasetError as error:
        _print_missing(error.missing)
        raise
    print_line(f"{scrub(str(options.output))}: {result.written} {FORMATS[options.format].unit}")
    for note in result.notes:
        print_line(note)
    _print_missing({**result.missing, **result.left_out})
    if not (result.missing or result.left_out):
        return 0
    print(
        f"sa2va-i export: {len(result.missing)} expressions have no answer and got empty masks, "
        f"{len(result.left_out)} are left out",
        file=sys.stderr,
    )
    return 1


def _print_missing(missing: dict[tuple[str, str], str]) -> None:
    for (video_id, expression_id), why in missing.items():
        print(f"missing: video {video_id!r} expression {expression_id!r}: {printable(why)}", file=sys.stderr)
