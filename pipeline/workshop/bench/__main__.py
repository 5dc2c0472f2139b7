"""Measure the model on this machine: the published arrangement of the computation beside ours, with the same masks.

Both run on the same video with the same weights; the run fails if their masks differ.
"""

import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pipeline.cli.program import run_command
from pipeline.errors import PipelineError, UsageError
from pipeline.settings import POSITIVE, CheckedSettings, Option, Rule, at_least
from pipeline.workshop.bench.session_table import session_table

PROGRAM = "python -m pipeline.workshop.bench"

EPILOG = """\
The published arrangement decodes, resizes, grounds and encodes everything again for every expression; it is emulated
with the same modules. Stage times that run at the same time as others (RLE) or in another process (decoding) overlap.
Takes about a minute on two CPU cores with the small model.

exit codes: 0 done, same masks; 1 masks differ; 2 bad usage; 3 could not run
"""


Counts = Annotated[
    list[int], Rule(lambda counts: min(counts, default=0) >= 1, "numbers of at least 1, as 1,4,16"), Option("E,E,...")
]


@dataclass(frozen=True, kw_only=True)
class Options(CheckedSettings):
    """Options."""

    model: str = "nano"
    """The included small model (nano), one as large and untrained (random), or as for annotate."""
    device: str = "auto"
    """Where the model runs: auto, cpu, cuda, cuda:1, ..."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Arithmetic of the model."""
    frames: Annotated[int, at_least(1), Option("N")] = 80
    """Frames of the video."""
    keyframes: Annotated[int, at_least(1), Option("K")] = 5
    """Frames that the language model sees."""
    expressions: Counts = field(default_factory=lambda: [1, 4, 16])
    """Numbers of expressions to measure."""
    video: Annotated[str, Option("FILE")] | None = None
    """A video of your own (default: a drawn clip of 854x480)."""
    threads: Annotated[int, at_least(1), Option("N")] | None = None
    """CPU threads (default: PyTorch's choice, one for a small model as in the job)."""
    published_once: bool = False
    """Measure the published arrangement on one expression and multiply by E (it repeats itself exactly)."""
    variants: Annotated[str, Option("bfloat16,compile")] = ""
    """Also measure ours with SAM 2 in bfloat16, or its encoder through torch.compile, and how masks agree."""
    job: Annotated[int, at_least(2), Option("N")] | None = None
    """Measure instead what the job around the model costs, on N short drawn videos."""
    evaluation: bool = False
    """Measure instead scoring (J and F)."""
    first_session: bool = False
    """Measure instead what a first half hour on a GPU should tell: six steps, each in a process of its own; with
    --device cpu they run at small sizes, to show that they work."""
    minutes: Annotated[float, POSITIVE, Option("M")] = 30.0
    """Of the first session in all."""
    output: Annotated[str, Option("DIR")] = "first-session"
    """Where the first session writes first_session.md and first_session.json, after every step."""
    json: Annotated[str, Option("FILE")] | None = None
    """Write the report here too."""


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


def _variants(options: Options) -> list[str]:
    from pipeline.workshop.bench.variants import VARIANTS

    variants = [name for name in options.variants.split(",") if name]
    for name in variants:
        if name not in VARIANTS:
            raise UsageError(f"variants: {name!r} is not known (known: {', '.join(VARIANTS)})")
    return variants


def _measure_evaluation(options: Options) -> int:
    from pipeline.workshop.bench.evaluation_benchmark import evaluation_benchmark

    _print_report(evaluation_benchmark(), options.json)
    return 0


def _measure_job(options: Options, videos: int) -> int:
    from pipeline.workshop.bench.job_benchmark import JobBenchSettings, job_benchmark

    with _model_directory(options.model) as (model, _), tempfile.TemporaryDirectory(prefix="bench-job-") as scratch:
        settings = JobBenchSettings(
            model=model, videos=videos, say=lambda line: print(line, file=sys.stderr, flush=True)
        )
        _print_report(job_benchmark(settings, Path(scratch)), options.json)
    return 0


def _print_report(report: dict[str, Any], file: str | None) -> None:
    print(json.dumps(report, indent=1))
    if file:
        _write_report(report, file)


def _write_report(report: dict[str, Any], file: str) -> None:
    Path(file).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def _first_session(options: Options) -> int:
    import torch

    from pipeline.workshop.bench.first_session import Session

    device = "cuda" if options.device == "auto" else options.device
    if device != "cpu" and not torch.cuda.is_available():
        raise PipelineError("there is no usable CUDA device here; --device cpu shows every step at small sizes")
    session = Session(
        model=options.model,
        device=device,
        minutes=options.minutes,
        output=Path(options.output),
        say=lambda line: print(line, file=sys.stderr, flush=True),
    )
    report = session.run()
    print(session_table(report), end="")
    return 1 if any("error" in step for step in report["steps"].values()) else 0


def run(options: Options) -> int:
    """Measure, print."""
    if options.first_session:
        return _first_session(options)
    if options.evaluation:
        return _measure_evaluation(options)
    if options.job is not None:
        return _measure_job(options, options.job)
    from pipeline.workshop.bench.model_benchmark import BenchSettings, ModelBenchmark, problems
    from pipeline.workshop.bench.table import as_table

    variants = _variants(options)
    with _model_directory(options.model) as (model, name):
        settings = BenchSettings(
            model=model,
            model_name=name,
            device=options.device,
            dtype=options.dtype,
            frames=options.frames,
            keyframes=options.keyframes,
            expressions=options.expressions,
            video=options.video,
            threads=options.threads,
            published_once=options.published_once,
            variants=variants,
            say=lambda line: print(line, file=sys.stderr, flush=True),
        )
        report = ModelBenchmark(settings).run()
    print(as_table(report))
    if options.json:
        _write_report(report, options.json)
    failed = problems(report)
    for line in failed:
        print(f"{PROGRAM}: {line}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(run_command(PROGRAM, Options, run, sys.argv[1:], description=__doc__, epilog=EPILOG))
