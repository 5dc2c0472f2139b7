"""Do a benchmark from a recipe file: annotate by several runs, combine, choose a threshold, export and check.

FILE is a YAML file or the name of an included recipe. Started again with the same command, it goes on where it was.
"""

import sys
from dataclasses import dataclass
from typing import Annotated

from pipeline.cli.terminal import print_line, printable
from pipeline.engine import cluster
from pipeline.settings import CheckedSettings, Option

EPILOG = """\
included recipes: mevis, mevis-v2, ref-youtube-vos, ref-davis17, revos

  title: MeViS v2
  benchmark: mevis-v2                      # as for evaluate
  format: mevis-v2                         # as for export
  model: kumuji/Sa2VA-i-4B                 # of runs that name none
  choose:                                  # the split with public truth (may be left out)
    manifest: mevis/valid_u/meta_expressions.json
    ground_truth: mevis/valid_u
  submit:                                  # the split to export (may be left out)
    manifest: mevis/valid/meta_expressions.json
  runs:                                    # by name: options of annotate
    k5: {num_keyframes: 5, objects: first}
    k12: {num_keyframes: 12, objects: first}
  combine: {mode: average}                 # options of combine; needed for several runs
  weights: {k12: 2}
  threshold: choose                        # on the split choose; or a number, or none

OUT/summary.md has the numbers of every step, OUT/submission.zip what to submit, OUT/choose and OUT/submit the datasets.

exit codes: 0 done; 1 done, but expressions failed or the check of the submission found faults; 2 bad usage; 3 could not
run; 130 interrupted
"""


@dataclass(frozen=True, kw_only=True)
class Options(CheckedSettings):
    """Options."""

    recipe: Annotated[str, Option("FILE", positional=True)]
    """The recipe, or the name of an included one."""
    output: Annotated[str, Option("OUT")]
    """Folder that receives everything; path or URL."""
    data: Annotated[str, Option("ROOT")] = "."
    """Folder that the recipe's paths start from; path or URL."""
    model: str | None = None
    """Take this model for every run: nano, folder, URL, Hub id[@revision]."""
    address: str | None = None
    """Ray cluster to join (default: RAY_ADDRESS, one on this machine, or a new one)."""


def run(options: Options) -> int:
    """Do the recipe."""
    from pipeline.recipe.read import read_recipe

    recipe = read_recipe(options.recipe, model=options.model)
    cluster.prepare(options.address)
    # Ray is imported here, after its environment is prepared and after usage errors had their chance
    from pipeline.recipe.run import RecipeRun

    outcome = RecipeRun(
        recipe, data=options.data, output=options.output, address=options.address, report_line=print_line
    ).run()
    print_line(f"{outcome.summary}: the numbers of every step")
    if outcome.submission is not None:
        print_line(f"{outcome.submission}: {len(outcome.faults) or 'no'} faults")
    if outcome.failed or outcome.missing or outcome.faults:
        print(
            printable(
                f"sa2va-i recipe: {outcome.failed} expressions failed, {outcome.missing} have no answer in the "
                f"submission, {len(outcome.faults)} faults"
            ),
            file=sys.stderr,
        )
        return 1
    return 0
