"""Two runs never share an output; a dead run's lock is recognised."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time

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
