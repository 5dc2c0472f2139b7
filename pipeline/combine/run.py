"""The verb: mask datasets in, one combined dataset out, as tasks on a Ray cluster."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow.compute as pc

from pipeline.combine.expression import WITHOUT
from pipeline.combine.inputs import (
    Contents,
    Input,
    check_none_gone,
    check_weights,
    lineage,
    read_contents,
    read_inputs,
)
from pipeline.combine.on_cluster import combine_on_cluster
from pipeline.combine.settings import CombineSettings
from pipeline.combine.video import Combiner
from pipeline.dataset.content import version_of
from pipeline.dataset.layout import number_of_parts, part_of
from pipeline.dataset.output import OutputDirectory
from pipeline.dataset.reader import MaskDataset
from pipeline.dataset.run_file import read_run
from pipeline.dataset.state import Counts
from pipeline.dataset.verdicts import verdict_files
from pipeline.engine import cluster
from pipeline.engine.merging import merge_on_cluster
from pipeline.errors import StorageError, UsageError
from pipeline.schema import VideoTask
from pipeline.storage import absolute, scrub

log = logging.getLogger(__name__)

_REPORT_EVERY_S = 5.0


@dataclass(frozen=True, kw_only=True)
class Combination:
    """What became of several datasets.

    Attributes:
        counts: Of the combined dataset.
        contents: What there was to combine.
        inputs: The datasets, in the order of the numbers in ``contents``.
        incomplete: Expressions of the result for which not every dataset had an answer.
        lost: What could not be read, a line each.
        videos: Combined in this run.
        seconds: Wall time of this run.
    """

    counts: Counts
    contents: Contents
    inputs: list[Input]
    incomplete: int
    lost: list[str]
    videos: int
    seconds: float


def combine(
    predictions: Sequence[str],
    output: str,
    settings: CombineSettings,
    *,
    parts: int | None = None,
    allow_missing: bool = False,
    address: str | None = None,
    report_line: Callable[[str], None] = log.info,
) -> Combination:
    """Combine mask datasets of the same videos and expressions into one.

    Started again, it goes on where it was. An expression that some of the datasets lack, or that failed there, is
    combined from the others, and its row says so; one that no dataset answers is ``failed``.

    Args:
        predictions: The datasets, each ``URL`` or ``URL=WEIGHT``.
        output: Directory for the combined one; bound to the datasets' content, weights and ``settings``.
        settings: How to combine.
        parts: Files of a new output (default: as many as the first dataset has).
        allow_missing: Count rows that do not read back, or are gone, as missing in their dataset.
        address: Of a Ray cluster; see :func:`pipeline.engine.cluster.connect`.
        report_line: Gets lines about what happens.

    Raises:
        UsageError: A dataset is none, lacks what it is to be weighed by, or ``output`` is bound to something else.
        DamagedDatasetError: Rows do not read back, and ``allow_missing`` is off.
        PipelineError: Rows are gone, and ``allow_missing`` is off; or the cluster failed.
        StorageError: A storage failed, or a dataset changed meanwhile.
    """
    started = time.monotonic()
    inputs = read_inputs(predictions)
    if absolute(output) in {one.url for one in inputs}:
        raise UsageError(f"{scrub(output)}: is one of the datasets to combine; name a new --output")
    versions, runs = [version_of(one.url) for one in inputs], [read_run(one.url) for one in inputs]
    contents = read_contents(inputs, allow_missing=allow_missing)
    lost = check_none_gone(inputs, runs, allow_missing=allow_missing)
    check_weights(inputs, settings)
    for line in (*_about(inputs, runs, contents), *lost):
        report_line(line)
    with OutputDirectory(output) as target:
        target.begin(
            identity=_identity(inputs, runs, versions, settings),
            description={
                "source": inputs[0].name,
                "combined_from": [{"dataset": one.name, "weight": one.weight} for one in inputs],
                "configuration": settings.as_dict(),
            },
            parts=parts or _parts_of(runs[0]) or number_of_parts(len(contents.tasks)),
        )
        todo = target.remaining(contents.tasks, retry_failed=False)
        report_line(f"{len(contents.tasks)} videos, {len(contents.tasks) - len(todo)} of them already combined")
        if todo:
            cluster.connect(address)
            target.merge_by(merge_on_cluster(target.merger))
            combiner = Combiner(inputs=inputs, settings=settings, writer=target.writer, skip_damaged=allow_missing)
            _work(combiner, todo, target, report_line)
        for one, before in zip(inputs, versions, strict=True):
            if version_of(one.url) != before:
                raise StorageError(f"{one.name}: changed while it was read; combine into a new --output")
        seconds = time.monotonic() - started
        counts = target.finish(_summary(inputs, contents, len(todo), seconds), idle=not todo)
    return Combination(
        counts=counts,
        contents=contents,
        inputs=inputs,
        incomplete=_incomplete(output),
        lost=lost,
        videos=len(todo),
        seconds=seconds,
    )


def _work(
    combiner: Combiner, todo: list[VideoTask], target: OutputDirectory, report_line: Callable[[str], None]
) -> None:
    """Combine every video of ``todo`` and note its commit."""
    parts = target.merger.run.parts
    ordered = sorted(todo, key=lambda task: (part_of(task.video_id, parts), task.video_id))
    target.expect(ordered)
    reported = time.monotonic()
    for done, video_id in enumerate(combine_on_cluster(combiner, ordered), start=1):
        target.committed(video_id)
        if time.monotonic() - reported >= _REPORT_EVERY_S:
            reported = time.monotonic()
            report_line(f"{done}/{len(todo)} videos combined")


def _about(inputs: Sequence[Input], runs: Sequence[Mapping[str, Any]], contents: Contents) -> Iterator[str]:
    """What there is to know of each dataset before its answers are used."""
    total = contents.expressions
    for one, run, absent, failed in zip(inputs, runs, contents.absent, contents.failed, strict=True):
        yield f"{one.name}: weight {one.weight:g}, {total - absent} of {total} expressions, {failed} of them failed"
        if run.get("state") == "running":
            yield f"{one.name}: its run has not ended; what it holds now is combined"
        if verdict_files(one.url):
            yield f"{one.name}: its verdicts of a second model are of its own masks and stay there; verify the result"


def _identity(
    inputs: Sequence[Input], runs: Sequence[Mapping[str, Any]], versions: Sequence[str], settings: CombineSettings
) -> dict[str, Any]:
    """What decides the combined masks; the card shows it."""
    by = {f"combined_{name}": value for name, value in settings.as_dict().items()}
    return by | lineage(inputs, runs, versions)


def _parts_of(run: Mapping[str, Any]) -> int:
    parts = run.get("parts")
    return parts if isinstance(parts, int) and parts > 0 else 0


def _summary(inputs: Sequence[Input], contents: Contents, videos: int, seconds: float) -> dict[str, Any]:
    numbers = zip(inputs, contents.absent, contents.failed, strict=True)
    return {
        "timings": {"wall_seconds": round(seconds, 3)},
        "this_run": {"videos": videos},
        "datasets": [{"dataset": one.name, "expressions_absent": a, "expressions_failed": f} for one, a, f in numbers],
    }


def _incomplete(output: str) -> int:
    """Expressions of the result that were combined without some of the datasets."""
    found: set[tuple[str, str]] = set()
    for batch in MaskDataset(output).iter_row_batches(["video_id", "expression_id", "error"]):
        noted = batch.filter(pc.fill_null(pc.match_substring(batch["error"], WITHOUT), fill_value=False))
        found.update(zip(noted["video_id"].to_pylist(), noted["expression_id"].to_pylist(), strict=True))
    return len(found)
