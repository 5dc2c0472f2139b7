#!/usr/bin/env python3
"""How a run would scale, and what planning a large manifest costs; no GPU is used.

A model predicts clusters of any size; the real graph on Ray, with stages that sleep instead of computing, checks it.
"""

import argparse
import logging
import sys
import tempfile
from pathlib import Path

from pipeline import cli, cluster

EPILOG = """\
Each GPU carries one grounder and one segmenter. Efficiency is the throughput of N GPUs over N times that of one:
measured ("on Ray"), predicted ("model"), and predicted with the expressions of long videos split and long videos first
("split"). "tail s" is the time from the first segmenter with nothing left to do until the end.

exit codes: 0 done; 2 bad usage; 3 could not run
"""


def _numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of numbers like 2,4,8") from None


def main() -> int:
    """Run the command and return its exit code."""
    parser = cli.Parser(
        prog="simulate.py", description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gpus", type=_numbers, default=[1, 2, 4, 8, 16, 64, 256, 1000], metavar="N,N,...")
    parser.add_argument("--graph-up-to", type=int, default=0, metavar="N", help="measure sizes up to N on Ray, too")
    parser.add_argument("--scale", type=float, default=0.1, help="factor on the measured runs' costs (default: 0.1)")
    parser.add_argument("--videos-per-gpu", type=int, default=50, metavar="N", help="of the model's load (default: 50)")
    parser.add_argument("--plan", type=_numbers, default=[], metavar="ROWS,...", help="measure planning such manifests")
    options = parser.parse_args()
    if min(options.gpus) < 1 or options.scale <= 0 or options.videos_per_gpu < 1 or min(options.plan, default=1) < 1:
        parser.error("all numbers must be positive")
    cluster.prepare("local")
    from pipeline.simulate.planning import measure_planning
    from pipeline.simulate.report import HEADER, simulate

    if options.graph_up_to:
        import ray

        ray.init(address="local", num_gpus=max(options.gpus), include_dashboard=False, logging_level=logging.WARNING)
    print(HEADER)
    for line in simulate(
        options.gpus, graph_up_to=options.graph_up_to, scale=options.scale, videos_per_gpu=options.videos_per_gpu
    ):
        print(line, flush=True)
    with tempfile.TemporaryDirectory() as directory:
        for rows in options.plan:
            cost = measure_planning(Path(directory), rows)
            seconds = cost.read_seconds + cost.rows_seconds
            print(
                f"planning {rows} rows, {cost.videos} videos: {seconds:.1f} s ({cost.cpu_seconds:.1f} s of CPU), "
                f"{cost.memory_bytes / 2**20:.0f} MiB"
            )
    return 0


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    sys.exit(cli.run("simulate.py", main))
