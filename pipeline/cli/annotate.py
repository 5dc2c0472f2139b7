"""Annotate videos: a manifest of videos and expressions in, a Parquet mask dataset out.

One video needs no manifest: --video FILE --expression "the dog". Started again with the same command, a run goes on
where it was. Several prompt templates are several runs, one after the other on the same cluster.
"""

from dataclasses import dataclass
from typing import Annotated

from pipeline.cli.display import open_display
from pipeline.cli.terminal import print_line
from pipeline.config import RunConfig, RunSettings
from pipeline.engine import cluster
from pipeline.errors import UsageError
from pipeline.model.prompt import DEFAULT_PROMPT
from pipeline.settings import POSITIVE, Option
from pipeline.templates import check_output_of_templates, configs_of_templates

EPILOG = """\
--config takes a YAML file with the same names (num_keyframes: 12); options on the command line win over it.

With --prompt-template A --prompt-template B, OUT/template-1 is the dataset of A and OUT/template-2 that of B, each with
its own run.json; sa2va-i combine makes one of them. The exit code is that of the worst run; an error that ends a run
ends the command, and the same command goes on there.

exit codes: 0 done, at most the share --max-failed of the expressions failed; 1 done, but more failed (the last line
of a run says how many and where); 2 bad usage; 3 could not run; 130 interrupted
"""


@dataclass(frozen=True, kw_only=True)
class Options(RunSettings):
    """This command."""

    prompt_template: Annotated[str | list[str], Option("TEXT")] = DEFAULT_PROMPT
    """What is asked; must contain {expression}. Repeated, each template has a dataset of its own, OUT/template-1 and
    so on."""

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

        self.run_configs()  # every template is checked before any work

    def run_configs(self) -> list[RunConfig]:
        """How to annotate: one run for each prompt template."""
        templates = self.prompt_template
        return configs_of_templates(self, [templates] if isinstance(templates, str) else templates)


def run(options: Options) -> int:
    """Annotate, or say what would be done."""
    cluster.prepare(options.address)
    configs = options.run_configs()
    if len(configs) > 1:
        check_output_of_templates(options.output)
    codes = []
    for number, config in enumerate(configs, start=1):
        if len(configs) > 1:
            print_line(f"== prompt template {number} of {len(configs)}: {config.prompt_template}")
        codes.append(_say_plan(config, options) if options.dry_run else _annotate(config, options.address))
    return max(codes)


def _say_plan(config: RunConfig, options: Options) -> int:
    # Ray is imported here, after its environment is prepared and after usage errors had their chance
    from pipeline.dry_run import plan
    from pipeline.engine.workload import seconds_per_frame_of

    rate = seconds_per_frame_of(options.rate_of, config) if options.rate_of is not None else options.seconds_per_frame
    said = plan(config, seconds_per_frame=rate, price_per_gpu_hour=options.price_per_gpu_hour)
    for line in said.splitlines():
        print_line(line)
    return 0


def _annotate(config: RunConfig, address: str | None) -> int:
    """One run; returns the exit code."""
    from pipeline.run import annotate

    with open_display() as display:
        counts = annotate(
            config, address=address, report_line=display.report_line, on_progress=display.on_progress
        ).counts
    print_line(
        f"{config.output}: {counts.rows} rows for {counts.expressions} expressions of {counts.videos} videos "
        f"({counts.ok} ok, {counts.no_object} without an object, {counts.failed} failed)"
    )
    if counts.failed:
        print_line(f"{counts.failed} expressions failed; see status and error in {config.output}/masks")
    return 1 if counts.failed > config.max_failed * counts.expressions else 0
