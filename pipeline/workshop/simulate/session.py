"""One simulation from the starting of Ray to the report: calibrate, measure what is asked for, predict the rest."""

import logging
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.engine import cluster
from pipeline.errors import UsageError

if TYPE_CHECKING:
    from pipeline.workshop.simulate.model import Overheads
    from pipeline.workshop.simulate.planning import PlanningCost
    from pipeline.workshop.simulate.report import Line


@dataclass(frozen=True, kw_only=True)
class SimulationSettings:
    """What is simulated.

    Attributes:
        gpus: Sizes of clusters.
        graph_up_to: Sizes up to this on a real Ray, with stages that sleep.
        scale: Factor on their sleeps.
        videos_per_gpu: Of predicted lines.
        plan: Rows of manifests whose planning is measured.
        say: Gets the table, line by line.
    """

    gpus: Sequence[int]
    graph_up_to: int
    scale: float
    videos_per_gpu: int
    plan: Sequence[int]
    say: Callable[[str], None]


def run_simulation(settings: SimulationSettings) -> dict[str, Any]:
    """Simulate; returns what was said, as values for JSON.

    Raises:
        UsageError: the settings make no sense.
    """
    if settings.videos_per_gpu < 1:
        raise UsageError(f"--videos-per-gpu is {settings.videos_per_gpu}; it must be at least 1")
    measured = [size for size in settings.gpus if size <= settings.graph_up_to]
    with _logical_gpus(max([1, *measured])) if measured or settings.plan else nullcontext():
        overheads = _calibrated(max(measured), settings) if measured else None
        lines = _lines(settings, overheads)
        costs = _planning(settings)
    return {
        "overheads": asdict(overheads) if overheads else None,
        "lines": [asdict(line) for line in lines],
        "planning": [asdict(cost) for cost in costs],
    }


@contextmanager
def _logical_gpus(count: int) -> Iterator[None]:
    """A Ray cluster of this process's own that believes in ``count`` GPUs."""
    cluster.prepare("local")
    import ray  # only now: it reads its settings when it is imported

    ray.init(address="local", num_gpus=count, include_dashboard=False, logging_level=logging.WARNING)
    try:
        yield
    finally:
        ray.shutdown()


def _calibrated(gpus: int, settings: SimulationSettings) -> "Overheads":
    from pipeline.workshop.simulate.report import calibrate

    overheads = calibrate(gpus, scale=settings.scale)
    settings.say(
        f"calibrated: for each video and stage the driver needs {1000 * overheads.dispatch_s:.1f} ms "
        f"and a worker {1000 * overheads.worker_s:.1f} ms"
    )
    return overheads


def _lines(settings: SimulationSettings, overheads: "Overheads | None") -> "list[Line]":
    from pipeline.workshop.simulate.report import HEADER, simulate

    settings.say(HEADER)
    lines = []
    for line in simulate(
        settings.gpus,
        graph_up_to=settings.graph_up_to,
        scale=settings.scale,
        videos_per_gpu=settings.videos_per_gpu,
        overheads=overheads,
    ):
        lines.append(line)
        settings.say(str(line))
    off = [abs(line.deviation) for line in lines if line.deviation is not None]
    if off:
        settings.say(f"the model is off by at most {max(off):.1%} of what was measured")
    return lines


def _planning(settings: SimulationSettings) -> "list[PlanningCost]":
    from pipeline.workshop.simulate.planning import measure_planning

    costs = []
    with tempfile.TemporaryDirectory() as directory:
        for rows in settings.plan:
            costs.append(measure_planning(Path(directory), rows))
            settings.say(str(costs[-1]))
    return costs
