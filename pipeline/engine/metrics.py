"""What a run shows to Prometheus: counters, gauges and histograms by way of Ray, which serves them on every node.

Ray puts ``ray_`` before a name and, for a counter, ``_total`` behind it. ``cluster/grafana`` draws them.
"""

import time
from dataclasses import dataclass
from typing import Any

SECONDS = [0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0]
"""Upper ends of the histogram's buckets; from a clip on a fast GPU to an hour of video."""


@dataclass(frozen=True, kw_only=True)
class MetricSpec:
    """One metric: its kind (``counter``, ``gauge``, ``histogram``), what it says, and its labels."""

    kind: str
    description: str
    labels: tuple[str, ...] = ()

    def exported(self, name: str) -> set[str]:
        """The names under which Prometheus finds it."""
        endings = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
        return {f"ray_{name}{ending}" for ending in endings[self.kind]}


METRICS = {
    "sa2va_videos": MetricSpec(kind="counter", description="Videos whose rows are on storage."),
    "sa2va_expressions": MetricSpec(
        kind="counter", description="Expressions whose rows are on storage.", labels=("outcome",)
    ),
    "sa2va_failures": MetricSpec(kind="counter", description="Failed expressions by cause.", labels=("cause",)),
    "sa2va_frames": MetricSpec(kind="counter", description="Frames annotated."),
    "sa2va_masks": MetricSpec(kind="counter", description="Masks made, one for each object on each frame."),
    "sa2va_videos_left": MetricSpec(kind="gauge", description="Videos of this run that are not on storage yet."),
    "sa2va_stage_seconds": MetricSpec(
        kind="histogram", description="Time one video takes in a stage.", labels=("stage",)
    ),
    "sa2va_busy_seconds": MetricSpec(kind="counter", description="Time workers spend on videos.", labels=("stage",)),
    "sa2va_wait_seconds": MetricSpec(
        kind="counter", description="Time workers wait for the next video.", labels=("stage",)
    ),
}


def _make(name: str) -> Any:  # noqa: ANN401 - Ray's metrics share no useful type
    from ray.util import metrics

    spec = METRICS[name]
    if spec.kind == "histogram":
        return metrics.Histogram(name, spec.description, boundaries=SECONDS, tag_keys=spec.labels)
    kind = metrics.Counter if spec.kind == "counter" else metrics.Gauge
    return kind(name, spec.description, tag_keys=spec.labels)


class StageMetrics:
    """What one worker of a stage counts.

    Args:
        stage: ``ground`` or ``segment``.
    """

    def __init__(self, stage: str) -> None:
        self._labels = {"stage": stage}
        self._seconds = _make("sa2va_stage_seconds")
        self._busy = _make("sa2va_busy_seconds")
        self._wait = _make("sa2va_wait_seconds")
        self._masks = _make("sa2va_masks")
        self._since = time.monotonic()

    def begin(self) -> None:
        """A video has come; until now the worker waited."""
        now = time.monotonic()
        self._add(self._wait, now - self._since)
        self._since = now

    def end(self, masks: int = 0) -> None:
        """The worker is through with the video.

        Args:
            masks: How many were made.
        """
        now = time.monotonic()
        self._seconds.observe(now - self._since, tags=self._labels)
        self._add(self._busy, now - self._since)
        if masks:
            self._masks.inc(masks)
        self._since = now

    def _add(self, counter: Any, seconds: float) -> None:  # noqa: ANN401
        if seconds > 0:  # Ray refuses to add nothing
            counter.inc(seconds, tags=self._labels)


class RunMetrics:
    """What the driver counts: videos whose rows are on storage."""

    def __init__(self) -> None:
        self._videos = _make("sa2va_videos")
        self._expressions = _make("sa2va_expressions")
        self._failures = _make("sa2va_failures")
        self._frames = _make("sa2va_frames")
        self._left = _make("sa2va_videos_left")

    def add(self, row: dict[str, Any], left: int, *, completes: bool = True) -> None:
        """Count one written video, or a part of one.

        Args:
            row: Of ``WRITTEN_SCHEMA``.
            left: Videos still to do.
            completes: Whether the video is now on storage.
        """
        if completes:
            self._videos.inc()
        done = row["expressions"] - row["failed"]
        if done:
            self._expressions.inc(done, tags={"outcome": "done"})
        if row["failed"]:
            self._expressions.inc(row["failed"], tags={"outcome": "failed"})
            self._failures.inc(row["failed"], tags={"cause": cause_of(row["error"])})
        if row["frames_done"] and completes:
            self._frames.inc(row["frames_done"])
        self._left.set(left)


def cause_of(error: str | None) -> str:
    """The kind of a failed row's error, for a label: ``VideoError`` of ``VideoError: a.mp4: empty``."""
    kind = (error or "").partition(":")[0]
    return kind if kind.isidentifier() else "unknown"
