"""Two runs never share an output; a dead run's lock is recognised."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest

from pipeline.dataset import OutputDirectory
from pipeline.dataset.lock import RunLock
from pipeline.errors import StorageError, UsageError

HOLDER = """
import sys, time
from pipeline.dataset import OutputDirectory
output = OutputDirectory(sys.argv[1])
output.begin(identity={"a": 1}, description={})
print(output.run_id, flush=True)
time.sleep(60)
"""


@pytest.fixture
def out(tmp_path):
    (tmp_path / "_state").mkdir()
    return tmp_path


def lock_of_elsewhere(out, *, beat=1):
    """A lock as a run on another machine leaves it."""
    entry = {
        "run_id": "far",
        "host": "elsewhere",
        "machine": "another",
        "pid": 1,
        "process_started": 0.0,
        "beat": beat,
        "heartbeat": "2026-01-01T00:00:00Z",
    }
    (out / "_state" / "lock.json").write_text(json.dumps(entry))


@pytest.fixture
def quick(out):
    """A function that makes locks with short times; they are released at the end."""
    locks = []

    def make(**changes):
        locks.append(RunLock(str(out), **{"beat_s": 0.1, "watch_s": 0.6, "settle_s": 0.05, **changes}))
        return locks[-1]

    yield make
    for lock in locks:
        lock.release()


@pytest.fixture
def holder(out):
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(out)], stdout=subprocess.PIPE, text=True)
    run_id = process.stdout.readline().strip()
    yield process, run_id
    process.kill()
    process.wait()


def test_a_second_run_is_refused_and_told_by_whom_until_the_first_is_killed(out, holder):
    process, run_id = holder
    with pytest.raises(UsageError, match=f"in use by run {run_id} .process {process.pid} on "):
        OutputDirectory(str(out)).begin(identity={"a": 1}, description={})
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    started = time.monotonic()
    successor = OutputDirectory(str(out))
    successor.begin(identity={"a": 1}, description={})
    assert time.monotonic() - started < 5
    successor.release()


def test_a_killed_but_unburied_run_is_dead(out, holder, quick):
    process, _ = holder
    os.kill(process.pid, signal.SIGKILL)
    time.sleep(0.2)  # a zombie: its parent, this test, has not waited for it
    quick().acquire()


def test_a_recycled_process_number_is_not_the_old_run(out, quick):
    lock = quick()
    lock.acquire()
    lock._stop.set()
    file = out / "_state" / "lock.json"
    entry = json.loads(file.read_text())
    file.write_text(json.dumps({**entry, "process_started": entry["process_started"] - 1000}))
    quick().acquire()


def test_the_same_process_is_refused_too(out, quick):
    lock = quick()
    lock.acquire()
    with pytest.raises(UsageError, match="in use"):
        quick().acquire()
    lock.release()
    quick().acquire()


def test_an_unchanging_lock_of_another_machine_is_taken_over_after_watching(out, quick):
    lock_of_elsewhere(out)
    started = time.monotonic()
    quick().acquire()
    assert time.monotonic() - started >= 0.6


def test_an_old_lock_of_another_machine_is_taken_over_at_once(out, quick):
    lock_of_elsewhere(out)
    old = time.time() - 100
    os.utime(out / "_state" / "lock.json", (old, old))
    started = time.monotonic()
    quick(watch_s=30).acquire()
    assert time.monotonic() - started < 5


def test_a_beating_lock_of_another_machine_is_respected(out, quick):
    lock_of_elsewhere(out)
    beats = threading.Timer(0.2, lock_of_elsewhere, args=(out,), kwargs={"beat": 2})
    beats.start()
    with pytest.raises(UsageError, match=r"run far .process 1 on elsewhere"):
        quick(watch_s=10).acquire()


def test_a_run_that_lost_its_lock_stops_committing(out, make_row, quick):
    output = OutputDirectory(str(out), lock=quick())
    output.begin(identity={"a": 1}, description={})
    output.commit([make_row()])
    lock_of_elsewhere(out)
    time.sleep(0.5)
    with pytest.raises(StorageError, match=r"run far .* has taken this output over"):
        output.commit([make_row(expression_id="1")])
    output.release()
    assert json.loads((out / "_state" / "lock.json").read_text())["run_id"] == "far"


def test_the_heartbeat_goes_on(out, quick):
    lock = quick()
    lock.acquire()
    first = json.loads((out / "_state" / "lock.json").read_text())["beat"]
    time.sleep(0.5)
    assert json.loads((out / "_state" / "lock.json").read_text())["beat"] > first
    lock.release()
    assert not (out / "_state" / "lock.json").exists()


def test_a_damaged_lock_is_replaced(out, quick):
    (out / "_state" / "lock.json").write_text("{")
    quick().acquire()


def _race(url, start, results):
    start.wait()
    try:
        RunLock(url, settle_s=1.5).acquire()
    except UsageError:
        results.put("refused")
    else:
        results.put("acquired")
        time.sleep(2)


def test_of_four_at_once_one_gets_it(out):
    context = multiprocessing.get_context("spawn")
    start, results = context.Barrier(4), context.Queue()
    runs = [context.Process(target=_race, args=(str(out), start, results)) for _ in range(4)]
    for run in runs:
        run.start()
    outcomes = [results.get(timeout=60) for _ in runs]
    for run in runs:
        run.join()
    assert sorted(outcomes) == ["acquired", "refused", "refused", "refused"]


def test_a_lock_that_was_ours_and_is_gone_is_lost(out, quick):
    """What a run finds that was paused while another one took its lock over and ended."""
    lock = quick()
    lock.acquire()
    (out / "_state" / "lock.json").unlink()
    wait_until(lambda: lock._lost)
    with pytest.raises(StorageError, match="the lock is gone"):
        lock.check()
    lock.release()
    assert not (out / "_state" / "lock.json").exists()


@pytest.mark.parametrize("damage", ["{", "[]", '{"run_id": 3}'])
def test_a_lock_that_was_ours_and_is_changed_is_lost(out, quick, damage):
    lock = quick()
    lock.acquire()
    (out / "_state" / "lock.json").write_text(damage)
    wait_until(lambda: lock._lost)
    with pytest.raises(StorageError, match="this run stops"):
        lock.check()


class OtherClientsError(Exception):
    """An error of a client library that nobody knows here, as google.auth's TransportError is."""


def test_the_heartbeat_survives_any_error(out, quick, monkeypatch):
    lock = quick()
    lock.acquire()
    failing = threading.Event()
    failing.set()
    original = RunLock._write

    def write(self):
        if failing.is_set():
            raise OtherClientsError("https://me:secret@host is away")
        original(self)

    monkeypatch.setattr(RunLock, "_write", write)
    time.sleep(0.5)
    failing.clear()
    before = json.loads((out / "_state" / "lock.json").read_text())["beat"]
    wait_until(lambda: json.loads((out / "_state" / "lock.json").read_text())["beat"] > before)
    lock.check()


def test_a_heartbeat_that_fails_for_long_ends_the_run(out, quick, monkeypatch):
    lock = quick(watch_s=0.1)
    lock.acquire()
    monkeypatch.setattr(RunLock, "_write", lambda _: (_ for _ in ()).throw(OtherClientsError("away")))
    time.sleep(0.8)
    with pytest.raises(StorageError, match="could not be renewed for"):
        lock.check()


def test_a_release_during_a_slow_beat_leaves_no_lock(out, quick, monkeypatch):
    """A beat in its retries must not write the lock again after it was removed."""
    lock = quick()
    lock.acquire()
    original, inside = RunLock._write, threading.Event()

    def slow(self):
        inside.set()
        time.sleep(1)
        original(self)

    monkeypatch.setattr(RunLock, "_write", slow)
    assert inside.wait(10)
    lock.release()
    time.sleep(0.3)
    assert not (out / "_state" / "lock.json").exists()


def test_a_clock_that_is_set_forward_makes_no_living_lock_old(out, quick, monkeypatch):
    """The file looks an hour old, but its holder beats."""
    lock_of_elsewhere(out)
    old = time.time() - 3600
    os.utime(out / "_state" / "lock.json", (old, old))

    def beat():
        lock_of_elsewhere(out, beat=2)
        os.utime(out / "_state" / "lock.json", (old, old))

    beats = threading.Timer(0.15, beat)
    beats.start()
    with pytest.raises(UsageError, match=r"run far .process 1 on elsewhere"):
        quick(watch_s=10).acquire()


def test_a_process_of_this_machine_lives_whatever_the_clock_says(out, quick, monkeypatch):
    """The boot time that psutil starts from moves when the clock is set."""
    quick().acquire()
    monkeypatch.setattr("psutil.Process.create_time", lambda _: time.time() + 7200)
    with pytest.raises(UsageError, match="in use"):
        quick().acquire()


def test_a_lock_of_an_earlier_version_is_understood(out, quick):
    """It holds the start of its process in seconds since 1970."""
    lock = quick()
    lock.acquire()
    lock._stop.set()
    lock._thread.join()
    lock._write()
    file = out / "_state" / "lock.json"
    entry = json.loads(file.read_text())
    file.write_text(json.dumps({**entry, "process_started": psutil.Process().create_time()}))
    with pytest.raises(UsageError, match="in use"):
        quick().acquire()


def wait_until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
