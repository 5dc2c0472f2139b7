"""The lock that keeps two runs out of one output: a plain file with a heartbeat, on a disk or an object store.

Object stores give no exclusive create that all of them honour, so the lock is written, left to settle and read back;
the last writer wins. Should two runs still both believe to hold it (a pause in just the wrong place), the next
heartbeat of the one whose entry was overwritten finds that out, and its run stops. What a run writes is guarded once
more, by :mod:`pipeline.dataset.owner`: a run that slept through its end must not write when it wakes up.

No decision rests on the wall clock, which may be set at any time: processes are told apart by their start since boot,
and a lock is dead only if it does not change while it is watched.
"""

import json
import logging
import os
import socket
import threading
import time
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from pipeline.dataset.layout import LOCK_FILE, STATE_FOLDER
from pipeline.errors import StorageError, UsageError
from pipeline.storage import (
    MissingFileError,
    atomic_write,
    delete,
    is_local,
    join,
    open_filesystem,
    read_bytes,
    scrub,
    with_retries,
)

logger = logging.getLogger(__name__)

_WATCHED_BEATS = 3
"""Even a lock that looks old is watched for so many beats: the clock may have been set since it was written."""
_PATIENCE = 4
"""A run stops when its lock could not be renewed for so many times ``watch_s``."""
_RELEASE_WAIT_S = 120.0
"""Longest wait for a beat that is in its retries."""
_SINCE_1970 = 1e9
"""Starts of processes above this are seconds since 1970, which locks of earlier versions hold."""


@dataclass(frozen=True, kw_only=True)
class LockEntry:
    """What the lock file says."""

    run_id: str
    host: str
    machine: str
    """Tells processes with equal numbers apart: the boot and the process namespace that ``pid`` counts in."""
    pid: int
    process_started: float
    """Seconds from the machine's boot to the process's start, where the system tells; else since 1970."""
    beat: int
    heartbeat: str
    """Time of the last beat, UTC, for people; decisions rest on the storage's clock and on change."""

    def holder(self) -> str:
        """Who holds the lock, for messages."""
        return f"run {self.run_id} (process {self.pid} on {self.host}, last sign of life {self.heartbeat})"


class RunLock:
    """The lock of one output directory.

    Args:
        url: The output directory.
        beat_s: Seconds between heartbeats.
        stale_after_s: A lock that the storage says was last written longer ago than this is watched for three beats.
        watch_s: A lock that does not change while being watched for this long is dead.
        settle_s: Wait between writing the lock and reading it back.
    """

    def __init__(
        self,
        url: str,
        *,
        beat_s: float = 5.0,
        stale_after_s: float = 60.0,
        watch_s: float = 30.0,
        settle_s: float | None = None,
    ) -> None:
        self.run_id = uuid.uuid4().hex[:12]
        self._url = url
        self._file = join(url, LOCK_FILE)
        self._beat_s = beat_s
        self._stale_after_s = stale_after_s
        self._watch_s = watch_s
        self._settle_s = settle_s if settle_s is not None else (0.5 if is_local(url) else 1.5)
        self._beats = 0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._lost: str | None = None
        self._renewed = time.monotonic()

    def acquire(self) -> None:
        """Take the lock and keep it alive from a daemon thread.

        Raises:
            UsageError: A live run holds it; the message names the run.
            StorageError: The storage failed.
        """
        current = self._read()
        if current is not None:
            self._wait_until_dead(current)
            logger.warning("%s: taking over from %s, which is gone", scrub(self._url), current.holder())
        self._write()
        time.sleep(self._settle_s)
        winner = self._read()
        if winner is None or winner.run_id != self.run_id:
            raise self._refusal(winner)
        self._renewed = time.monotonic()
        self._thread = threading.Thread(target=self._keep_alive, name="run-lock", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raise StorageError when the lock is lost: another run has taken it, it is gone, or it cannot be renewed."""
        if self._lost is None and self._thread is not None:
            silent_s = time.monotonic() - self._renewed
            if silent_s > _PATIENCE * self._watch_s:
                self._lost = f"the lock could not be renewed for {silent_s:.0f} s, and another run may take it"
        if self._lost is not None:
            raise StorageError(f"{scrub(self._url)}: {self._lost}; this run stops")

    def release(self) -> None:
        """Stop the heartbeat, which removes the lock if it is still ours; may be called twice."""
        if self._thread is None:
            return
        self._stop.set()
        self._thread.join(timeout=_RELEASE_WAIT_S)
        if self._thread.is_alive():
            logger.warning("%s: the lock is still being written; it ends with this process", scrub(self._url))
        self._thread = None

    def _wait_until_dead(self, seen: LockEntry) -> None:
        if same_process_table(seen):
            if process_lives(seen):
                raise self._refusal(seen)
            return
        started = time.monotonic()
        watched_s = 0.0
        while watched_s < self._watch_s:
            if watched_s >= _WATCHED_BEATS * self._beat_s and self._age_s() > self._stale_after_s:
                return
            time.sleep(min(1.0, self._beat_s / 2))
            watched_s = time.monotonic() - started
            now = self._read()
            if now is None:
                return
            if (now.run_id, now.beat) != (seen.run_id, seen.beat):
                raise self._refusal(now)

    def _refusal(self, holder: LockEntry | None) -> UsageError:
        who = holder.holder() if holder is not None else "another run, which has just ended"
        return UsageError(f"{scrub(self._url)}: in use by {who}; wait for it to end, stop it, or name another --output")

    def _keep_alive(self) -> None:
        """Beat until told to stop; then, after whatever write was under way, remove the lock."""
        while not self._stop.wait(self._beat_s):
            try:
                self._lost = self._lost or self._beat()
            except Exception as error:  # noqa: BLE001 - whatever it is: without a beat the output would be taken over
                logger.warning("%s: the lock could not be renewed: %s", scrub(self._url), scrub(str(error)))
            if self._lost is not None:
                logger.error("%s: %s", scrub(self._url), self._lost)
                return
        try:
            entry = self._read()
            if entry is not None and entry.run_id == self.run_id:
                delete(self._file)
        except Exception as error:  # noqa: BLE001 - a lock that stays is dead as soon as this process is
            logger.warning("%s: the lock could not be removed: %s", scrub(self._url), scrub(str(error)))

    def _beat(self) -> str | None:
        """Renew the lock; returns why it is lost, if it is. Only its holder writes and removes it."""
        while True:
            looked = time.monotonic()
            entry = self._read()
            if entry is None:
                return "the lock is gone: another run has taken this output over, and has ended"
            if entry.run_id != self.run_id:
                return f"{entry.holder()} has taken this output over"
            if time.monotonic() - looked < self._beat_s:  # else this process slept, and should look again
                break
        self._write()
        self._renewed = time.monotonic()
        return None

    def _read(self) -> LockEntry | None:
        try:
            return LockEntry(**json.loads(read_bytes(self._file)))
        except MissingFileError:
            return None
        except (ValueError, TypeError):
            logger.warning("%s: not a lock file", scrub(self._file))
            return None

    def _write(self) -> None:
        self._beats += 1
        entry = LockEntry(
            run_id=self.run_id,
            host=socket.gethostname(),
            machine=_machine(),
            pid=os.getpid(),
            process_started=_started(os.getpid()),
            beat=self._beats,
            heartbeat=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        )
        atomic_write(self._file, json.dumps(asdict(entry), indent=1).encode())

    def _age_s(self) -> float:
        """Seconds since the lock was written, by the storage's clock: a file written now tells what time it has."""
        fs, path = open_filesystem(self._file)
        probe = join(self._url, STATE_FOLDER, f"probe-{self.run_id}")
        atomic_write(probe, b"")
        try:
            probe_path = open_filesystem(probe)[1]
            now = with_retries(lambda: fs.modified(probe_path), probe, "look up")
            written = with_retries(lambda: fs.modified(path), self._file, "look up")
        except MissingFileError:
            return 0.0
        finally:
            delete(probe)
        return float((now - written).total_seconds())


def _machine() -> str:
    """This boot of this machine, and the process namespace; empty parts where the system does not tell."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        namespace = os.readlink("/proc/self/ns/pid")  # noqa: PTH115 - the link's text, not a path
    except OSError:
        boot, namespace = str(psutil.boot_time()), ""
    return f"{boot} {namespace}".strip()


def same_process_table(entry: LockEntry) -> bool:
    """Whether the holder is a process of this boot of this machine, so that its number means something here."""
    return entry.host == socket.gethostname() and entry.machine == _machine()


def process_lives(entry: LockEntry) -> bool:
    """Whether the holder, a process of this machine, still runs."""
    try:
        process = psutil.Process(entry.pid)
        now = process.create_time() if entry.process_started > _SINCE_1970 else _started(entry.pid)
        # A recycled number belongs to a process that started at another time.
        return abs(now - entry.process_started) < 1 and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.NoSuchProcess, OSError):
        return False


def _started(pid: int) -> float:
    """When a process started: seconds since boot on Linux, which no change of the clock moves."""
    if not Path("/proc/self/stat").exists():
        return psutil.Process(pid).create_time()
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()  # a name before it may hold anything
    return int(fields[19]) / os.sysconf("SC_CLK_TCK")
