"""Write a mask dataset as a benchmark's submission or a training set, or check a submission."""

import sys
from dataclasses import dataclass
from typing import Annotated, Literal

from pipeline.cli.terminal import print_line, printable
from pipeline.errors import UsageError
from pipeline.settings import CheckedSettings, OneOf, Option

FORMATS = {
    "mevis": "zip (or folder): <video>/<expression>/<frame>.png, no folder around it; grey PNG of 0 and 255",
    "ref-youtube-vos": "the same under Annotations/; name the 202 videos with --exclude-meta TEST_META",
    "ref-davis17": "anno_0 .. anno_3/<video>/<frame>.png: palette PNG, an annotator's objects merged",
    "revos": "as mevis, but 0 and 1: the public scorer's accuracy and robustness compare raw values",
    "youtube-vis": "x.json and x.results.json, or a folder with dataset.json and results.json; one track per object",
    "coco": "one JSON file of per-frame annotations",
    "png": "as mevis, into a folder; video ids may hold /",
}
"""Name of a format -> what it writes, for the help text; the formats themselves are in ``pipeline.export.formats``."""

EPILOG = (
    "formats:\n"
    + "".join(f"  {name:16} {text}\n" for name, text in FORMATS.items())
    + """
exit codes: 0 done; 1 done, but with empty masks for expressions without an answer, or --check found faults;
2 bad usage; 3 could not run, for instance because answers are missing and --allow-missing was not given
"""
)


@dataclass(frozen=True, kw_only=True)
class Options(CheckedSettings):
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
    """Of answers with several objects: the first, as the published evaluation does (default), their union, or all of
    them as tracks (youtube-vis and coco only, their default)."""
    allow_missing: bool = False
    """Export empty masks where an expression failed or is missing."""

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
        )
    except IncompleteDatasetError as error:
        _print_missing(error.missing)
        raise
    print_line(f"{options.output}: {result.written} {FORMATS[options.format].unit}")
    _print_missing(result.missing)
    if result.missing:
        print(f"sa2va-i export: {len(result.missing)} expressions have no answer and got empty masks", file=sys.stderr)
        return 1
    return 0


def _print_missing(missing: dict[tuple[str, str], str]) -> None:
    for (video_id, expression_id), why in missing.items():
        print(f"missing: video {video_id!r} expression {expression_id!r}: {printable(why)}", file=sys.stderr)
