"""How fast a run was: from ``run.json``, and over time from when the dataset's videos were committed."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from pipeline.dataset.commits import commit_times
from pipeline.dataset.layout import video_digest
from pipeline.engine.progress import duration

BINS = 24
_SLACK_S = 60.0


@dataclass(frozen=True, kw_only=True)
class Rate:
    """Frames per second in equal parts of a run."""

    frames_per_second: list[float]
    seconds: float
    """From the run's start to the last file."""


def rate_sentence(run: Mapping[str, Any]) -> str | None:
    """``64 frames of 4 videos in 79 s: 0.81 frames/s``; None where ``run.json`` does not say."""
    done, timings = run.get("this_run"), run.get("timings")
    try:
        frames, videos, seconds = int(done["frames"]), int(done["videos"]), float(timings["wall_seconds"])  # type: ignore[index]
    except (TypeError, KeyError, ValueError):
        return None
    rate = f": {frames / seconds:.3g} frames/s" if seconds > 0 and frames else ""
    return f"{frames:,} frames of {videos:,} videos in {duration(seconds)}{rate} (the last run, start-up included)"


def rate_over_time(url: str, run: Mapping[str, Any], frames_of_video: Mapping[str, int]) -> Rate | None:
    """Frames per second over the last run; None where it cannot be known."""
    started, finished = _seconds(run.get("started_at")), _seconds(run.get("finished_at"))
    if started is None:
        return None
    times = commit_times(url)
    done = [(times.get(video_digest(video)), frames) for video, frames in frames_of_video.items()]
    mine = [(moment - started, frames) for moment, frames in done if moment is not None and moment >= started - 1]
    last = max((moment for moment, _ in mine), default=0.0)
    if len(mine) < 3 or last < 1 or (finished is not None and started + last > finished + _SLACK_S):
        return None
    counts, _ = np.histogram(
        [max(0.0, moment) for moment, _ in mine], bins=BINS, range=(0, last), weights=[frames for _, frames in mine]
    )
    return Rate(frames_per_second=(counts / (last / BINS)).tolist(), seconds=last)


def _seconds(text: object) -> float | None:
    try:
        return datetime.strptime(str(text), "%Y-%m-%dT%H:%M:%S%z").timestamp()
    except ValueError:
        return None
