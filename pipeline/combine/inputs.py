"""The datasets to combine: their names, weights, lineage, and what they hold."""

import posixpath
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow.compute as pc

from pipeline.combine.settings import CombineSettings
from pipeline.dataset.reader import MaskDataset
from pipeline.dataset.verification import lost_rows, rows_of_files
from pipeline.errors import PipelineError, UsageError
from pipeline.schema import Expression, Status, VideoTask
from pipeline.storage import absolute, scrub


@dataclass(frozen=True, kw_only=True)
class Input:
    """One dataset to combine.

    Attributes:
        url: Where it is.
        weight: Of its votes, above 0.
        name: What messages call it.
    """

    url: str
    weight: float
    name: str


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What the datasets hold together.

    Attributes:
        tasks: Every video with every expression that any of them has; the first dataset that has it stands for its
            location.
        absent: Of each dataset: expressions of the others that it does not have.
        failed: Of each dataset: expressions that failed.
    """

    tasks: list[VideoTask]
    absent: list[int]
    failed: list[int]

    @property
    def expressions(self) -> int:
        """How many there are together."""
        return sum(len(task.expressions) for task in self.tasks)


def read_inputs(texts: Sequence[str]) -> list[Input]:
    """Datasets from ``URL`` or ``URL=WEIGHT``.

    Raises:
        UsageError: There are fewer than two, one is named twice, or a weight is not above 0.
    """
    inputs: list[Input] = []
    for text in texts:
        url, equals, number = text.rpartition("=")
        try:
            weight = float(number) if equals else 1.0
        except ValueError:
            url, equals, weight = text, "", 1.0  # the path itself holds the sign
        if not 0 < weight < float("inf"):
            raise UsageError(f"--predictions {scrub(text)}: the weight after = must be a number above 0")
        where = absolute(url if equals else text)
        inputs.append(Input(url=where, weight=weight, name=scrub(where)))
    if len(inputs) < 2:
        raise UsageError("--predictions: name at least two datasets to combine")
    twice = [url for url, count in Counter(one.url for one in inputs).items() if count > 1]
    if twice:
        raise UsageError(f"--predictions: {scrub(twice[0])} is named twice; give it a weight instead, as OUT=2")
    return inputs


def read_contents(inputs: Sequence[Input], *, allow_missing: bool) -> Contents:
    """What there is to combine, from the ids alone; about as large in memory as the manifest of all of it.

    Raises:
        UsageError: One is no mask dataset.
        DamagedDatasetError: Rows do not read back, and ``allow_missing`` is off.
    """
    texts: dict[str, dict[str, str]] = {}
    first_in: dict[str, str] = {}
    held, failed = [0] * len(inputs), [0] * len(inputs)
    columns = ["video_id", "expression_id", "expression", "status"]
    for number, one in enumerate(inputs):
        seen: dict[str, set[str]] = {}
        for batch in MaskDataset(one.url, skip_damaged=allow_missing).iter_row_batches(columns):
            rows = zip(*(batch[name].to_pylist() for name in columns), strict=True)
            for video_id, expression_id, text, status in rows:
                known = seen.setdefault(video_id, set())
                if expression_id in known:
                    continue  # another object of its answer
                known.add(expression_id)
                texts.setdefault(video_id, {}).setdefault(expression_id, text)
                first_in.setdefault(video_id, one.url)
                failed[number] += status == Status.FAILED
        held[number] = sum(map(len, seen.values()))
    tasks = [
        VideoTask(
            video_id=video_id,
            video=first_in[video_id],
            expressions=tuple(Expression(expression_id=key, text=text) for key, text in expressions.items()),
        )
        for video_id, expressions in texts.items()
    ]
    total = sum(len(task.expressions) for task in tasks)
    return Contents(tasks=tasks, absent=[total - count for count in held], failed=failed)


def check_weights(inputs: Sequence[Input], settings: CombineSettings) -> None:
    """Refuse to weigh or vote by a column that a dataset does not have.

    Raises:
        UsageError: A dataset has no number at all in the column that ``settings`` ask for.
    """
    wanted = [settings.weigh_by] if settings.weigh_by != "none" else []
    if settings.mode == "best":
        wanted.append("score")
    if settings.presence_votes is not None and settings.presence_votes > len(inputs):
        raise UsageError(f"--presence-votes is {settings.presence_votes}, but there are {len(inputs)} datasets")
    for column in dict.fromkeys(wanted):
        for one in inputs:
            batches = MaskDataset(one.url, skip_damaged=True).iter_row_batches([column])
            if not any(pc.any(pc.is_valid(batch[column])).as_py() for batch in batches):
                raise UsageError(f"{one.name}: no row has a {column}, so its answers cannot be weighed by it")


def check_none_gone(inputs: Sequence[Input], runs: Sequence[Mapping[str, Any]], *, allow_missing: bool) -> list[str]:
    """Rows that a dataset's run counted and that no file holds any more, as lines.

    Raises:
        PipelineError: There are some, and ``allow_missing`` is off.
    """
    lines = []
    for one, run in zip(inputs, runs, strict=True):
        gone = lost_rows(run, rows_of_files(one.url)) if run.get("counts") else 0
        if gone:
            lines.append(f"{one.name}: {gone} rows that its run wrote are in no file any more")
    if lines and not allow_missing:
        raise PipelineError(f"{lines[0]}; --allow-missing goes on without them")
    return lines


def lineage(inputs: Sequence[Input], runs: Sequence[Mapping[str, Any]], versions: Sequence[str]) -> dict[str, Any]:
    """What the combined masks come from, as flat entries of the output's identity.

    Args:
        inputs: The datasets.
        runs: The ``run.json`` of each.
        versions: The version of each.
    """
    entries: dict[str, Any] = {}
    for number, (one, run, version) in enumerate(zip(inputs, runs, versions, strict=True), start=1):
        made = run.get("identity")
        entries |= {
            f"dataset_{number}": posixpath.basename(one.name),
            f"dataset_{number}_weight": one.weight,
            f"dataset_{number}_version": version,
            **{f"dataset_{number}_{key}": value for key, value in (made if isinstance(made, dict) else {}).items()},
        }
    return entries
