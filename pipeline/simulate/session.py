"""One simulation from the starting of Ray to the report: calibrate, measure what is asked for, predict the rest."""

import logging
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline import cluster
from pipeline.errors import UsageError


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
    cluster.prepare("local")
    # imported only now: Ray reads its settings when it is imported
    from pipeline.simulate.planning import measure_planning
    from pipeline.simulate.report import HEADER, calibrate, simulate

    say, overheads = settings.say, None
    measured = [size for size in settings.gpus if size <= settings.graph_up_to]
    if measured or settings.plan:
        import ray

        ray.init(address="local", num_gpus=max([1, *measured]), include_dashboard=False, logging_level=logging.WARNING)
    if measured:
        overheads = calibrate(max(measured), scale=settings.scale)
        say(
            f"calibrated: for each video and stage the driver needs {1000 * overheads.dispatch_s:.1f} ms "
            f"and a worker {1000 * overheads.worker_s:.1f} ms"
        )
    say(HEADER)
    lines = []
    for line in simulate(
        settings.gpus,
        graph_up_to=settings.graph_up_to,
        scale=settings.scale,
        videos_per_gpu=settings.videos_per_gpu,
        overheads=overheads,
    ):
        lines.append(line)
        say(str(line))
    off = [abs(line.deviation) for line in lines if line.deviation is not None]
    if off:
        say(f"the model is off by at most {max(off):.1%} of what was measured")
    costs = []
    with tempfile.TemporaryDirectory() as directory:
        for rows in settings.plan:
            costs.append(measure_planning(Path(directory), rows))
            say(str(costs[-1]))
    return {
        "overheads": asdict(overheads) if overheads else None,
        "lines": [asdict(line) for line in lines],
        "planning": [asdict(cost) for cost in costs],
    }
