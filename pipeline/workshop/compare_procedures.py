"""The paper in miniature: the small model's weights under Sa2VA's procedure, Sa2VA-i's, and the steps between them.

Draws the held-out clips that the model's card reports and prints J&F by kind of expression.
"""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pipeline.cli.program import run_command
from pipeline.settings import CheckedSettings, Option, at_least

PROGRAM = "python -m pipeline.workshop.compare_procedures"
CORES = os.cpu_count() or 1


@dataclass(frozen=True, kw_only=True)
class Options(CheckedSettings):
    """Options."""

    model: str = "nano"
    """The included small model (nano), or the checkpoint of a training of your own."""
    output: Annotated[str, Option("DIR")]
    """Receives the clips and table.md."""
    videos: Annotated[int, at_least(1), Option("N")] = 64
    """Clips to draw."""
    workers: Annotated[int, at_least(1), Option("N")] = CORES
    """Processes (default: all cores)."""


def run(options: Options) -> int:
    """Draw, segment, score, print."""
    from pipeline.model.checkpoint.locate import fetch_model, pin_model
    from pipeline.workshop.nano.card import comparison, evaluate

    model, output = fetch_model(pin_model(options.model)), Path(options.output)
    clips = output / f"held-out-{options.videos}"
    table = comparison(evaluate(model, clips, videos=options.videos, workers=options.workers))
    (output / "table.md").write_text(table + "\n", encoding="utf-8")
    print(table)
    return 0


if __name__ == "__main__":
    sys.exit(run_command(PROGRAM, Options, run, sys.argv[1:], description=__doc__))
