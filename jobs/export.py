#!/usr/bin/env python3
"""Write a mask dataset as a benchmark's submission, or check a submission that lies there."""

import argparse
import logging
import sys

from pipeline import cli
from pipeline.export import FORMATS, IncompleteDatasetError, check, export

EPILOG = """\
formats:
  mevis            zip (or folder): <video>/<expression>/<frame>.png, no folder around it; grey PNG of 0 and 255
  ref-youtube-vos  the same under Annotations/; name the 202 videos with --exclude-meta TEST_META
  ref-davis17      anno_0 .. anno_3/<video>/<frame>.png: palette PNG, an annotator's objects merged
  revos            as mevis, but 0 and 1: the public scorer's accuracy and robustness compare raw values
  youtube-vis      x.json and x.results.json, or a folder with dataset.json and results.json; one track per object
  coco             one JSON file of per-frame annotations
  png              as mevis, into a folder; video ids may hold /

exit codes: 0 done; 1 done, but with empty masks for expressions without an answer, or --check found faults;
2 bad usage; 3 could not run, for instance because answers are missing and --allow-missing was not given
"""


def _arguments() -> argparse.Namespace:
    parser = cli.Parser(
        prog="export.py",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--format", required=True, choices=list(FORMATS))
    parser.add_argument(
        "--manifest", required=True, metavar="M", help="what must be in it: a manifest or a meta_expressions.json"
    )
    parser.add_argument("--predictions", metavar="OUT", help="the mask dataset, on any fsspec URL")
    parser.add_argument(
        "--output", metavar="FILE_OR_DIR", help="a .zip file or a folder (.json file for the JSON formats)"
    )
    parser.add_argument("--check", metavar="FILE", help="instead of exporting, list every fault of this submission")
    parser.add_argument("--videos", metavar="ROOT", help="the videos, to learn a size that no row of the dataset has")
    parser.add_argument("--exclude-meta", metavar="META", help="leave out the videos of this meta_expressions.json")
    parser.add_argument(
        "--objects",
        choices=("first", "union", "all"),
        help="of answers with several objects: the first, as the published evaluation does (default), their union, "
        "or all of them as tracks (youtube-vis and coco only, their default)",
    )
    parser.add_argument(
        "--allow-missing", action="store_true", help="export empty masks where an expression failed or is missing"
    )
    arguments = parser.parse_args()
    if arguments.check is None and not (arguments.predictions and arguments.output):
        parser.error("give --predictions and --output to export, or --check to check")
    if arguments.check is not None and (arguments.predictions or arguments.output):
        parser.error("--check goes without --predictions and --output")
    return arguments


def _check(arguments: argparse.Namespace) -> int:
    faults = check(
        arguments.check,
        arguments.manifest,
        arguments.format,
        videos=arguments.videos,
        exclude_meta=arguments.exclude_meta,
    )
    for fault in faults:
        print(fault)
    if faults:
        print(f"export.py: {arguments.check}: {len(faults)} faults", file=sys.stderr)
        return 1
    print(f"{arguments.check}: no faults")
    return 0


def _export(arguments: argparse.Namespace) -> int:
    try:
        result = export(
            arguments.predictions,
            arguments.manifest,
            arguments.format,
            arguments.output,
            videos=arguments.videos,
            exclude_meta=arguments.exclude_meta,
            objects=arguments.objects,
            allow_missing=arguments.allow_missing,
        )
    except IncompleteDatasetError as error:
        _print_missing(error.missing)
        raise
    print(f"{arguments.output}: {result.written} {FORMATS[arguments.format].unit}")
    _print_missing(result.missing)
    if result.missing:
        print(f"export.py: {len(result.missing)} expressions have no answer and got empty masks", file=sys.stderr)
        return 1
    return 0


def _print_missing(missing: dict[tuple[str, str], str]) -> None:
    for (video_id, expression_id), why in missing.items():
        print(f"missing: video {video_id!r} expression {expression_id!r}: {why}", file=sys.stderr)


def main() -> int:
    """Run the command and return its exit code."""
    arguments = _arguments()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    return cli.run("export.py", lambda: _export(arguments) if arguments.check is None else _check(arguments))


if __name__ == "__main__":
    sys.exit(main())
