"""Look at a mask dataset: one HTML file with its numbers and a gallery of its masks, and overlay videos."""

import sys
from dataclasses import dataclass
from typing import Annotated

from pipeline.cli.evaluate import BENCHMARKS
from pipeline.cli.terminal import print_line, printable
from pipeline.errors import UsageError
from pipeline.settings import CheckedSettings, OneOf, Option, at_least, between

EPILOG = """\
The report is one file that opens from disk and asks the network for nothing. It shows the worst and the best items,
some at random, failures of every kind, and answers without an object. Videos are found by --manifest, else by the
manifest that the run used; where one is gone, its masks are drawn on a grey background.

--benchmark and --ground-truth score every expression as `sa2va-i evaluate` does, which takes as long as it does there.

exit codes: 0 done; 1 done, but with --allow-missing some of a damaged dataset is not shown; 2 bad usage; 3 could not
run
"""


@dataclass(frozen=True, kw_only=True)
class ReportOptions(CheckedSettings):
    """Report."""

    predictions: Annotated[str, Option("OUT")]
    """The mask dataset, on any fsspec URL."""
    output: Annotated[str, Option("report.html")] | None = None
    """The report to write."""
    items: Annotated[int, between(1, 2000), Option("N")] = 100
    """Expressions to show, from 1 to 2000; each adds pictures to the page."""
    manifest: Annotated[str, Option("M")] | None = None
    """Names the videos (default: the manifest of the run)."""
    videos: Annotated[str, Option("ROOT")] | None = None
    """Folder that relative video paths start from."""
    ground_truth: Annotated[str, Option("DIR")] | None = None
    """A benchmark's split folder: J&F and the true masks."""
    benchmark: Annotated[str, OneOf(BENCHMARKS)] | None = None
    """Which benchmark that is."""
    workers: Annotated[int, at_least(1), Option("N")] | None = None
    """Processes that score (default: as in evaluate)."""
    allow_missing: bool = False
    """Show what can be read of a damaged dataset (exit code 1)."""
    reject_below: Annotated[float, between(0, 1), Option("X")] | None = None
    """Show expressions whose verdict or, without one, presence is below this as answered with nothing."""


@dataclass(frozen=True, kw_only=True)
class Options(ReportOptions):
    """Overlay videos."""

    video_output: Annotated[str, Option("DIR")] | None = None
    """Write an MP4 for every expression that has masks."""
    fps: Annotated[float, between(0.1, 240)] = 10.0
    """Their frames per second."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.output or self.video_output):
            raise UsageError("nothing to do: give --output, --video-output, or both")
        if (self.ground_truth is None) != (self.benchmark is None):
            raise UsageError("--ground-truth and --benchmark go together")
        if self.ground_truth is not None and not self.output:
            raise UsageError("--ground-truth is for the report: give --output")


def run(options: Options) -> int:
    """Write what was asked for."""
    from pipeline.report import find_video_frames, read_run, read_truth, write_movies, write_report
    from pipeline.report.movies import movie_name
    from pipeline.storage import join, scrub

    with find_video_frames(read_run(options.predictions), options.manifest, options.videos) as video_frames:
        movies = {}
        if options.video_output:
            problems = write_movies(
                options.predictions,
                options.video_output,
                video_frames,
                frames_per_second=options.fps,
                allow_missing=options.allow_missing,
                reject_below=options.reject_below,
            )
            movies = {key: join(options.video_output, movie_name(key)) for key in problems}
            print_line(f"overlay videos: {len(movies)} in {scrub(options.video_output)}")
            missing = [why for why in problems.values() if why]
            if missing:
                print_line(
                    f"{len(missing)} of them on a grey background, their videos could not be read: {scrub(missing[0])}"
                )
        if not options.output:
            return 0
        truth = None
        if options.benchmark and options.ground_truth:
            truth = read_truth(
                options.benchmark,
                options.ground_truth,
                options.predictions,
                workers=options.workers,
                allow_missing=options.allow_missing,
                reject_below=options.reject_below,
            )
        summary = write_report(
            options.predictions,
            options.output,
            video_frames,
            items=options.items,
            truth=truth,
            movies=movies,
            allow_missing=options.allow_missing,
            reject_below=options.reject_below,
        )
    print_line(
        f"report: {scrub(options.output)}  ({summary.shown} of {summary.expressions} expressions shown, "
        f"{summary.size_bytes / 1e6:.1f} MB)"
    )
    if summary.without_pictures:
        print_line(f"{summary.without_pictures} of them without their video's pictures; the report says why")
    if options.reject_below is not None:
        print_line(f"{summary.rejection}; they are shown as answered with nothing")
    for line in summary.damage:
        print(f"sa2va-i report: {printable(line)}", file=sys.stderr)
    return 1 if summary.damage else 0
