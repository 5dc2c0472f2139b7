#!/usr/bin/env python3
"""Annotate videos: a manifest of videos and expressions in, a Parquet mask dataset out.

Started again with the same command, a run goes on where it was.
"""

import argparse
import logging
import sys
from pathlib import Path
from typing import Any

from pipeline import cli
from pipeline.config import CHOICES, RunConfig, load_config_file
from pipeline.engine import cluster
from pipeline.errors import UsageError

EPILOG = """\
--config takes a YAML file with the same names (num_keyframes: 12); options on the command line win over it.

exit codes: 0 done, nothing failed; 1 done, but some rows are failed (the last line says how many and where);
2 bad usage; 3 could not run
"""


def _parser() -> argparse.ArgumentParser:
    parser = cli.Parser(
        prog="annotate.py",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
    )
    what = parser.add_argument_group("what")
    what.add_argument("--manifest", help=".parquet, .jsonl, .csv or a benchmark's meta_expressions.json; path or URL")
    what.add_argument("--videos", metavar="ROOT", help="folder that relative video paths start from")
    what.add_argument(
        "--model",
        metavar="MODEL",
        help="nano (the small one that comes along), or a Sa2VA-i or Sa2VA checkpoint: folder, URL, Hub id[@revision]",
    )
    what.add_argument("--output", help="dataset directory to write; path or URL")
    what.add_argument("--config", metavar="run.yaml", help="settings from a file")
    what.add_argument("--limit", type=int, metavar="N", help="only the first N videos")
    what.add_argument("--retry-failed", action="store_true", help="do again what failed before")
    what.add_argument("--dry-run", action="store_true", help="check everything, say what would be done, and stop")
    rate = what.add_mutually_exclusive_group()
    rate.add_argument(
        "--seconds-per-frame", type=float, metavar="S", help="with --dry-run: worker time a frame takes, for GPU-hours"
    )
    rate.add_argument("--rate-of", metavar="OUTPUT", help="with --dry-run: take that time from a run that has ended")

    how = parser.add_argument_group("how masks are made")
    how.add_argument("--procedure", choices=CHOICES["procedure"], help="default: sa2va-i")
    how.add_argument("--keyframes", choices=CHOICES["keyframes"], help="override one choice of the procedure")
    how.add_argument(
        "--handover", choices=CHOICES["handover"], help="override: keyframe masks as mask prompts or logits"
    )
    how.add_argument("--propagation-decoder", choices=CHOICES["propagation_decoder"], help="override")
    how.add_argument("--num-keyframes", type=int, metavar="K", help="frames the language model sees (default: 5)")
    how.add_argument("--prompt-template", metavar="TEXT", help="what is asked; must contain {expression}")
    how.add_argument("--objects", choices=CHOICES["objects"], help="objects of an answer to keep (default: all)")
    how.add_argument("--dtype", choices=CHOICES["dtype"], help="default: bfloat16 on GPUs, float32 on CPUs")
    how.add_argument("--frame-stride", type=int, metavar="N", help="annotate every Nth frame")
    how.add_argument("--max-frames", type=int, metavar="N", help="annotate at most N frames of a video")
    how.add_argument(
        "--merge-tracks",
        type=float,
        metavar="IOU",
        help="faster: objects whose first masks agree this much on every keyframe share one track (changes masks; "
        "default: off)",
    )

    where = parser.add_argument_group("workers")
    where.add_argument(
        "--address", help="Ray cluster to join (default: RAY_ADDRESS, one on this machine, or a new one)"
    )
    where.add_argument("--grounders", metavar="N|A:B", help="workers that run the language model; 1:8 scales between")
    where.add_argument("--segmenters", metavar="N|A:B", help="workers that run SAM 2, likewise")
    where.add_argument("--gpus-per-grounder", type=float, metavar="G", help="a fraction shares a GPU, 0 is the CPU")
    where.add_argument("--gpus-per-segmenter", type=float, metavar="G")
    where.add_argument(
        "--ground-on",
        metavar="KIND",
        help="nodes for grounders: accelerator type (A100) or custom resource (big, big=1)",
    )
    where.add_argument("--segment-on", metavar="KIND", help="nodes for segmenters, likewise")
    where.add_argument(
        "--placement-timeout-s", type=float, metavar="S", help="longest wait for nodes that fit (default: 60)"
    )
    where.add_argument("--frames-per-batch", type=int, metavar="N", help="frames the image encoder takes at once")
    where.add_argument("--max-objects", type=int, metavar="N", help="objects propagated at once (default: 16)")
    where.add_argument(
        "--split-expressions",
        metavar="auto|off|N",
        help="videos in parts of at most N expressions; auto: only those too long for one worker (default)",
    )
    where.add_argument("--max-attempts", type=int, metavar="N", help="times a video may kill its worker (default: 3)")
    where.add_argument("--decode-timeout-s", type=float, metavar="S", help="longest wait for a frame (default: 120)")
    where.add_argument("--max-side", type=int, metavar="PX", help="refuse larger videos (default: 8192)")
    return parser


def _config(options: dict[str, Any]) -> RunConfig:
    path = options.pop("config", None)
    settings = (load_config_file(Path(path)) if path else {}) | options
    missing = [name for name in ("manifest", "model", "output") if name not in settings]
    if missing:
        raise UsageError(f"--{', --'.join(missing)} missing (--help lists everything)")
    try:
        return RunConfig(**settings)
    except TypeError as error:
        raise UsageError(f"{path}: a setting has the wrong type ({error})") from error


def main() -> int:
    """Run the command and return its exit code."""
    options = vars(_parser().parse_args())
    address, dry_run = options.pop("address", None), options.pop("dry_run", False)
    seconds_per_frame, rate_of = options.pop("seconds_per_frame", None), options.pop("rate_of", None)
    if not dry_run and (seconds_per_frame is not None or rate_of is not None):
        raise UsageError("--seconds-per-frame and --rate-of are for --dry-run")
    if seconds_per_frame is not None and not 0 < seconds_per_frame < float("inf"):
        raise UsageError(f"--seconds-per-frame is {seconds_per_frame}; it must be positive")
    config = _config(options)
    cluster.prepare(address)
    # heavy imports, Ray's among them, come after that and after usage errors had their chance
    from pipeline.engine.workload import seconds_per_frame_of
    from pipeline.run import annotate, plan

    if dry_run:
        if rate_of is not None:
            seconds_per_frame = seconds_per_frame_of(rate_of)
        print(plan(config, seconds_per_frame=seconds_per_frame))
        return 0
    summary = annotate(config, address=address, say=lambda line: print(line, flush=True))
    counts = summary.counts
    print(
        f"{config.output}: {counts.rows} rows for {counts.expressions} expressions of {counts.videos} videos "
        f"({counts.ok} ok, {counts.no_object} without an object, {counts.failed} failed)"
    )
    if counts.failed:
        print(f"{counts.failed} expressions failed; see status and error in {config.output}/masks")
    return 1 if counts.failed else 0


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    sys.exit(cli.run("annotate.py", main))
