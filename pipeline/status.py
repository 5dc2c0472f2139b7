"""How far a run is, from its output alone: no cluster is asked, so it works while one runs and when it is gone."""

import datetime as dt
import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.dataset.commits import commit_times
from pipeline.dataset.heartbeat import WATCH_S, sign_of_life
from pipeline.dataset.layout import RUN_FILE
from pipeline.dataset.state import Counts, DatasetState, failures
from pipeline.dataset.verification import find_damage, lost_rows, quick_bytes, rows_of_files
from pipeline.engine.metrics import cause_of
from pipeline.engine.progress import duration
from pipeline.errors import StorageError, UsageError
from pipeline.manifest import plan_manifest, plan_of
from pipeline.storage import MissingFileError, join, read_bytes, scrub

WINDOW_S = 900.0
"""The rate is that of the last quarter of an hour."""
QUICK_ROWS = 500_000
"""Of a dataset that is read from end to end unasked: seconds, however well it is compressed."""


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
    """``running``, ``interrupted`` (no sign of life, not finished), ``finished``, or ``damaged`` (finished, and some of
    it does not read back or is gone)."""
    run_id: str
    started_at: str
    sign_of_life_s: float | None
    """Seconds since the run's last heartbeat by its own clock; None without a lock."""
    counts: Counts
    failures: dict[str, int]
    """Failed expressions by cause, most frequent first."""
    damaged: list[str]
    """What does not read back, a line each."""
    lost_rows: int
    """Rows that the finished run counted and that no file holds any more."""
    is_checked: bool
    """Whether every file was read from end to end; a large dataset is only when asked for."""
    missing: Missing | None
    """None: the manifest could not be read."""
    videos_per_hour: float | None
    seconds_left: float | None

    @property
    def is_all_well(self) -> bool:
        """Nothing failed, nothing known to be missing."""
        missing = self.missing.expressions if self.missing else 0
        return not self.counts.failed and not missing and self.state == "finished"

    @property
    def is_damaged(self) -> bool:
        """Whether something of the dataset does not read back, or is gone."""
        return bool(self.damaged or self.lost_rows)

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
        lines += [f"damaged  {line}" for line in self.damaged]
        if self.lost_rows:
            lines.append(f"lost     {self.lost_rows} rows that the run wrote are in no file any more")
        if self.damaged or self.lost_rows:
            lines.append("         the same annotate command does these videos again")
        if not self.is_checked:
            lines.append("checked  only ids and footers, the dataset is large; --verify reads all masks")
        if self.videos_per_hour is not None:
            lines.append(f"rate     {self.videos_per_hour:.1f} videos an hour")
        if self.seconds_left is not None:
            lines.append(f"left     {duration(self.seconds_left)}")
        return "\n".join(lines)


def read_status(
    output: str,
    *,
    manifest: str | None = None,
    videos: str | None = None,
    verify: bool = False,
    now: float | None = None,
    watch_s: float = WATCH_S,
) -> RunStatus:
    """Read an output directory.

    Args:
        output: Path or fsspec URL.
        manifest: What should be in it; by default the manifest that ``run.json`` names.
        videos: As ``--videos`` of the run.
        verify: Read every file from end to end, however large they are together.
        now: Seconds since 1970, for tests.
        watch_s: How long to look for a heartbeat where the clocks do not tell.

    Raises:
        UsageError: It is not the output of a run, or the manifest given is not usable.
        StorageError: The storage does not answer.
    """
    now = time.time() if now is None else now
    run = _run_file(output)
    state = DatasetState(output)
    life, is_alive = sign_of_life(output, now, watch_s)
    missing = _missing(state, run, manifest, videos)
    counts = state.counts()
    quick = quick_bytes(output) if counts.rows <= QUICK_ROWS else 0
    damaged = find_damage(output, most_bytes=None if verify else quick)
    broken = [str(file) for file in damaged or ()] or [
        f"{scrub(url)}: does not read back" for url in state.broken_files
    ]
    rows = rows_of_files(output) if state.broken_files else counts.rows
    lost = lost_rows(run, rows) if not is_alive else 0
    finished = run.get("state") == "finished" and not is_alive
    stopped = "interrupted" if not finished else "damaged" if broken or lost else "finished"
    started = _timestamp(run.get("started_at"))
    times = list(commit_times(output).values())
    rate = videos_per_hour(times, started, now if is_alive else None)
    left = missing.videos / rate * 3600 if is_alive and rate and missing and missing.videos else None
    return RunStatus(
        output=scrub(output),
        state="running" if is_alive else stopped,
        run_id=scrub(str(run.get("run_id", "unknown"))),
        started_at=scrub(str(run.get("started_at", "at an unknown time"))),
        sign_of_life_s=life,
        counts=counts,
        failures=_failures(output) if counts.failed else {},
        damaged=broken,
        lost_rows=lost,
        is_checked=damaged is not None,
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


def _missing(state: DatasetState, run: dict[str, Any], manifest: str | None, videos: str | None) -> Missing | None:
    configuration = run.get("configuration") or {}
    try:
        plan = plan_manifest(manifest, videos=videos) if manifest else plan_of(configuration, videos=videos)
    except (UsageError, StorageError):
        if manifest:
            raise
        return None  # run.json may name a path of another machine
    with plan:
        state.compare(plan, retry_failed=False)
        left = plan.size()
    return Missing(videos=left.videos, expressions=left.expressions)


def _failures(output: str) -> dict[str, int]:
    return dict(Counter(cause_of(error) for error in failures(output)).most_common())


def _timestamp(text: object) -> float | None:
    try:
        return dt.datetime.strptime(str(text), "%Y-%m-%dT%H:%M:%S%z").timestamp()
    except ValueError:
        return None
