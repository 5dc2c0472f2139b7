#!/usr/bin/env python3
"""Look at a mask dataset: one HTML file with its numbers and a gallery of its masks, and overlay videos."""

import argparse
import logging
import sys

from pipeline import cli
from pipeline.evaluation.protocols import BENCHMARKS

EPILOG = """\
The report is one file that opens from disk and asks the network for nothing. It shows the worst and the best items,
some at random, failures of every kind, and answers without an object. Videos are found by --manifest, else by the
manifest that the run used; where one is gone, its masks are drawn on plain ground.

--benchmark and --ground-truth score every expression as jobs/evaluate.py does, which takes as long as it does there.

exit codes: 0 done; 2 bad usage; 3 could not run
"""


def _arguments() -> argparse.Namespace:
    parser = cli.Parser(
        prog="report.py",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--predictions", required=True, metavar="OUT", help="the mask dataset, on any fsspec URL")
    parser.add_argument("--output", metavar="report.html", help="the report to write")
    parser.add_argument("--items", type=int, default=100, metavar="N", help="expressions to show (default: 100)")
    parser.add_argument("--manifest", metavar="M", help="names the videos (default: the manifest of the run)")
    parser.add_argument("--videos", metavar="ROOT", help="folder that relative video paths start from")
    parser.add_argument("--ground-truth", metavar="DIR", help="a benchmark's split folder: J&F and the true masks")
    parser.add_argument("--benchmark", choices=BENCHMARKS, help="which benchmark that is")
    parser.add_argument("--workers", type=int, metavar="N", help="processes that score (default: as evaluate.py)")
    movies = parser.add_argument_group("overlay videos")
    movies.add_argument("--video-output", metavar="DIR", help="write an MP4 for every expression that has masks")
    movies.add_argument("--fps", type=float, default=10.0, help="their frames per second (default: 10)")
    arguments = parser.parse_args()
    if not (arguments.output or arguments.video_output):
        parser.error("nothing to do: give --output, --video-output, or both")
    if (arguments.ground_truth is None) != (arguments.benchmark is None):
        parser.error("--ground-truth and --benchmark go together")
    if arguments.ground_truth is not None and not arguments.output:
        parser.error("--ground-truth is for the report: give --output")
    if not 1 <= arguments.items <= 2000:
        parser.error(f"--items is {arguments.items}; it must be from 1 to 2000, since each adds pictures to the page")
    if not 0.1 <= arguments.fps <= 240:
        parser.error(f"--fps is {arguments.fps}; it must be from 0.1 to 240")
    if arguments.workers is not None and arguments.workers < 1:
        parser.error(f"--workers must be at least 1, not {arguments.workers}")
    return arguments


def _report(arguments: argparse.Namespace) -> int:
    from pipeline.report import find_footage, read_run, read_truth, write_movies, write_report
    from pipeline.report.movies import movie_name
    from pipeline.storage import join

    with find_footage(read_run(arguments.predictions), arguments.manifest, arguments.videos) as footage:
        movies = {}
        if arguments.video_output:
            problems = write_movies(
                arguments.predictions, arguments.video_output, footage, frames_per_second=arguments.fps
            )
            movies = {key: join(arguments.video_output, movie_name(key)) for key in problems}
            print(f"overlay videos: {len(movies)} in {arguments.video_output}")
            missing = [why for why in problems.values() if why]
            if missing:
                print(f"{len(missing)} of them on plain ground, their videos could not be read: {missing[0]}")
        if not arguments.output:
            return 0
        truth = None
        if arguments.benchmark:
            truth = read_truth(
                arguments.benchmark, arguments.ground_truth, arguments.predictions, workers=arguments.workers
            )
        summary = write_report(
            arguments.predictions, arguments.output, footage, items=arguments.items, truth=truth, movies=movies
        )
    print(
        f"report: {arguments.output}  ({summary.shown} of {summary.expressions} expressions shown, "
        f"{summary.size_bytes / 1e6:.1f} MB)"
    )
    if summary.without_pictures:
        print(f"{summary.without_pictures} of them without their video's pictures; the report says why")
    return 0


def main() -> int:
    """Run the command and return its exit code."""
    arguments = _arguments()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    return cli.run("report.py", lambda: _report(arguments))


if __name__ == "__main__":
    sys.exit(main())
