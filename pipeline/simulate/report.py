"""Efficiency of clusters of many sizes, as measured with sleeping stages and as the model predicts it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipeline.simulate.graph import Measured, measure_graph
from pipeline.simulate.load import LOADS, Clip, Costs, longest_first, split_long
from pipeline.simulate.model import Overheads, Prediction, bottleneck_s, predict


@dataclass(frozen=True, kw_only=True)
class Line:
    """One load on one size of cluster.

    Attributes:
        load: Its name.
        gpus: Each with one grounder and one segmenter.
        videos: In the load.
        model: As predicted.
        split: As predicted with the expressions of long videos split, and the longest first.
        graph: As measured on Ray; none where that was not asked for.
    """

    load: str
    gpus: int
    videos: int
    model: Prediction
    split: Prediction
    graph: Measured | None = None

    def __str__(self) -> str:
        measured = f"{self.graph.efficiency:8.1%}" if self.graph else "       -"
        return (
            f"{self.load:12} {self.gpus:5d} {self.videos:8d} {measured} {self.model.efficiency:8.1%} "
            f"{self.model.tail_seconds:9.0f} {self.split.efficiency:8.1%} {self.split.tail_seconds:9.0f}"
        )


HEADER = f"{'load':12} {'GPUs':>5} {'videos':>8} {'on Ray':>8} {'model':>8} {'tail s':>9} {'split':>8} {'tail s':>9}"


def simulate(
    sizes: Sequence[int],
    *,
    graph_up_to: int = 0,
    videos_per_gpu: int = 50,
    graph_videos_per_gpu: int = 8,
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
        overheads: Of driver and hand-over.
    """
    for load, make in LOADS.items():
        for gpus in sizes:
            is_measured = gpus <= graph_up_to
            clips = make(gpus * (graph_videos_per_gpu if is_measured else videos_per_gpu))
            each = (costs or Costs()).scaled(scale if is_measured else 1.0)
            yield Line(
                load=load,
                gpus=gpus,
                videos=len(clips),
                model=predict(clips, each, grounders=gpus, segmenters=gpus, overheads=overheads),
                split=_predict_split(clips, each, gpus, overheads),
                graph=measure_graph(clips, each, pairs=gpus) if is_measured else None,
            )


def _predict_split(clips: Sequence[Clip], costs: Costs, gpus: int, overheads: Overheads | None) -> Prediction:
    parts = longest_first(split_long(clips, costs, gpus), costs)
    made = predict(parts, costs, grounders=gpus, segmenters=gpus, overheads=overheads)
    # what the parts do twice is no useful work
    useful = bottleneck_s(clips, costs, grounders=gpus, segmenters=gpus)
    return Prediction(seconds=made.seconds, efficiency=useful / made.seconds, tail_seconds=made.tail_seconds)
