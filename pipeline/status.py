"""How far a run is, from its output alone: no cluster is asked, so it works while one runs and when it is gone."""

import datetime as dt
import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.dataset.commits import commit_times
from pipeline.dataset.layout import LOCK_FILE, RUN_FILE
from pipeline.dataset.state import Counts, DatasetState, failures
from pipeline.engine.metrics import cause_of
from pipeline.engine.progress import duration
from pipeline.errors import StorageError, UsageError
from pipeline.manifest import read_manifest, read_tasks
from pipeline.storage import MissingFileError, join, read_bytes, scrub

WINDOW_S = 900.0
"""The rate is that of the last quarter of an hour."""

ALIVE_S = 60.0
"""A run whose lock was renewed within this time counts as running; it renews it every five seconds."""


@dataclass(frozen=True, kw_only=True)
class Missing:
    """What the manifest names and the output does not hold (yet)."""

    videos: int
    """With at least one expression missing."""
    expressions: int


@dataclass(frozen=True, kw_only=True)
class RunStatus:
    """What an output directory tells about its run."""

    output: str
    state: str
    """``running``, ``interrupted`` (no sign of life, not finished) or ``finished``."""
    run_id: str
    started_at: str
    sign_of_life_s: float | None
    """Seconds since the run's last heartbeat; none without a lock."""
    counts: Counts
    failures: dict[str, int]
    """Failed expressions by cause, most frequent first."""
    broken_files: int
    """Files that do not read back; their rows count as missing."""
    missing: Missing | None
    """None: the manifest could not be read."""
    videos_per_hour: float | None
    seconds_left: float | None

    @property
    def is_all_well(self) -> bool:
        """Nothing failed, nothing known to be missing."""
        missing = self.missing.expressions if self.missing else 0
        return not self.counts.failed and not missing and self.state == "finished"

    def __str__(self) -> str:
        life = "" if self.sign_of_life_s is None else f", last sign of life {duration(self.sign_of_life_s)} ago"
        lines = [
            f"{scrub(self.output)}: {self.state}{life}; run {self.run_id}, started {self.started_at}",
            (
                f"done     {self.counts.videos} videos, {self.counts.expressions} expressions "
                f"({self.counts.ok} ok, {self.counts.no_object} without an object, {self.counts.failed} failed)"
            ),
        ]
        if self.failures:
            lines.append("failed   " + ", ".join(f"{count} {cause}" for cause, count in self.failures.items()))
        if self.missing is None:
            lines.append("missing  unknown: the manifest cannot be read; name it with --manifest")
        else:
            lines.append(f"missing  {self.missing.expressions} expressions of {self.missing.videos} videos")
        if self.broken_files:
            lines.append(f"broken   {self.broken_files} files do not read back; the next run does them again")
        if self.videos_per_hour is not None:
            lines.append(f"rate     {self.videos_per_hour:.1f} videos an hour")
        if self.seconds_left is not None:
            lines.append(f"left     {duration(self.seconds_left)}")
        return "\n".join(lines)


def read_status(
    output: str, *, manifest: str | None = None, videos: str | None = None, now: float | None = None
) -> RunStatus:
    """Read an output directory.

    Args:
        output: Path or fsspec URL.
        manifest: What should be in it; by default the manifest that ``run.json`` names.
        videos: As ``--videos`` of the run.
        now: Seconds since 1970, for tests.

    Raises:
        UsageError: It is not the output of a run, or the manifest given is not usable.
        StorageError: The storage does not answer.
    """
    now = time.time() if now is None else now
    run = _run_file(output)
    state = DatasetState(output)
    life = _sign_of_life(output, now)
    is_alive = life is not None and life < ALIVE_S
    finished = run.get("state") == "finished" and not is_alive
    missing = _missing(state, run, manifest, videos)
    started = _timestamp(run.get("started_at"))
    times = list(commit_times(output).values())
    rate = videos_per_hour(times, started, now if is_alive else None)
    left = missing.videos / rate * 3600 if is_alive and rate and missing and missing.videos else None
    counts = state.counts()
    return RunStatus(
        output=output,
        state="running" if is_alive else "finished" if finished else "interrupted",
        run_id=str(run.get("run_id", "unknown")),
        started_at=str(run.get("started_at", "at an unknown time")),
        sign_of_life_s=life,
        counts=counts,
        failures=_failures(output) if counts.failed else {},
        broken_files=len(state.broken_files),
        missing=missing,
        videos_per_hour=rate,
        seconds_left=left,
    )


def videos_per_hour(times: Sequence[float], started: float | None, now: float | None) -> float | None:
    """How fast files of videos came lately.

    Args:
        times: When each was written, seconds since 1970.
        started: When the run began; none if unknown. Files from before are an earlier run's.
        now: The present if the run is alive, else none: the rate is then that of its last quarter of an hour.
    """
    mine = [moment for moment in times if started is None or moment >= started - 1]
    if not mine:
        return None
    end = max(mine) if now is None else now
    begin = max(end - WINDOW_S, started if started is not None else min(mine))
    recent = sum(moment >= begin - 1 for moment in mine)
    return recent / (end - begin) * 3600 if end - begin >= 1 else None


def _run_file(output: str) -> dict[str, Any]:
    file = join(output, RUN_FILE)
    try:
        run = json.loads(read_bytes(file))
    except MissingFileError as error:
        raise UsageError(f"{scrub(output)}: holds no {RUN_FILE}, so it is not the output of a run") from error
    except ValueError as error:
        raise UsageError(f"{scrub(file)}: is not readable as JSON ({error})") from error
    if not isinstance(run, dict):
        raise UsageError(f"{scrub(file)}: was not written by this program")
    return run


def _sign_of_life(output: str, now: float) -> float | None:
    """Seconds since the last heartbeat; none where no run holds the output."""
    try:
        entry = json.loads(read_bytes(join(output, LOCK_FILE)))
        heartbeat = _timestamp(entry["heartbeat"])
    except (MissingFileError, ValueError, TypeError, KeyError):
        return None
    return None if heartbeat is None else max(0.0, now - heartbeat)


def _missing(state: DatasetState, run: dict[str, Any], manifest: str | None, videos: str | None) -> Missing | None:
    configuration = run.get("configuration") or {}
    try:
        tasks = read_manifest(manifest, videos=videos) if manifest else read_tasks(configuration, videos=videos)
    except (UsageError, StorageError):
        if manifest:
            raise
        return None  # run.json may name a path of another machine
    left = state.remaining(tasks, retry_failed=False)
    return Missing(videos=len(left), expressions=sum(len(task.expressions) for task in left))


def _failures(output: str) -> dict[str, int]:
    return dict(Counter(cause_of(error) for error in failures(output)).most_common())


def _timestamp(text: object) -> float | None:
    try:
        return dt.datetime.strptime(str(text), "%Y-%m-%dT%H:%M:%S%z").timestamp()
    except ValueError:
        return None
