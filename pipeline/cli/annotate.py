"""Annotate videos: a manifest of videos and expressions in, a Parquet mask dataset out.

One video needs no manifest: --video FILE --expression "the dog". Started again with the same command, a run goes on
where it was.
"""

from dataclasses import dataclass, fields
from typing import Annotated

from pipeline.cli.display import open_display
from pipeline.cli.terminal import print_line
from pipeline.config import RunConfig
from pipeline.engine import cluster
from pipeline.errors import UsageError
from pipeline.settings import POSITIVE, Option

EPILOG = """\
--config takes a YAML file with the same names (num_keyframes: 12); options on the command line win over it.

exit codes: 0 done, at most the share --max-failed of the expressions failed; 1 done, but more failed (the last line
says how many and where); 2 bad usage; 3 could not run; 130 interrupted
"""


@dataclass(frozen=True, kw_only=True)
class Options(RunConfig):
    """This command."""

    config: Annotated[str | None, Option("run.yaml")] = None
    """Settings from a YAML file."""
    dry_run: bool = False
    """Check everything, say what would be done, and stop."""
    seconds_per_frame: Annotated[float, POSITIVE, Option("S")] | None = None
    """With --dry-run: worker time a frame takes, to estimate GPU-hours."""
    rate_of: Annotated[str, Option("OUT")] | None = None
    """With --dry-run: take that time from the output of a run that has ended."""
    price_per_gpu_hour: Annotated[float, POSITIVE, Option("USD")] | None = None
    """With --dry-run and one of these: also say what the run costs."""
    address: str | None = None
    """Ray cluster to join (default: RAY_ADDRESS, one on this machine, or a new one)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.dry_run and (self.seconds_per_frame is not None or self.rate_of is not None):
            raise UsageError("--seconds-per-frame and --rate-of are for --dry-run")
        if self.seconds_per_frame is not None and self.rate_of is not None:
            raise UsageError("--seconds-per-frame and --rate-of exclude each other")
        if self.price_per_gpu_hour is not None and self.seconds_per_frame is None and self.rate_of is None:
            raise UsageError("--price-per-gpu-hour needs --dry-run, and --seconds-per-frame or --rate-of")

    def run_config(self) -> RunConfig:
        """The part that says how to annotate."""
        return RunConfig(**{field.name: getattr(self, field.name) for field in fields(RunConfig)})


def run(options: Options) -> int:
    """Annotate, or say what would be done."""
    cluster.prepare(options.address)
    # Ray is imported here, after its environment is prepared and after usage errors had their chance
    from pipeline.engine.workload import seconds_per_frame_of
    from pipeline.run import annotate, plan

    config = options.run_config()
    if options.dry_run:
        rate = seconds_per_frame_of(options.rate_of) if options.rate_of is not None else options.seconds_per_frame
        said = plan(config, seconds_per_frame=rate, price_per_gpu_hour=options.price_per_gpu_hour)
        for line in said.splitlines():
            print_line(line)
        return 0
    with open_display() as display:
        counts = annotate(
            config, address=options.address, report_line=display.report_line, on_progress=display.on_progress
        ).counts
    print_line(
        f"{config.output}: {counts.rows} rows for {counts.expressions} expressions of {counts.videos} videos "
        f"({counts.ok} ok, {counts.no_object} without an object, {counts.failed} failed)"
    )
    if counts.failed:
        print_line(f"{counts.failed} expressions failed; see status and error in {config.output}/masks")
    return 1 if counts.failed > config.max_failed * counts.expressions else 0
