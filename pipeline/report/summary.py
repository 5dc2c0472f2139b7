"""What the top of the page says: counts, throughput, failures, configuration, charts."""

import posixpath
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pipeline.dataset.content import version_of
from pipeline.dataset.identity import without_secrets
from pipeline.engine.progress import duration
from pipeline.evaluation.threshold import ThresholdCurve
from pipeline.report.cards import Card
from pipeline.report.charts import bars_over_time, histogram, lines, percent, scatter
from pipeline.report.collect import Item, Statistics
from pipeline.report.drawing import FramePictures
from pipeline.report.page import Page
from pipeline.report.throughput import rate_over_time, rate_sentence
from pipeline.report.truth import Truth
from pipeline.schema import Status
from pipeline.storage import scrub

MOST_POINTS = 2000
"""Most points in the chart of scores against J&F."""


@dataclass(kw_only=True)
class Totals:
    """What one pass over the dataset counted."""

    dataset: str
    run: dict[str, Any]
    statistics: Statistics
    truth: Truth | None = None
    statuses: Counter[str] = field(default_factory=Counter)
    rows: int = 0
    points: list[tuple[float, float]] = field(default_factory=list)
    """Score and J&F of every expression that has both."""
    notes: list[str] = field(default_factory=list)
    """What the page should say first: damage, rejection."""

    @property
    def expressions(self) -> int:
        """How many the dataset holds."""
        return sum(self.statuses.values())

    def add(self, item: Item) -> None:
        """Take in one item."""
        self.statistics.add(item)
        self.statuses[item.status] += 1
        self.rows += len(item.objects)
        both = self.truth.both(item.key) if self.truth is not None else None
        if both is not None and item.score is not None and item.status == Status.OK:
            self.points.append((item.score, both))


def summarise(totals: Totals, cards: Sequence[Card], grounds: Mapping[str, FramePictures]) -> Page:
    """The page of a dataset's totals and shown items."""
    name = posixpath.basename(totals.dataset.rstrip("/")) or "masks"
    best_by = "J&F" if totals.truth is not None else "score"
    return Page(
        title=f"Masks in {name}",
        lead=_lead(totals),
        tiles=_tiles(totals),
        about=_about(totals),
        notes=[*totals.notes, *_notes(cards)],
        failures=[
            (cause, count, scrub(totals.statistics.examples[cause]))
            for cause, count in totals.statistics.failures.most_common()
        ],
        configuration=_configuration(totals.run),
        charts=_charts(totals),
        gallery_lead=f"{len(cards):,} of {totals.expressions:,} expressions: the worst and best by {best_by}, "
        "some at random, failures of every kind, and answers without an object.",
        cards=cards,
        version=version_of(totals.dataset),
        grounds=grounds,
        has_truth=totals.truth is not None,
    )


def _lead(totals: Totals) -> str:
    run = totals.run
    model = run.get("model")
    source = model.get("source") if isinstance(model, dict) else None
    parts = [scrub(totals.dataset)]
    if source:
        parts.append(f"made by {scrub(str(source))}")
    if run.get("started_at"):
        parts.append(scrub(f"run of {run['started_at']}, {run.get('state', 'state unknown')}"))
    return " · ".join(parts)


def _tiles(totals: Totals) -> list[tuple[str, str]]:
    statuses = totals.statuses
    tiles = [
        (f"{len(totals.statistics.frames_of_video):,}", "videos"),
        (f"{totals.expressions:,}", "expressions"),
        (f"{totals.rows:,}", "rows"),
        (f"{statuses[Status.OK]:,}", "ok"),
        (f"{statuses[Status.NO_OBJECT]:,}", "no object"),
        (f"{statuses[Status.FAILED]:,}", "failed"),
    ]
    if totals.truth is not None:
        tiles += [(f"{100 * v:.1f}", k) for k, v in totals.truth.headline.items() if v is not None]
    return tiles


def _about(totals: Totals) -> list[str]:
    rate = rate_sentence(totals.run)
    sentences = [] if rate is None else [f"Throughput: {rate}."]
    if totals.truth is not None:
        sentences.append(f"Against the ground truth: {totals.truth.about}.")
    return sentences


def _notes(cards: Sequence[Card]) -> list[str]:
    problems = Counter(card.problem for card in cards if card.problem)
    if not problems:
        return []
    why, _ = problems.most_common(1)[0]
    missing = f"{sum(problems.values())} of the {len(cards)} items below are without pictures of their video"
    return [f"{missing}; their masks are drawn on plain ground: {why}"]


def _configuration(run: Mapping[str, Any]) -> list[tuple[str, str]]:
    lines: list[tuple[str, str]] = []
    for name in ("configuration", "model", "versions", "timings", "this_run", "before", "dropped", "splits"):
        part = run.get(name)
        if isinstance(part, dict):
            lines += [(f"{name}: {key}", scrub(str(value))) for key, value in without_secrets(part).items()]
    return lines


def _charts(totals: Totals) -> list[tuple[str, str]]:
    statistics = totals.statistics
    longest = max(statistics.lengths, default=0)
    charts = [
        (
            "Score",
            histogram(
                statistics.scores,
                np.linspace(0, 1, 21).tolist(),
                label=lambda value: f"{value:.2g}",
                ticks=(0, 0.5, 1),
                of="tracks",
            ),
        ),
        (
            "Area where present, of the picture",
            histogram(
                statistics.areas,
                np.geomspace(1e-4, 1, 21).tolist(),
                label=percent,
                ticks=(1e-4, 1e-3, 1e-2, 1e-1, 1),
                of="tracks",
            ),
        ),
        (
            "Track length, frames with a mask",
            histogram(
                statistics.lengths,
                length_edges(longest),
                label=lambda value: f"{value:.0f}",
                ticks=(0, round(longest / 2), longest),
                of="tracks",
            ),
        ),
    ]
    rate = rate_over_time(totals.dataset, totals.run, statistics.frames_of_video)
    if rate is not None:
        bars = bars_over_time(rate.frames_per_second, rate.seconds, unit="frames/s", label=duration)
        charts.append(("Frames per second over the run", bars))
    if totals.points:
        charts.append(("Score against J&F", _against_truth(totals.points)))
    if totals.truth is not None and totals.truth.curve is not None:
        charts.append(("Rejecting expressions below a presence", _rejecting(totals.truth.curve)))
    return charts


def _rejecting(curve: ThresholdCurve) -> str:
    points, best = curve.points(), curve.best()
    series = {
        "N-acc": [point.n_acc for point in points],
        "T-acc": [point.t_acc for point in points],
        "final": [point.final for point in points],
    }
    summary = (
        f"best at {best.value:.3g}: final {100 * best.final:.1f} instead of {100 * best.final_without:.1f}, "
        f"{best.rejected:,} expressions are rejected"
    )
    return lines(series, across="threshold", mark=best.value, summary=summary)


def _against_truth(points: Sequence[tuple[float, float]]) -> str:
    from scipy.stats import spearmanr

    order = ""
    if len({score for score, _ in points}) > 1 and len({both for _, both in points}) > 1:
        order = f": Spearman {spearmanr(points).statistic:.2f}"
    step = -(-len(points) // MOST_POINTS)
    return scatter(points[::step], across="score", up="J&F", summary=f"{len(points):,} expressions{order}")


def length_edges(longest: int) -> list[float]:
    """Whole numbers of frames from 0 on, at most 25 bars, the last of which holds ``longest``."""
    step = -(-(longest + 1) // 25)
    return [float(edge) for edge in range(0, longest + 1 + step, step)]
