"""Measure how a run scales, without GPUs: the pipeline's pools on a private Ray, with stages that sleep.

Each logical GPU carries one grounder and one segmenter. Efficiency is the useful work of the fuller pool over what its
workers could have done in the time: the throughput of N GPUs over N times that of one.
"""

import json
import logging
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

from pipeline.cli.program import run_command
from pipeline.engine import cluster
from pipeline.settings import POSITIVE, CheckedSettings, Option, Rule, at_least

PROGRAM = "python -m pipeline.workshop.simulate"
EPILOG = "exit codes: 0 done; 2 bad usage; 3 could not run\n"

Counts = Annotated[
    list[int],
    Rule(lambda counts: all(count >= 1 for count in counts), "whole numbers of at least 1, as 1,4,16"),
    Option("N,N,..."),
]


@dataclass(frozen=True, kw_only=True)
class Options(CheckedSettings):
    """Options."""

    gpus: Counts = field(default_factory=lambda: [1, 4])
    """Sizes of clusters, in logical GPUs of this machine."""
    scale: Annotated[float, POSITIVE, Option("S")] = 0.1
    """Factor on the seconds that stages sleep: 1 is a GPU's time."""
    videos_per_gpu: Annotated[int, at_least(1), Option("N")] = 20
    """Videos for each GPU; more make the start and the end matter less."""
    plan: Counts = field(default_factory=list)
    """Also measure planning manifests of so many rows."""
    driver: Counts = field(default_factory=list)
    """Also measure what the driver does for each of so many videos, with stages that do nothing."""
    json: Annotated[str, Option("FILE")] | None = None
    """Write the numbers here too."""


def run(options: Options) -> int:
    """Measure, print."""
    lines, costs, drivers = [], [], []
    with _logical_gpus(max([1, *options.gpus])):
        from pipeline.workshop.simulate.driver import measure_driver
        from pipeline.workshop.simulate.graph import measure_loads
        from pipeline.workshop.simulate.planning import measure_planning

        for line in measure_loads(options.gpus, videos_per_gpu=options.videos_per_gpu, scale=options.scale):
            lines.append(line)
            print(line, flush=True)
        with tempfile.TemporaryDirectory() as directory:
            for rows in options.plan:
                costs.append(measure_planning(Path(directory), rows))
                print(costs[-1], flush=True)
        for videos in options.driver:
            drivers.append(measure_driver(videos))
            print(drivers[-1], flush=True)
    if options.json:
        numbers = {
            "lines": [asdict(line) for line in lines],
            "planning": [asdict(cost) for cost in costs],
            "driver": [asdict(cost) for cost in drivers],
        }
        Path(options.json).write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")
    return 0


@contextmanager
def _logical_gpus(count: int) -> Iterator[None]:
    """A Ray cluster of this process's own with ``count`` logical GPUs."""
    cluster.prepare("local")
    import ray  # only now: it reads its settings when it is imported

    ray.init(address="local", num_gpus=count, include_dashboard=False, logging_level=logging.WARNING)
    try:
        yield
    finally:
        ray.shutdown()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run as a program; returns the exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    return run_command(PROGRAM, Options, run, given, description=__doc__, epilog=EPILOG)


if __name__ == "__main__":
    sys.exit(main())
