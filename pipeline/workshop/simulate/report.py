"""Efficiency of clusters of many sizes, as measured with sleeping stages and as the model predicts it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from pipeline.workshop.simulate.graph import Measured, measure_graph
from pipeline.workshop.simulate.load import LOADS, Clip, Costs, longest_first, mevis_like, split_long
from pipeline.workshop.simulate.model import Overheads, Prediction, bottleneck_s, predict

GRAPH_VIDEOS_PER_GPU = 20


@dataclass(frozen=True, kw_only=True)
class Line:
    """One load on one size of cluster.

    Attributes:
        load: Its name.
        gpus: Each with one grounder and one segmenter.
        videos: In the load.
        plain: As predicted for videos in the manifest's order, whole.
        model: As predicted for what the job does: long videos first, and split where that pays.
        graph: The same as measured on Ray; none where that was not asked for.
    """

    load: str
    gpus: int
    videos: int
    plain: Prediction
    model: Prediction
    graph: Measured | None = None

    @property
    def deviation(self) -> float | None:
        """By how much of what was measured the model is too slow; negative: too fast."""
        return self.model.seconds / self.graph.seconds - 1 if self.graph else None

    def __str__(self) -> str:
        measured = f"{self.graph.efficiency:8.1%}" if self.graph else "       -"
        off = "       -" if self.deviation is None else f"{self.deviation:+8.1%}"
        return (
            f"{self.load:12} {self.gpus:5d} {self.videos:8d} {measured} {self.model.efficiency:8.1%} {off} "
            f"{self.model.tail_seconds:8.1f} {self.plain.efficiency:8.1%} {self.plain.tail_seconds:8.1f}"
        )


HEADER = (
    f"{'load':12} {'GPUs':>5} {'videos':>8} {'on Ray':>8} {'model':>8} {'off by':>8} {'tail s':>8} "
    f"{'plain':>8} {'tail s':>8}"
)


def calibrate(gpus: int, *, scale: float) -> Overheads:
    """Find the model's overheads from two runs of sleeping stages on the Ray cluster that this process is connected to.

    The worker's share comes from a run on one GPU, the driver's from one on ``gpus`` GPUs with stages that do nothing.
    What the model says of all other runs is then a prediction.

    Args:
        gpus: The largest size that will be measured.
        scale: Factor on all costs, as in the measured lines.
    """
    idle = Costs().scaled(0.0)
    many = mevis_like(GRAPH_VIDEOS_PER_GPU * gpus)
    dispatch_s = measure_graph(many, idle, pairs=gpus).seconds / (2 * len(many))
    clips, costs = _scheduled(mevis_like(GRAPH_VIDEOS_PER_GPU), Costs(), 1), Costs().scaled(scale)
    known = replace(Overheads(), dispatch_s=dispatch_s, worker_s=0.0)
    missing_s = (
        measure_graph(clips, costs, pairs=1).seconds
        - predict(clips, costs, grounders=1, segmenters=1, overheads=known).seconds
    )
    return replace(known, worker_s=max(0.0, missing_s / len(clips)))


def simulate(
    sizes: Sequence[int],
    *,
    graph_up_to: int = 0,
    videos_per_gpu: int = 50,
    graph_videos_per_gpu: int = GRAPH_VIDEOS_PER_GPU,
    scale: float = 1.0,
    costs: Costs | None = None,
    overheads: Overheads | None = None,
) -> Iterator[Line]:
    """Predict, and up to ``graph_up_to`` GPUs also measure, all loads on clusters of ``sizes``.

    A measured line has the same videos in graph and model, so that the two can be compared.

    Args:
        sizes: GPUs.
        graph_up_to: Measure sizes up to this on the Ray cluster that this process is connected to.
        videos_per_gpu: Of the load; more make the start and the tail matter less.
        graph_videos_per_gpu: The same where it is measured, which takes real time.
        scale: Factor on all costs of measured lines.
        costs: Of a video.
        overheads: Of driver, workers and hand-over.
    """
    for load, make in LOADS.items():
        for gpus in sizes:
            is_measured = gpus <= graph_up_to
            clips = make(gpus * (graph_videos_per_gpu if is_measured else videos_per_gpu))
            each = (costs or Costs()).scaled(scale if is_measured else 1.0)
            handed_out = _scheduled(clips, each, gpus)
            # what parts of a video do twice is no useful work
            useful_s = bottleneck_s(clips, each, grounders=gpus, segmenters=gpus)
            model = predict(handed_out, each, grounders=gpus, segmenters=gpus, overheads=overheads)
            graph = measure_graph(handed_out, each, pairs=gpus) if is_measured else None
            yield Line(
                load=load,
                gpus=gpus,
                videos=len(clips),
                plain=predict(clips, each, grounders=gpus, segmenters=gpus, overheads=overheads),
                model=replace(model, efficiency=useful_s / model.seconds),
                graph=replace(graph, efficiency=useful_s / graph.seconds) if graph else None,
            )


def _scheduled(clips: Sequence[Clip], costs: Costs, gpus: int) -> list[Clip]:
    """As the job hands them out, which leaves the order alone where one worker does them all."""
    return longest_first(split_long(clips, gpus), costs) if gpus > 1 else list(clips)
