"""Train the small model that this repository carries, from nothing but drawn shapes.

The same command again goes on where a stopped training was.
"""

import logging
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pipeline.cli.program import run_command
from pipeline.errors import UsageError
from pipeline.settings import CheckedSettings, Option, at_least
from pipeline.workshop.nano.plan import STAGES, Plan

PROGRAM = "python -m pipeline.workshop.nano"


@dataclass(frozen=True, kw_only=True)
class Options(CheckedSettings):
    """Options."""

    output: Annotated[str, Option("DIR")]
    """States and logs of the stages, and the finished model under DIR/checkpoint."""
    stage: Annotated[list[str], Option("STAGE")] | None = None
    """Train only this stage (repeatable); encoder and vision need no other, language needs vision, tracking encoder,
    following and decoding tracking, prompting language and decoding."""
    evaluate: bool = False
    """Afterwards, score the model on held-out clips under every procedure and write its card."""
    short: bool = False
    """A few steps of everything, to see that it runs."""
    device: str = "auto"
    """Where to train: cpu, cuda, or auto, a GPU if there is one."""
    threads: Annotated[int, at_least(1), Option("N")] = 1
    """CPU threads, and processes that evaluate."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in self.stage or ():
            if name not in STAGES:
                raise UsageError(f"stage is {name!r}; it must be one of {', '.join(STAGES)}")


def run(options: Options) -> int:
    """Train."""
    import torch

    from pipeline.workshop.nano.training import NanoTraining

    logging.getLogger("pipeline").setLevel(logging.INFO)
    torch.set_num_threads(options.threads)
    device, output = options.device, Path(options.output)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    training = NanoTraining(output, Plan.short() if options.short else Plan(), device)
    training.run(tuple(options.stage or STAGES))
    if options.evaluate:
        from pipeline.workshop.nano.card import VIDEOS, evaluate, write_card

        videos = 2 if options.short else VIDEOS
        clips = output / f"held-out-{videos}"
        scores = evaluate(training.checkpoint, clips, videos=videos, workers=options.threads)
        write_card(training.checkpoint, output, training.plan, scores)
    print(f"training states and logs: {output}; model: {training.checkpoint}")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(PROGRAM, Options, run, sys.argv[1:], description=__doc__))
