"""Select the good rows of a mask dataset, split them by video, and write them as a dataset of their own."""

import sys
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Annotated

from pipeline.cleanup.settings import CleanUp
from pipeline.cli.terminal import print_line, printable
from pipeline.curate.rules import Rules
from pipeline.settings import Option

if TYPE_CHECKING:
    from pipeline.curate.run import Curation

EPILOG = """\
rules are applied in this order: licences; failed and no-object rows go; then --min-presence; --min-score; --min-area;
duplicates (a sentence asked twice of a video, then the same masks on every frame; the row with the higher score stays);
--max-per-video; --for-review

--for-review picks by verdicts of a second model, masks that differ from those of --against, answers without an object
whose presence is high, presence near 0.5 (or --reject-below), and low score, in turn, and spreads over kinds of
sentences; the same dataset gives the same rows

exit codes: 0 done; 1 done, but with --allow-missing rows were left out that do not read back; 2 bad usage; 3 could not
run, for instance because a file of the dataset is damaged and --allow-missing was not given
"""


@dataclass(frozen=True, kw_only=True)
class Options(Rules, CleanUp):
    """Datasets."""

    predictions: Annotated[str, Option("OUT")]
    """The mask dataset; path or URL."""
    output: Annotated[str, Option("DIR")]
    """The new dataset; path or URL."""
    allow_missing: bool = False
    """Go on without rows that do not read back or are gone (exit code 1)."""


def run(options: Options) -> int:
    """Select and write."""
    from pipeline.curate.run import curate

    rules = Rules(**{field.name: getattr(options, field.name) for field in fields(Rules)})
    clean_up = CleanUp(**{field.name: getattr(options, field.name) for field in fields(CleanUp)})
    curation = curate(
        options.predictions, options.output, rules, clean_up=clean_up, allow_missing=options.allow_missing
    )
    _print(curation, options.output)
    for line in curation.lost:
        print(f"sa2va-i curate: {printable(line)}", file=sys.stderr)
    return 1 if curation.lost else 0


def _print(curation: "Curation", output: str) -> None:
    from pipeline.storage import scrub

    before, after = curation.before, curation.after
    print_line(f"{'':10}{'videos':>10}{'expressions':>14}{'rows':>10}")
    print_line(f"{'before':10}{before.videos:>10}{before.expressions:>14}{before.rows:>10}")
    print_line(f"{'after':10}{after.videos:>10}{after.expressions:>14}{after.rows:>10}")
    if curation.rejection:
        print_line(f"{curation.rejection}; they count as without an object")
    for reason, rows in curation.dropped.items():
        if rows:
            print_line(f"dropped: {rows} rows, {reason}")
    for split, counts in curation.splits.items():
        print_line(f"{split}: {counts['rows']} rows of {counts['videos']} videos")
    if curation.cleaned:
        print_line(curation.cleaned)
    if curation.verdicts:
        print_line(curation.verdicts)
    print_line(f"written to {scrub(output)}")
