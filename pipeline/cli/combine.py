"""Combine mask datasets of the same videos into one: a weighted vote per pixel, the best answer, or what all agree on.

The datasets may come from other models, keyframes, procedures or prompts. Started again with the same command, it goes
on where it was.
"""

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Annotated

from pipeline.cli.terminal import print_line
from pipeline.combine.settings import CombineSettings
from pipeline.engine import cluster
from pipeline.settings import Option, at_least

if TYPE_CHECKING:
    from pipeline.combine.run import Combination

EPILOG = """\
An expression that a dataset lacks, or that failed there, is combined from the others, and its row's error column says
so. One whose frames, size or sentence differ between the datasets is failed.

exit codes: 0 done; 1 done, but expressions failed or were combined without some of the datasets (the last lines say how
many); 2 bad usage; 3 could not run; 130 interrupted
"""


@dataclass(frozen=True, kw_only=True)
class Options(CombineSettings):
    """Datasets."""

    predictions: Annotated[list[str], Option("OUT[=WEIGHT]", several=True)]
    """Two mask datasets or more, each with the weight of its votes (default: 1 each); paths or URLs."""
    output: Annotated[str, Option("OUT")]
    """The combined dataset; path or URL."""
    parts: Annotated[int, at_least(1), Option("N")] | None = None
    """Files of a new output (default: as many as the first dataset has)."""
    allow_missing: bool = False
    """Count rows of a dataset that do not read back or are gone as missing there, instead of failing."""
    address: str | None = None
    """Ray cluster to join (default: RAY_ADDRESS, one on this machine, or a new one)."""


def run(options: Options) -> int:
    """Combine."""
    cluster.prepare(options.address)
    # Ray is imported here, after its environment is prepared and after usage errors had their chance
    from pipeline.combine.run import combine

    combination = combine(
        options.predictions,
        options.output,
        CombineSettings(**{field.name: getattr(options, field.name) for field in fields(CombineSettings)}),
        parts=options.parts,
        allow_missing=options.allow_missing,
        address=options.address,
        report_line=print_line,
    )
    return _print(combination, options.output)


def _print(combination: "Combination", output: str) -> int:
    """Say what became of it; returns the exit code."""
    counts = combination.counts
    print_line(
        f"{output}: {counts.rows} rows for {counts.expressions} expressions of {counts.videos} videos "
        f"({counts.ok} ok, {counts.no_object} without an object, {counts.failed} failed)"
    )
    if combination.incomplete:
        print_line(f"{combination.incomplete} expressions were combined without some of the datasets; see error")
    if counts.failed:
        print_line(f"{counts.failed} expressions failed; see status and error in {output}/masks")
    return 1 if counts.failed or combination.incomplete or combination.lost else 0
