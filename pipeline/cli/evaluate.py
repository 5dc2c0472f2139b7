"""Score predictions by a benchmark's official protocol: J, F, J&F and what else it asks for."""

import csv
import io
import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from pipeline.cli.terminal import print_line, printable
from pipeline.settings import CheckedSettings, OneOf, Option, at_least, between

if TYPE_CHECKING:
    from pipeline.evaluation import Evaluation

BENCHMARKS = (
    "mevis",
    "mevis-v2",
    "ref-youtube-vos",
    "ref-davis17",
    "revos",
    "long-rvos",
    "ref-sav",
    "votsr",
    "saco-veval",
)
"""Those that ``pipeline.evaluation.protocols`` can score."""
PROTOCOLS = ("four-annotator", "official", "per-expression")

EPILOG = """\
--ground-truth by benchmark:
  mevis, mevis-v2   the split's folder: meta_expressions.json, mask_dict.json (train and valid_u have one)
  ref-youtube-vos   train/ with Annotations/; meta_expressions/train/meta_expressions.json beside it
  ref-davis17       the folder with meta_expressions/, valid/ and DAVIS/
  long-rvos         the split's folder: meta_expressions.json, Annotations/<video>/<object>/<frame>.png
  ref-sav           the folder with meta_expressions_valid.json, mask_dict.json
  votsr             sequences/ with ground truth; --predictions may be a tracker's results, also packed
  saco-veval        saco_veval_*.json; --predictions may be a list of masklets
  revos             the folder with meta_expressions_valid_.json, mask_dict.json, mask_dict_foreground.json

exit codes: 0 done; 1 done, but expressions without a prediction scored 0; 2 bad usage; 3 could not run, for instance
because a file of the dataset is damaged and --allow-missing was not given
"""


@dataclass(frozen=True, kw_only=True)
class Options(CheckedSettings):
    """Options."""

    benchmark: Annotated[str, OneOf(BENCHMARKS)]
    """Whose protocol to score by."""
    ground_truth: Annotated[str, Option("DIR")]
    """The benchmark's split folder, see below."""
    predictions: Annotated[str, Option("OUT|DIR|ZIP|JSON")]
    """A mask dataset (any fsspec URL), a folder or zip of PNGs as submitted, or Sa2VA's results.json."""
    protocol: Annotated[str, OneOf(PROTOCOLS)] | None = None
    """ref-davis17 has two that do not compare: per-expression (default) and four-annotator."""
    objects: Literal["first", "union", "all"] | None = None
    """Objects of a mask dataset's answers that count: the first alone, as in the published evaluation, or the union of
    all (default: first; union for votsr, each by itself for saco-veval)."""
    strict: bool = False
    """Fail when an expected expression has no prediction."""
    allow_missing: bool = False
    """Count rows of the dataset that do not read back as missing, instead of failing (exit code 3)."""
    reject_below: Annotated[float, between(0, 1), Option("X")] | None = None
    """In a mask dataset, take expressions whose verdict (of `sa2va-i verify`) or, without one, presence is below this
    as answered with no object."""
    choose_threshold: bool = False
    """For mevis-v2: also find the --reject-below that gives the best result on this split."""
    json: Annotated[str, Option("FILE")] | None = None
    """Write everything as JSON, fractions of 1."""
    csv: Annotated[str, Option("FILE")] | None = None
    """Write one line per expression."""
    workers: Annotated[int, at_least(1), Option("N")] | None = None
    """Processes (default: all cores, 1 for small inputs)."""


def run(options: Options) -> int:
    """Score, print, and write the files asked for."""
    from pipeline.evaluation import evaluate, missing_summary

    evaluation = evaluate(
        options.benchmark,
        options.ground_truth,
        options.predictions,
        protocol=options.protocol,
        objects=options.objects,
        strict=options.strict,
        allow_missing=options.allow_missing,
        reject_below=options.reject_below,
        choose_threshold=options.choose_threshold,
        workers=options.workers,
    )
    _print(evaluation)
    _write(options, evaluation)
    for (video_id, expression_id), why in evaluation.missing.items():
        print(f"missing: video {video_id!r} expression {expression_id!r}: {printable(why)}", file=sys.stderr)
    if evaluation.missing:
        summary = missing_summary(evaluation.missing, evaluation.expressions)
        print(f"sa2va-i evaluate: {summary}; they score 0", file=sys.stderr)
        return 1
    return 0


def _print(evaluation: "Evaluation") -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    protocol = evaluation.protocol
    # Wide enough for every column also where the output is a file or a pipe.
    console = Console(width=None if sys.stdout.isatty() else 160)
    table = Table(title=f"{protocol.benchmark}, {protocol.name} protocol, percent")
    table.add_column(f"{evaluation.expressions} expressions")
    for name in evaluation.lines[0].values:
        table.add_column(name, justify="right")
    for line in evaluation.lines:
        table.add_row(
            Text(printable(line.name)), *("-" if v is None else f"{100 * v:.2f}" for v in line.values.values())
        )
    console.print(table)
    console.print(protocol.about, markup=False, highlight=False)
    if evaluation.rejection is not None:
        print_line(evaluation.rejection)
    if evaluation.threshold is not None:
        chosen = evaluation.threshold
        print_line(
            f"best on this split: --reject-below {chosen.value:.6g} gives {100 * chosen.final:.2f} "
            f"({100 * chosen.final_without:.2f} without), {chosen.rejected} expressions are rejected"
        )


def _write(options: Options, evaluation: "Evaluation") -> None:
    from pipeline.evaluation import csv_rows
    from pipeline.storage import atomic_write

    if options.json:
        text = json.dumps(evaluation.as_json(), indent=1, ensure_ascii=False)
        atomic_write(options.json, text.encode("utf-8", "replace"))
    if options.csv:
        rows = csv_rows(evaluation.scores)
        names = list(dict.fromkeys(name for row in rows for name in row))
        sheet = io.StringIO(newline="")
        writer = csv.DictWriter(sheet, names)
        writer.writeheader()
        writer.writerows(rows)
        atomic_write(options.csv, sheet.getvalue().encode("utf-8", "replace"))
