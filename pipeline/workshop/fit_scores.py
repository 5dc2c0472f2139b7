"""Fit the weights of a track's score on drawn training clips, and measure on held-out ones how well it ranks tracks.

Writes tracks-train.csv and tracks-test.csv (evidence and true J&F per track), ranking.md and ranking.svg, and prints
the constants for pipeline/model/score.py. Started again, tables that were made with the same model are reused.
"""

import argparse
import sys
from pathlib import Path

from pipeline.cli.options import Parser
from pipeline.cli.program import run_program

PROGRAM = "python -m pipeline.workshop.fit_scores"

TRAIN_SEED, TEST_SEED = 3, 1
FRAMES, SHORT_FRAMES = (32, 40), (6, 8)


def _arguments() -> argparse.Namespace:
    parser = Parser(prog=PROGRAM, description=__doc__)
    parser.add_argument("--model", default="nano", help="nano (default) or another checkpoint that knows the shapes")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="tables, plot, and drawn clips")
    parser.add_argument("--videos", type=int, default=60, metavar="N", help="clips of each split (default: 60)")
    parser.add_argument("--procedure", choices=("sa2va-i", "sa2va"), default="sa2va-i")
    parser.add_argument("--num-keyframes", type=int, default=5, metavar="K")
    parser.add_argument("--short", action="store_true", help="clips of a few frames, to see that it runs")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")
    arguments = parser.parse_args()
    for name in ("videos", "num_keyframes", "threads"):
        if getattr(arguments, name) < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1, not {getattr(arguments, name)}")
    return arguments


def _fit(arguments: argparse.Namespace) -> int:
    import torch

    from pipeline.errors import UsageError
    from pipeline.model.checkpoint.locate import fetch_model, pin_model
    from pipeline.model.checkpoint.weights import fingerprint
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

    torch.set_num_threads(arguments.threads)
    directory, output = fetch_model(pin_model(arguments.model)), arguments.output
    frames = SHORT_FRAMES if arguments.short else FRAMES
    made_by = " ".join(
        map(str, (fingerprint(directory), arguments.procedure, arguments.num_keyframes, arguments.videos, frames))
    )

    def tracks_of(split: Split, seed: int) -> list[RankedTrack]:
        from pipeline.model.sa2va import Sa2VA

        table, note = output / f"tracks-{split}.csv", output / f"tracks-{split}.made-by"
        if table.is_file() and note.is_file() and note.read_text() == made_by:
            return read_tracks(table)
        clips = output / f"clips-{split}-{arguments.videos}-{frames[1]}"
        if not (clips / "kinds.json").is_file():
            write_benchmark(clips, num_videos=arguments.videos, seed=seed, split=split, num_frames=frames)
        print(f"segmenting {arguments.videos} clips of the {split} split ...", flush=True)
        found = collect_tracks(
            Sa2VA.from_checkpoint(directory), ShapesBenchmark(clips), arguments.procedure, arguments.num_keyframes
        )
        write_tracks(table, found)
        note.write_text(made_by)
        return found

    output.mkdir(parents=True, exist_ok=True)
    train, test = tracks_of("train", TRAIN_SEED), tracks_of("test", TEST_SEED)
    if not train or not test:
        raise UsageError(f"{arguments.model}: finds no object in the drawn clips, so there is nothing to fit")
    weights, bias = fit_weights(train)
    text = report(train, test, weights, bias)
    (output / "ranking.md").write_text(text, encoding="utf-8")
    (output / "ranking.svg").write_text(plot(orders(test, weights, bias), truths_of(test)), encoding="utf-8")
    print(f"{text}\n{constants(weights, bias)}\n\nwritten to {output}")
    return 0


def main() -> int:
    """Run the command and return its exit code."""
    return run_program(PROGRAM, lambda: _fit(_arguments()))


if __name__ == "__main__":
    sys.exit(main())
