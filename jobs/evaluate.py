#!/usr/bin/env python3
"""Score predictions by a benchmark's official protocol: J, F, J&F and what else it asks for."""

import argparse
import csv
import io
import json
import logging
import sys

from rich.console import Console
from rich.table import Table

from pipeline import cli
from pipeline.evaluation import BENCHMARKS, PROTOCOLS, Evaluation, csv_rows, evaluate, missing_summary
from pipeline.storage import atomic_write

EPILOG = """\
--ground-truth by benchmark:
  mevis, mevis-v2   the split's folder: meta_expressions.json, mask_dict.json (train and valid_u have one)
  ref-youtube-vos   train/ with Annotations/; meta_expressions/train/meta_expressions.json beside it
  ref-davis17       the folder with meta_expressions/, valid/ and DAVIS/
  revos             the folder with meta_expressions_valid_.json, mask_dict.json, mask_dict_foreground.json

exit codes: 0 done; 1 done, but expressions without a prediction scored 0; 2 bad usage; 3 could not run
"""


def _arguments() -> argparse.Namespace:
    parser = cli.Parser(
        prog="evaluate.py",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--benchmark", required=True, choices=BENCHMARKS)
    parser.add_argument("--ground-truth", required=True, metavar="DIR", help="the benchmark's split folder, see below")
    parser.add_argument(
        "--predictions",
        required=True,
        metavar="OUT|DIR|ZIP|JSON",
        help="a mask dataset (any fsspec URL), a folder or zip of PNGs as submitted, or Sa2VA's results.json",
    )
    parser.add_argument(
        "--protocol",
        choices=sorted({protocol.name for protocol in PROTOCOLS}),
        help="ref-davis17 has two that do not compare: per-expression (default) and four-annotator",
    )
    parser.add_argument(
        "--objects",
        choices=("first", "union"),
        default="first",
        help="of a mask dataset's answers: the first object alone, as the published evaluation does (default), "
        "or the union of all",
    )
    parser.add_argument("--strict", action="store_true", help="fail when an expected expression has no prediction")
    parser.add_argument("--json", metavar="FILE", help="write everything as JSON, fractions of 1")
    parser.add_argument("--csv", metavar="FILE", help="write one line per expression")
    parser.add_argument("--workers", type=int, metavar="N", help="processes (default: all cores, 1 for small inputs)")
    arguments = parser.parse_args()
    if arguments.workers is not None and arguments.workers < 1:
        parser.error(f"--workers must be at least 1, not {arguments.workers}")
    return arguments


def _print(evaluation: Evaluation) -> None:
    protocol = evaluation.protocol
    # Wide enough for every column also where the output is a file or a pipe.
    console = Console(width=None if sys.stdout.isatty() else 160)
    table = Table(title=f"{protocol.benchmark}, {protocol.name} protocol, percent")
    table.add_column(f"{evaluation.expressions} expressions")
    for name in evaluation.lines[0].values:
        table.add_column(name, justify="right")
    for line in evaluation.lines:
        table.add_row(line.name, *("-" if v is None else f"{100 * v:.2f}" for v in line.values.values()))
    console.print(table)
    console.print(protocol.about, markup=False, highlight=False)


def _write(arguments: argparse.Namespace, evaluation: Evaluation) -> None:
    if arguments.json:
        text = json.dumps(evaluation.as_json(), indent=1, ensure_ascii=False)
        atomic_write(arguments.json, text.encode("utf-8", "replace"))
    if arguments.csv:
        rows = csv_rows(evaluation.scores)
        names = list(dict.fromkeys(name for row in rows for name in row))
        sheet = io.StringIO(newline="")
        writer = csv.DictWriter(sheet, names)
        writer.writeheader()
        writer.writerows(rows)
        atomic_write(arguments.csv, sheet.getvalue().encode("utf-8", "replace"))


def _evaluate(arguments: argparse.Namespace) -> int:
    evaluation = evaluate(
        arguments.benchmark,
        arguments.ground_truth,
        arguments.predictions,
        protocol=arguments.protocol,
        objects=arguments.objects,
        strict=arguments.strict,
        workers=arguments.workers,
    )
    _print(evaluation)
    _write(arguments, evaluation)
    for (video_id, expression_id), why in evaluation.missing.items():
        print(f"missing: video {video_id!r} expression {expression_id!r}: {why}", file=sys.stderr)
    if evaluation.missing:
        summary = missing_summary(evaluation.missing, evaluation.expressions)
        print(f"evaluate.py: {summary}; they score 0", file=sys.stderr)
        return 1
    return 0


def main() -> int:
    """Run the command and return its exit code."""
    arguments = _arguments()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    return cli.run("evaluate.py", lambda: _evaluate(arguments))


if __name__ == "__main__":
    sys.exit(main())
