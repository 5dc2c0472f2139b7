"""The paper in miniature: the small model's weights under Sa2VA's procedure, Sa2VA-i's, and the steps between them.

Draws the held-out clips that the model's card reports and prints J&F by kind of expression.
"""

import argparse
import os
import sys
from pathlib import Path

from pipeline.cli.options import Parser
from pipeline.cli.program import run_program
from pipeline.errors import UsageError

PROGRAM = "python -m pipeline.workshop.compare_procedures"


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog=PROGRAM, description=__doc__)
    parser.add_argument("--model", default="nano", help="nano (default) or the checkpoint of a training of your own")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="receives the clips and table.md")
    parser.add_argument("--videos", type=int, default=64, metavar="N", help="clips to draw (default: 64)")
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count() or 1, metavar="N", help="processes (default: all cores)"
    )
    return parser


def _compare(arguments: argparse.Namespace) -> int:
    from pipeline.model.checkpoint.locate import fetch_model, pin_model
    from pipeline.workshop.nano.card import comparison, evaluate

    for name in ("videos", "workers"):
        if getattr(arguments, name) < 1:
            raise UsageError(f"--{name} is {getattr(arguments, name)}; it must be at least 1")
    model = fetch_model(pin_model(arguments.model))
    clips = arguments.output / f"held-out-{arguments.videos}"
    table = comparison(evaluate(model, clips, videos=arguments.videos, workers=arguments.workers))
    (arguments.output / "table.md").write_text(table + "\n", encoding="utf-8")
    print(table)
    return 0


def main() -> int:
    """Run as a command; returns the exit code."""
    return _compare(_parser().parse_args())


if __name__ == "__main__":
    sys.exit(run_program(PROGRAM, main))
