#!/usr/bin/env python3
"""Select the good rows of a mask dataset, split them by video, and write them as a dataset of their own."""

import argparse
import logging
import sys

from pipeline import cli
from pipeline.curate import Curation, Rules, curate

EPILOG = """\
rules are applied in this order: failed and no-object rows go; then --min-score; --min-area; duplicates (a sentence
asked twice of a video, then the same masks on every frame; the row with the higher score stays); --max-per-video

exit codes: 0 done; 2 bad usage; 3 could not run
"""


def _arguments() -> argparse.Namespace:
    parser = cli.Parser(
        prog="curate.py", description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--predictions", required=True, metavar="OUT", help="the mask dataset; path or URL")
    parser.add_argument("--output", required=True, metavar="DIR", help="the new dataset; path or URL")
    parser.add_argument("--min-score", type=float, metavar="S", default=0.0, help="least score, 0 to 1 (default: 0)")
    parser.add_argument(
        "--min-area",
        type=float,
        metavar="PX",
        default=1.0,
        help="least area, pixels, mean over the frames that show the object (default: 1)",
    )
    parser.add_argument("--max-per-video", type=int, metavar="N", help="keep the N tracks with the highest score")
    parser.add_argument("--keep-duplicates", action="store_true", help="keep equal masks and repeated sentences")
    parser.add_argument("--keep-no-object", action="store_true", help="keep sentences that no object was found for")
    parser.add_argument(
        "--val-share", type=float, metavar="SHARE", default=0.0, help="share of videos for validation (default: 0)"
    )
    parser.add_argument("--seed", type=int, default=0, help="another one chooses other videos (default: 0)")
    return parser.parse_args()


def _print(curation: Curation, output: str) -> None:
    before, after = curation.before, curation.after
    print(f"{'':10}{'videos':>10}{'expressions':>14}{'rows':>10}")
    print(f"{'before':10}{before.videos:>10}{before.expressions:>14}{before.rows:>10}")
    print(f"{'after':10}{after.videos:>10}{after.expressions:>14}{after.rows:>10}")
    for reason, rows in curation.dropped.items():
        if rows:
            print(f"dropped: {rows} rows, {reason}")
    for split, counts in curation.splits.items():
        print(f"{split}: {counts['rows']} rows of {counts['videos']} videos")
    print(f"written to {output}")


def _curate(arguments: argparse.Namespace) -> int:
    options = vars(arguments)
    source, output = options.pop("predictions"), options.pop("output")
    _print(curate(source, output, Rules(**options)), output)
    return 0


def main() -> int:
    """Run the command and return its exit code."""
    arguments = _arguments()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    return cli.run("curate.py", lambda: _curate(arguments))


if __name__ == "__main__":
    sys.exit(main())
