"""Measure the model on this machine: the published arrangement of the computation beside ours, with the same masks.

Both run on the same video with the same weights; the run fails if their masks differ.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.cli.options import Parser
from pipeline.cli.program import run_program
from pipeline.errors import UsageError

PROGRAM = "python -m pipeline.workshop.bench"

EPILOG = """\
The published arrangement decodes, resizes, grounds and encodes everything again for every expression; it is emulated
with the same modules. Stage times that run at the same time as others (RLE) or in another process (decoding) overlap.
Takes about a minute on two CPU cores with the small model.

--simulate: each GPU carries one grounder and one segmenter. Efficiency is the throughput of N GPUs over N times that of
one: measured ("on Ray"), predicted for the same run ("model", "off by": in percent of the time measured), and predicted
without what the job does against long tails: long videos first, and in parts where that pays ("plain"). "tail s": from
the first segmenter with nothing left to do until the end. With --graph-up-to the model is first calibrated, on one GPU
and on stages that do nothing; every other measured line is then a check of it.

exit codes: 0 done, same masks; 1 masks differ; 2 bad usage; 3 could not run
"""


def _counts(text: str) -> list[int]:
    try:
        counts = [int(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of numbers like 1,4,16") from None
    if min(counts) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: each number must be at least 1")
    return counts


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} must be positive")
    return value


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog=PROGRAM, description=__doc__, epilog=EPILOG)
    parser.add_argument(
        "--model", default="nano", help="nano (default), random (as large, untrained), or as for annotate.py"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, ...")
    parser.add_argument("--dtype", default="auto", choices=["auto", "float32", "bfloat16"])
    parser.add_argument("--frames", type=int, default=80, metavar="N", help="of the video (default: 80)")
    parser.add_argument("--keyframes", type=int, default=5, metavar="K", help="default: 5")
    parser.add_argument("--expressions", type=_counts, default=[1, 4, 16], metavar="E,E,...", help="default: 1,4,16")
    parser.add_argument("--video", help="a video of your own (default: a drawn clip of 854x480)")
    parser.add_argument(
        "--threads",
        type=int,
        metavar="N",
        help="CPU threads (default: PyTorch's choice, one for a small model as in the job)",
    )
    parser.add_argument(
        "--published-once",
        action="store_true",
        help="measure the published arrangement on one expression and multiply by E (it repeats itself exactly)",
    )
    parser.add_argument(
        "--variants",
        default="",
        metavar="bfloat16,compile",
        help="also measure ours with SAM 2 in bfloat16, or its encoder through torch.compile, and how masks agree",
    )
    parser.add_argument(
        "--job", type=int, metavar="N", help="measure what the job around the model costs, on N short drawn videos"
    )
    parser.add_argument("--evaluation", action="store_true", help="measure scoring (J and F) instead of the model")
    scaling = parser.add_argument_group("how a run would scale; needs no GPU")
    scaling.add_argument(
        "--simulate", action="store_true", help="predict clusters of many sizes instead of measuring the model"
    )
    scaling.add_argument("--gpus", type=_counts, default=[1, 2, 4, 8, 16, 64, 256, 1000], metavar="N,N,...")
    scaling.add_argument(
        "--graph-up-to", type=int, default=0, metavar="N", help="sizes up to N on a real Ray, with stages that sleep"
    )
    scaling.add_argument("--scale", type=_positive, default=0.1, help="factor on their sleeps (default: 0.1)")
    scaling.add_argument(
        "--videos-per-gpu", type=int, default=50, metavar="N", help="of predicted lines (default: 50; measured: 20)"
    )
    scaling.add_argument(
        "--plan", type=_counts, default=[], metavar="ROWS,...", help="also measure planning manifests of so many rows"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report here too")
    return parser


@contextmanager
def _model_directory(name: str) -> Iterator[tuple[Path, str]]:
    """The checkpoint to measure, and what to call it."""
    from pipeline.model.checkpoint.locate import fetch_model, pin_model
    from pipeline.workshop.nano.untrained import write_untrained

    if name == "random":
        with tempfile.TemporaryDirectory(prefix="bench-model-") as scratch:
            yield write_untrained(Path(scratch)), "nano, untrained"
    else:
        yield fetch_model(pin_model(name)), name


def _check(args: argparse.Namespace) -> list[str]:
    from pipeline.workshop.bench.variants import VARIANTS

    for name in ("frames", "keyframes", "threads"):
        value = getattr(args, name)
        if value is not None and value < 1:
            raise UsageError(f"--{name} is {value}; it must be at least 1")
    variants = [name for name in args.variants.split(",") if name]
    for name in variants:
        if name not in VARIANTS:
            raise UsageError(f"--variants: {name!r} is not known (known: {', '.join(VARIANTS)})")
    return variants


def _evaluation(args: argparse.Namespace) -> int:
    from pipeline.workshop.bench.evaluation_benchmark import evaluation_benchmark

    _print_report(evaluation_benchmark(), args.json)
    return 0


def _job(args: argparse.Namespace) -> int:
    from pipeline.workshop.bench.job_benchmark import JobBenchSettings, job_benchmark

    if args.job < 2:
        raise UsageError(f"--job is {args.job}; a pace takes at least 2 videos")
    with _model_directory(args.model) as (model, _), tempfile.TemporaryDirectory(prefix="bench-job-") as scratch:
        settings = JobBenchSettings(
            model=model, videos=args.job, say=lambda line: print(line, file=sys.stderr, flush=True)
        )
        _print_report(job_benchmark(settings, Path(scratch)), args.json)
    return 0


def _print_report(report: dict[str, Any], file: Path | None) -> None:
    print(json.dumps(report, indent=1))
    if file:
        _write_report(report, file)


def _write_report(report: dict[str, Any], file: Path) -> None:
    file.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def _simulate(args: argparse.Namespace) -> int:
    from pipeline.workshop.simulate.session import SimulationSettings, run_simulation

    settings = SimulationSettings(
        gpus=args.gpus,
        graph_up_to=args.graph_up_to,
        scale=args.scale,
        videos_per_gpu=args.videos_per_gpu,
        plan=args.plan,
        say=lambda line: print(line, flush=True),
    )
    report = run_simulation(settings)
    if args.json:
        _write_report(report, args.json)
    return 0


def _work(args: argparse.Namespace) -> int:
    if args.simulate:
        return _simulate(args)
    if args.evaluation:
        return _evaluation(args)
    if args.job is not None:
        return _job(args)
    from pipeline.workshop.bench.model_benchmark import BenchSettings, ModelBenchmark, problems
    from pipeline.workshop.bench.table import as_table

    variants = _check(args)
    with _model_directory(args.model) as (model, name):
        settings = BenchSettings(
            model=model,
            model_name=name,
            device=args.device,
            dtype=args.dtype,
            frames=args.frames,
            keyframes=args.keyframes,
            expressions=args.expressions,
            video=args.video,
            threads=args.threads,
            published_once=args.published_once,
            variants=variants,
            say=lambda line: print(line, file=sys.stderr, flush=True),
        )
        report = ModelBenchmark(settings).run()
    print(as_table(report))
    if args.json:
        _write_report(report, args.json)
    failed = problems(report)
    for line in failed:
        print(f"{PROGRAM}: {line}", file=sys.stderr)
    return 1 if failed else 0


def main() -> int:
    """Parse, measure, print."""
    return run_program(PROGRAM, lambda: _work(_parser().parse_args()))


if __name__ == "__main__":
    sys.exit(main())
