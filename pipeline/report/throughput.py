"""How fast a run was: from ``run.json``, and over time from when the dataset's files were written."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.dataset.files import mask_files
from pipeline.dataset.writer import file_name
from pipeline.engine.progress import duration
from pipeline.storage import absolute, is_local

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
    """Frames per second over the last run.

    None where it cannot be known: the dataset is remote, or was copied, so that its files carry other times.
    """
    started, finished = _seconds(run.get("started_at")), _seconds(run.get("finished_at"))
    if not is_local(url) or started is None:
        return None
    times = {Path(file.url).name: Path(absolute(file.url)).stat().st_mtime for file in mask_files(url)}
    done = [(times.get(file_name(video)), frames) for video, frames in frames_of_video.items()]
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
