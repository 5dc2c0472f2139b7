"""What a recipe led to, and the page of it: numbers of each step, threshold, submission, and what was published."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from pipeline.recipe.read import Recipe
from pipeline.storage import scrub


@dataclass(kw_only=True)
class Outcome:
    """What a recipe led to.

    Attributes:
        summary: File of the page.
        submission: The zip file (or folder), if there is one.
        faults: What the check of the submission found.
        missing: Expressions that the submission holds empty, or not at all, because there is no answer.
        failed: Expressions that failed, in all runs together.
        numbers: By step on the split to choose on: the benchmark's numbers, fractions of 1.
        datasets: By split and name: the dataset.
        threshold: What ``--reject-below`` was.
        chosen: How the threshold was chosen; empty where it was not.
    """

    summary: str = ""
    submission: str | None = None
    faults: list[str] = field(default_factory=list)
    missing: int = 0
    failed: int = 0
    numbers: dict[str, dict[str, float | None]] = field(default_factory=dict)
    datasets: dict[str, str] = field(default_factory=dict)
    threshold: float | None = None
    chosen: dict[str, Any] = field(default_factory=dict)


def summary_page(recipe: Recipe, outcome: Outcome) -> str:
    """One page of Markdown."""
    lines = [f"# {recipe.title}", "", *_runs(recipe), *_numbers(recipe, outcome), *_submission(outcome)]
    return "\n".join(lines) + "\n"


def _runs(recipe: Recipe) -> Iterator[str]:
    yield "| run | weight | options |"
    yield "|---|---|---|"
    for name, options in recipe.runs.items():
        text = ", ".join(f"{key}: {value}" for key, value in options.items())
        yield f"| {name} | {recipe.weights.get(name, 1.0):g} | {_cell(text)} |"
    if recipe.combine is not None:
        text = ", ".join(f"{key}: {value}" for key, value in recipe.combine.as_dict().items() if value is not None)
        yield f"| combined | | {_cell(text)} |"
    yield ""


def _numbers(recipe: Recipe, outcome: Outcome) -> Iterator[str]:
    if outcome.numbers:
        columns = list(dict.fromkeys(name for numbers in outcome.numbers.values() for name in numbers))
        assert recipe.choose is not None
        yield f"`evaluate --benchmark {recipe.benchmark}` on {_cell(recipe.choose.manifest)}, percent:"
        yield ""
        yield f"| | {' | '.join(columns)} |"
        yield "|---" * (len(columns) + 1) + "|"
        for step, numbers in outcome.numbers.items():
            yield f"| {step} | {' | '.join(_percent(numbers.get(column)) for column in columns)} |"
        yield ""
    if outcome.chosen:
        yield (
            f"Threshold chosen there: `--reject-below {outcome.chosen['value']:.6g}`, which rejects "
            f"{outcome.chosen['rejected']} expressions."
        )
        yield ""
    if recipe.published:
        yield "Published, by model:"
        yield ""
        yield from (f"- {_cell(model)}: {_cell(figures)}" for model, figures in recipe.published.items())
        yield ""


def _submission(outcome: Outcome) -> Iterator[str]:
    for name, dataset in outcome.datasets.items():
        yield f"- {name}: `{scrub(dataset)}`"
    if outcome.failed:
        yield f"- {outcome.failed} expressions failed in the runs"
    if outcome.submission is not None:
        found = f"{len(outcome.faults)} faults" if outcome.faults else "no faults"
        yield f"- submission: `{scrub(outcome.submission)}`, `export --check`: {found}"
    if outcome.missing:
        yield f"- {outcome.missing} expressions of it have no answer"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f}"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
