"""Fit the weights of a track's score on drawn training clips, and measure on held-out ones how well it ranks tracks.

Writes tracks-train.csv and tracks-test.csv (evidence and true J&F per track), ranking.md and ranking.svg, and prints
the constants for pipeline/model/score.py. Started again, tables that were made with the same model are reused.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pipeline.cli.program import run_command
from pipeline.settings import CheckedSettings, Option, at_least

PROGRAM = "python -m pipeline.workshop.fit_scores"
TRAIN_SEED, TEST_SEED = 3, 1
FRAMES, SHORT_FRAMES = (32, 40), (6, 8)


@dataclass(frozen=True, kw_only=True)
class Options(CheckedSettings):
    """Options."""

    model: str = "nano"
    """The included small model (nano), or another checkpoint that knows the shapes."""
    output: Annotated[str, Option("DIR")]
    """Tables, plot, and drawn clips."""
    videos: Annotated[int, at_least(1), Option("N")] = 60
    """Clips of each split."""
    procedure: Literal["sa2va-i", "sa2va"] = "sa2va-i"
    """How masks are made."""
    num_keyframes: Annotated[int, at_least(1), Option("K")] = 5
    """Frames that the language model sees."""
    short: bool = False
    """Clips of a few frames, to see that it runs."""
    threads: Annotated[int, at_least(1), Option("N")] = 1
    """CPU threads."""


def run(options: Options) -> int:
    """Draw, segment, fit, report."""
    import torch

    from pipeline.errors import UsageError
    from pipeline.model.checkpoint.fingerprint import fingerprint
    from pipeline.model.checkpoint.locate import fetch_model, pin_model
    from pipeline.workshop.nano.ranking import (
        RankedTrack,
        collect_tracks,
        fit_weights,
        read_tracks,
        truths_of,
        write_tracks,
    )
    from pipeline.workshop.nano.ranking_report import constants, orders, plot, report
    from pipeline.workshop.nano.validation import ShapesBenchmark
    from pipeline.workshop.shapes.benchmark import write_benchmark
    from pipeline.workshop.shapes.vocabulary import Split

    torch.set_num_threads(options.threads)
    directory, output = fetch_model(pin_model(options.model)), Path(options.output)
    frames = SHORT_FRAMES if options.short else FRAMES
    made_by = " ".join(
        map(str, (fingerprint(directory), options.procedure, options.num_keyframes, options.videos, frames))
    )

    def tracks_of(split: Split, seed: int) -> list[RankedTrack]:
        from pipeline.model.sa2va import Sa2VA

        table, note = output / f"tracks-{split}.csv", output / f"tracks-{split}.made-by"
        if table.is_file() and note.is_file() and note.read_text() == made_by:
            return read_tracks(table)
        clips = output / f"clips-{split}-{options.videos}-{frames[1]}"
        if not (clips / "kinds.json").is_file():
            write_benchmark(clips, num_videos=options.videos, seed=seed, split=split, num_frames=frames)
        print(f"segmenting {options.videos} clips of the {split} split ...", flush=True)
        found = collect_tracks(
            Sa2VA.from_checkpoint(directory), ShapesBenchmark(clips), options.procedure, options.num_keyframes
        )
        write_tracks(table, found)
        note.write_text(made_by)
        return found

    output.mkdir(parents=True, exist_ok=True)
    train, test = tracks_of("train", TRAIN_SEED), tracks_of("test", TEST_SEED)
    if not train or not test:
        raise UsageError(f"{options.model}: finds no object in the drawn clips, so there is nothing to fit")
    weights, bias = fit_weights(train)
    text = report(train, test, weights, bias)
    (output / "ranking.md").write_text(text, encoding="utf-8")
    (output / "ranking.svg").write_text(plot(orders(test, weights, bias), truths_of(test)), encoding="utf-8")
    print(f"{text}\n{constants(weights, bias)}\n\nwritten to {output}")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(PROGRAM, Options, run, sys.argv[1:], description=__doc__))
