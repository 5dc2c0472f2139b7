"""Whether the run that holds an output is alive, seen from any machine."""

import json
import time
from datetime import datetime
from typing import Any

from pipeline.dataset.layout import LOCK_FILE
from pipeline.dataset.lock import LockEntry, process_lives, same_process_table
from pipeline.storage import MissingFileError, join, read_bytes

FRESH_S = 60.0
"""A heartbeat younger than this by both clocks is believed without a second look."""
SKEW_S = 5.0
"""A heartbeat that is further in the future comes from a clock that goes wrong."""
WATCH_S = 11.0
"""Within this time a living run renews its lock, which it does every five seconds, whatever its clock says."""


def sign_of_life(output: str, now: float, watch_s: float = WATCH_S) -> tuple[float | None, bool]:
    """Find out whether a run holds an output.

    On the run's own machine its process decides. From elsewhere a fresh heartbeat does; where it looks old, or lies in
    the future, the two machines' clocks may differ, so that the lock is watched for the next one.

    Args:
        output: Path or fsspec URL.
        now: This machine's clock, seconds since 1970.
        watch_s: How long to watch.

    Returns:
        Seconds since the last heartbeat by the two clocks (None without a lock, at least 0), and whether it is alive.
    """
    entry = _entry(output)
    if entry is None:
        return None, False
    age = now - entry["at"]
    lock = entry["lock"]
    if lock is not None and same_process_table(lock):
        return max(age, 0.0), process_lives(lock)
    if -SKEW_S <= age < FRESH_S:
        return max(age, 0.0), True
    deadline = time.monotonic() + watch_s
    while time.monotonic() < deadline:
        time.sleep(min(0.5, watch_s))
        later = _entry(output)
        if later is None:
            return None, False
        if later["beat"] != entry["beat"]:
            return 0.0, True
    return max(age, 0.0), False


def _entry(output: str) -> dict[str, Any] | None:
    """The lock's heartbeat; None where there is no lock that can be read."""
    try:
        content = json.loads(read_bytes(join(output, LOCK_FILE)))
        at = datetime.strptime(content["heartbeat"], "%Y-%m-%dT%H:%M:%S%z").timestamp()
        beat = (content.get("run_id"), content.get("beat"), content["heartbeat"])
    except (MissingFileError, ValueError, TypeError, KeyError, AttributeError):
        return None
    try:
        lock = LockEntry(**content)
    except TypeError:
        lock = None
    return {"at": at, "beat": beat, "lock": lock}
