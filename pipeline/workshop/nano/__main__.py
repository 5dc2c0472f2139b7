"""Train the small model that this repository carries, from nothing but drawn shapes."""

import argparse
import logging
import sys
from pathlib import Path

from pipeline.cli.options import Parser
from pipeline.cli.program import run_program
from pipeline.workshop.nano.plan import STAGES, Plan

PROGRAM = "python -m pipeline.workshop.nano"


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = Parser(prog=PROGRAM, description=__doc__)
    parser.add_argument("--output", type=Path, required=True, metavar="DIR",
                        help="states and logs of the stages, and the finished model under DIR/checkpoint; "
                        "the same command again goes on where a stopped one was")  # fmt: skip
    parser.add_argument("--stage", choices=STAGES, action="append",
                        help="train only this stage (repeatable); encoder and vision need no other, language needs "
                        "vision, tracking encoder, following and decoding tracking, "
                        "prompting language and decoding")  # fmt: skip
    parser.add_argument(
        "--evaluate",
        action="store_true",
        help="afterwards, score the model on held-out clips under every procedure and write its card",
    )
    parser.add_argument("--short", action="store_true", help="a few steps of everything, to see that it runs")
    parser.add_argument("--device", default="auto", help="cpu, cuda, or auto: a GPU if there is one (default)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads, and processes that evaluate (default: 1)")
    return parser.parse_args(arguments)


def _train(arguments: argparse.Namespace) -> int:
    import torch

    from pipeline.workshop.nano.training import NanoTraining

    torch.set_num_threads(arguments.threads)
    device = arguments.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    training = NanoTraining(arguments.output, Plan.short() if arguments.short else Plan(), device)
    training.run(tuple(arguments.stage or STAGES))
    if arguments.evaluate:
        from pipeline.workshop.nano.card import VIDEOS, evaluate, write_card

        videos = 2 if arguments.short else VIDEOS
        scores = evaluate(
            training.checkpoint, arguments.output / f"held-out-{videos}", videos=videos, workers=arguments.threads
        )
        write_card(training.checkpoint, arguments.output, training.plan, scores)
    print(f"training states and logs: {arguments.output}; model: {training.checkpoint}")
    return 0


def main() -> int:
    """Train; returns the exit code."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    return run_program(PROGRAM, lambda: _train(parse()))


if __name__ == "__main__":
    sys.exit(main())
