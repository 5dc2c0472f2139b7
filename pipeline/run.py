"""A manifest goes through Ground, Segment and Write on Ray Data and becomes a mask dataset."""

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.config import RunConfig
from pipeline.dataset.content import version_of
from pipeline.dataset.files import mask_files
from pipeline.dataset.layout import number_of_parts
from pipeline.dataset.output import OutputDirectory
from pipeline.dataset.state import Counts
from pipeline.dataset.tables import rows_table, with_terms
from pipeline.engine import cluster
from pipeline.engine.fewer_nodes import place_on_fewer
from pipeline.engine.look_ahead import LookAhead
from pipeline.engine.merging import merge_on_cluster
from pipeline.engine.metrics import RunMetrics
from pipeline.engine.model_files import fetch_on_nodes
from pipeline.engine.placement import Placement, place_within
from pipeline.engine.progress import Progress, duration
from pipeline.engine.rounds import Rounds
from pipeline.engine.settings import WorkerSettings
from pipeline.engine.software import software, versions
from pipeline.engine.stage import PoolSpec, Stage
from pipeline.errors import UsageError
from pipeline.manifest import Plan, plan_of
from pipeline.model.checkpoint.fingerprint import fingerprint, sampled_fingerprint
from pipeline.model.checkpoint.locate import PinnedModel, fetch_model, pin_model
from pipeline.model.checkpoint.open import grounder_parameters
from pipeline.model.presence import Calibration
from pipeline.model.sa2va import check_checkpoint
from pipeline.schema import failed_rows
from pipeline.stages.ground import Ground
from pipeline.stages.propagate import Propagate
from pipeline.stages.rows import tasks_table
from pipeline.stages.segment import Segment
from pipeline.stages.write import Write
from pipeline.storage import MissingFileError, absolute, read_bytes, scrub

log = logging.getLogger(__name__)

_WORKING_DIR_COPY = "/working_dir_files/"
"""In the path of what Ray unpacks for ``ray job submit --working-dir``."""
SHARING_PARAMETERS = 10**10
"""Grounders up to this size (8B: 17 GB in bfloat16) leave a segmenter room on the same GPU."""
PIPELINE: tuple[type[Stage], ...] = (Ground, Segment, Write)
"""What every video goes through, in this order."""
PIPELINE_FROM_MASKS: tuple[type[Stage], ...] = (Propagate, Write)
"""The same with ``--masks``."""


@dataclass(frozen=True)
class RunSummary:
    """What a run left behind.

    Attributes:
        counts: Of the whole dataset, earlier runs included.
        videos: Done in this run.
        frames: Done in this run.
        seconds: Wall time of this run, start-up included.
    """

    counts: Counts
    videos: int
    frames: int
    seconds: float


def annotate(
    config: RunConfig,
    *,
    address: str | None = None,
    report_line: Callable[[str], None] = log.info,
    on_progress: Callable[[Progress], None] | None = None,
) -> RunSummary:
    """Annotate every (video, expression) of the manifest that the output does not hold yet.

    Args:
        config: The run.
        address: Of a Ray cluster; see :func:`pipeline.engine.cluster.connect`.
        report_line: Gets lines about what happens.
        on_progress: Gets the progress after every video; without it, lines about it go to ``report_line``.

    Raises:
        UsageError: Manifest, configuration or output do not fit.
        CheckpointError: The model cannot be used.
        StorageError: The output cannot be written, or the videos' storage serves nobody any more.
        NodeError: No machine is left that can work.
    """
    started = time.monotonic()
    with plan_of(config.as_dict()) as work:
        model, directory = checked_model(config)
        model_fingerprint = fingerprint(directory)
        identity = {**config.identity(model_fingerprint), **masks_identity(config)}
        calibration = None if config.calibration is None else _calibration(config.calibration)
        description = {"configuration": config.as_dict(), "model": model.describe(), "versions": versions()}
        if _WORKING_DIR_COPY in absolute(config.output):
            report_line(
                f"{absolute(config.output)} is in Ray's temporary copy of the working directory; "
                "give an absolute --output"
            )
        with OutputDirectory(config.output) as output:
            parts = config.parts or number_of_parts(work.total.videos)
            output.begin(
                identity=identity,
                description=description,
                parts=parts,
                earlier_identity=lambda: {**identity, "model_fingerprint": sampled_fingerprint(directory)},
            )
            output.compare(work, retry_failed=config.retry_failed)
            left = work.size()
            report_line(
                f"{work.total.videos} videos in the manifest, {work.total.videos - left.videos} of them already done"
            )
            progress = Progress(left.videos, report_line, on_update=on_progress)
            if left.videos:
                may_grow = cluster.connect(address)
                pools = _pools(config, directory)
                placement = place_within(
                    config.placement_timeout_s if may_grow else 0.0,
                    config,
                    pools,
                    cluster.resources_of_nodes,
                    request=cluster.request_resources,
                    report=report_line,
                )
                report_line(str(placement))
                fetch_on_nodes(model, model_fingerprint, only_gpus=placement.only_gpus, report_line=report_line)
                settings = WorkerSettings(
                    config=config,
                    model=model,
                    threads=placement.threads,
                    on_cpu=placement.stages_on_cpu,
                    calibration=calibration,
                    writer=output.writer,
                    software=software(),
                )
                _work(work, settings, pools, placement, output, progress)
            seconds = time.monotonic() - started
            counts = output.finish(_summary(config, progress, seconds), idle=not left.videos)
    report_line(f"done in {duration(seconds)}: {progress.done} videos, {progress.frames} frames")
    return RunSummary(counts, progress.done, progress.frames, seconds)


def _work(
    work: Plan,
    settings: WorkerSettings,
    pools: Mapping[str, PoolSpec],
    placement: Placement,
    output: OutputDirectory,
    progress: Progress,
) -> None:
    """All that is to do of ``work`` through the stages and into ``output``."""
    config, metrics = settings.config, RunMetrics()
    output.merge_by(merge_on_cluster(output.merger))
    output.expect_in_parts(work.videos_by_part())
    look_ahead = LookAhead(
        work,
        config,
        segmenters=placement.pools[Segment.name].most,
        expect=output.expect_in_parts,
        report_line=progress.report_line,
    )

    def place_without(given_up: Mapping[str, str]) -> Placement:
        nodes = cluster.resources_of_nodes(given_up)
        return place_on_fewer(config, pools, nodes, before=placement, given_up=given_up)

    rounds = Rounds(
        _stages(config), tasks_table, settings, placement, place_without=place_without, report_line=progress.report_line
    )
    with closing(rounds.run(look_ahead.feed())) as results:
        for task, row in results:
            if row["withheld"]:
                failed = rows_table(failed_rows(task, row["error"]))
                output.commit(with_terms(failed, license=config.license, video_source=config.source))
            else:
                output.committed(task.video_id)
            completes = look_ahead.completes(task.video_id)
            progress.add(row, completes=completes)
            metrics.add(row, left=progress.videos - progress.done, completes=completes)


def _stages(config: RunConfig) -> tuple[type[Stage], ...]:
    """What every video of a run goes through."""
    return PIPELINE if config.masks is None else PIPELINE_FROM_MASKS


def _pools(config: RunConfig, directory: Path) -> dict[str, PoolSpec]:
    """How the workers of each stage are sized; a grounder of a large model has GPUs of its own."""
    pools = {stage.name: stage.pool for stage in _stages(config) if stage.pool}
    ground = pools.get(Ground.name)
    if ground is not None and grounder_parameters(directory) > SHARING_PARAMETERS:
        pools[Ground.name] = replace(ground, shares_gpus=False)
    return pools


def masks_identity(config: RunConfig) -> dict[str, Any]:
    """What binds an output to the dataset in ``masks``; empty without one. Raises UsageError if it is none."""
    if config.masks is None:
        return {}
    url = absolute(config.masks)
    if not mask_files(url):
        raise UsageError(f"--masks {scrub(url)}: not a mask dataset: no masks/*.parquet in it")
    return {"masks_version": version_of(url)}


def _calibration(file: str) -> Calibration:
    """The weights in a ``--calibration`` file. Raises UsageError when it is not there or not one."""
    try:
        text = read_bytes(absolute(file)).decode("utf-8", "replace")
    except MissingFileError as error:
        raise UsageError(f"--calibration {scrub(file)}: no such file") from error
    return Calibration.from_json(text, origin=f"--calibration {scrub(file)}")


def checked_model(config: RunConfig) -> tuple[PinnedModel, Path]:
    """The model and its directory on this machine, known to be usable for this run."""
    model = pin_model(config.model)
    directory = fetch_model(model)
    check_checkpoint(directory, config.resolved_procedure())
    return model, directory


def _summary(config: RunConfig, progress: Progress, seconds: float) -> dict[str, Any]:
    return {
        "timings": {
            "wall_seconds": round(seconds, 3),
            **{
                f"{stage.name}_seconds": round(progress.seconds[stage.name], 3)
                for stage in _stages(config)
                if stage.pool
            },
        },
        "this_run": {
            "videos": progress.done,
            "expressions": progress.expressions,
            "failed": progress.failed,
            "frames": progress.frames,
        },
    }
