"""The lock that keeps two runs out of one output: a plain file with a heartbeat, on a disk or an object store.

Object stores give no exclusive create that all of them honour, so the lock is written, left to settle and read back;
the last writer wins. Should two runs still both believe to hold it (a pause in just the wrong place), the next
heartbeat of the one whose entry was overwritten finds that out, and its run stops.
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

LOCK_FILE = "_state/lock.json"


@dataclass(frozen=True, kw_only=True)
class LockEntry:
    """What the lock file says."""

    run_id: str
    host: str
    machine: str
    """Tells processes with equal numbers apart: the boot and the process namespace that ``pid`` counts in."""
    pid: int
    process_started: float
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
        stale_after_s: A lock that the storage says was last written longer ago than this is dead.
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
        self._taken_by: LockEntry | None = None

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
        self._thread = threading.Thread(target=self._keep_alive, name="run-lock", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raise StorageError when another run has taken the lock meanwhile."""
        if self._taken_by is not None:
            raise StorageError(
                f"{scrub(self._url)}: {self._taken_by.holder()} has taken this output over; this run stops"
            )

    def release(self) -> None:
        """Stop the heartbeat and remove the lock if it is still ours; may be called twice."""
        if self._thread is None:
            return
        self._stop.set()
        self._thread.join(timeout=30)
        self._thread = None
        entry = self._read()
        if entry is not None and entry.run_id == self.run_id:
            delete(self._file)

    def _wait_until_dead(self, seen: LockEntry) -> None:
        if _same_process_table(seen):
            if _process_lives(seen):
                raise self._refusal(seen)
            return
        deadline = time.monotonic() + self._watch_s
        while time.monotonic() < deadline and self._age_s() <= self._stale_after_s:
            time.sleep(min(1.0, self._beat_s / 2))
            now = self._read()
            if now is None:
                return
            if (now.run_id, now.beat) != (seen.run_id, seen.beat):
                raise self._refusal(now)

    def _refusal(self, holder: LockEntry | None) -> UsageError:
        who = holder.holder() if holder is not None else "another run, which has just ended"
        return UsageError(f"{scrub(self._url)}: in use by {who}; wait for it to end, stop it, or name another --output")

    def _keep_alive(self) -> None:
        while not self._stop.wait(self._beat_s):
            try:
                entry = self._read()
                if entry is not None and entry.run_id != self.run_id:
                    self._taken_by = entry
                    logger.error("%s: lost the lock to %s", scrub(self._url), entry.holder())
                    return
                self._write()
            except StorageError as error:
                logger.warning("the run's lock could not be refreshed: %s", error)

    def _read(self) -> LockEntry | None:
        try:
            return LockEntry(**json.loads(read_bytes(self._file)))
        except MissingFileError:
            return None
        except (ValueError, TypeError):
            logger.warning("%s: not a lock file; replacing it", scrub(self._file))
            return None

    def _write(self) -> None:
        self._beats += 1
        entry = LockEntry(
            run_id=self.run_id,
            host=socket.gethostname(),
            machine=_machine(),
            pid=os.getpid(),
            process_started=psutil.Process().create_time(),
            beat=self._beats,
            heartbeat=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        )
        atomic_write(self._file, json.dumps(asdict(entry), indent=1).encode())

    def _age_s(self) -> float:
        """Seconds since the lock was written, by the storage's clock: a file written now tells what time it has."""
        fs, path = open_filesystem(self._file)
        probe = join(self._url, f"_state/probe-{self.run_id}")
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


def _same_process_table(entry: LockEntry) -> bool:
    return entry.host == socket.gethostname() and entry.machine == _machine()


def _process_lives(entry: LockEntry) -> bool:
    try:
        process = psutil.Process(entry.pid)
        # A recycled number belongs to a process that started at another time.
        return abs(process.create_time() - entry.process_started) < 1 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
