"""jobs/status.py on outputs made with the real writer, at every point of a run's life."""

import json
import threading
import time

import pytest

from pipeline.dataset.layout import LOCK_FILE
from pipeline.dataset.output import OutputDirectory
from pipeline.errors import UsageError
from pipeline.manifest import read_manifest
from pipeline.schema import MaskRow, Status, failed_rows
from pipeline.status import read_status, videos_per_hour
from tests.conftest import run_job


@pytest.fixture
def manifest(tmp_path):
    lines = [
        {"video_id": f"v{v}", "video": f"v{v}.mp4", "expression_id": str(e), "expression": f"thing {e}"}
        for v in range(4)
        for e in range(2)
    ]
    path = tmp_path / "manifest.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def rows_of(task, error=None):
    if error:
        return failed_rows(task, error)
    return [
        MaskRow(
            video_id=task.video_id,
            expression_id=e.expression_id,
            expression=e.text,
            status=Status.NO_OBJECT,
            answer="no",
        )
        for e in task.expressions
    ]


class Run:
    """A run that commits as it is told to."""

    def __init__(self, manifest, output):
        self.tasks = read_manifest(str(manifest))
        self.output = OutputDirectory(str(output))
        self.output.begin(identity={"m": 1}, description={"configuration": {"manifest": str(manifest)}})

    def commit(self, video, error=None):
        self.output.commit(rows_of(self.tasks[video], error))


@pytest.fixture
def begin(manifest, tmp_path):
    runs = []

    def start():
        runs.append(Run(manifest, tmp_path / "out"))
        return runs[-1]

    yield start
    for run in runs:
        run.output.release()


def test_a_running_run(begin, tmp_path):
    run = begin()
    run.commit(0)
    run.commit(1, error="VideoError: v1.mp4: empty")
    status = read_status(str(tmp_path / "out"))
    assert status.state == "running"
    assert status.sign_of_life_s < 30
    assert (status.counts.videos, status.counts.expressions, status.counts.failed) == (2, 4, 2)
    assert status.failures == {"VideoError": 2}
    assert (status.missing.videos, status.missing.expressions) == (2, 4)
    assert not status.is_all_well


def test_rate_and_time_left_of_a_running_run(begin, tmp_path):
    run = begin()
    run.commit(0)
    run.commit(1)
    status = read_status(str(tmp_path / "out"), now=time.time() + 40)
    assert status.videos_per_hour == pytest.approx(2 * 3600 / 40, rel=0.1)
    assert status.seconds_left == pytest.approx(40, rel=0.1)
    assert "left" in str(status)


def test_a_finished_run(begin, tmp_path):
    run = begin()
    for video in range(4):
        run.commit(video)
    run.output.finish({})
    status = read_status(str(tmp_path / "out"))
    assert status.state == "finished"
    assert status.missing.expressions == 0
    assert status.seconds_left is None
    assert status.is_all_well


def of_another_machine(output, *, clock_behind_s=0.0, beat=7):
    """Rewrite the lock as a machine elsewhere does it, whose clock is behind by so much."""
    file = output / LOCK_FILE
    lock = json.loads(file.read_text())
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - clock_behind_s))
    file.write_text(json.dumps({**lock, "host": "elsewhere", "machine": "another", "heartbeat": at, "beat": beat}))


def test_a_run_that_was_killed_long_ago(begin, tmp_path):
    run = begin()
    run.commit(0)
    of_another_machine(tmp_path / "out", clock_behind_s=3600)
    status = read_status(str(tmp_path / "out"), watch_s=0.2)
    assert status.state == "interrupted"
    assert status.seconds_left is None
    assert "last sign of life 60 min ago" in str(status)


@pytest.mark.parametrize("clock_behind_s", [7200, -7200])
def test_a_run_whose_machine_has_another_time_is_told_from_a_dead_one_by_its_beat(begin, tmp_path, clock_behind_s):
    run = begin()
    run.commit(0)
    output = tmp_path / "out"
    of_another_machine(output, clock_behind_s=clock_behind_s)
    assert read_status(str(output), watch_s=0.2).state == "interrupted"
    beating = threading.Timer(0.3, of_another_machine, [output], {"clock_behind_s": clock_behind_s, "beat": 8})
    beating.start()
    assert read_status(str(output), watch_s=5).state == "running"
    beating.join()


def test_a_run_on_this_machine_is_judged_by_its_process(begin, tmp_path):
    begin().commit(0)
    file = tmp_path / "out" / LOCK_FILE
    assert read_status(str(tmp_path / "out"), now=time.time() + 3600).state == "running"
    file.write_text(json.dumps({**json.loads(file.read_text()), "pid": 2**22 - 1}))
    assert read_status(str(tmp_path / "out")).state == "interrupted"  # at once, however fresh the heartbeat


def test_a_run_that_gave_up_is_interrupted(begin, tmp_path):
    run = begin()
    run.commit(0)
    run.output.release()
    assert read_status(str(tmp_path / "out")).state == "interrupted"


def test_a_finished_run_with_more_in_its_manifest_by_now(begin, manifest, tmp_path):
    run = begin()
    for video in range(4):
        run.commit(video)
    run.output.finish({})
    more = {"video_id": "v9", "video": "v9.mp4", "expression_id": "0", "expression": "late"}
    manifest.write_text(manifest.read_text() + json.dumps(more) + "\n")
    status = read_status(str(tmp_path / "out"))
    assert (status.missing.videos, status.missing.expressions) == (1, 1)
    assert not status.is_all_well


def test_a_file_cut_short_counts_as_missing(begin, tmp_path):
    run = begin()
    run.commit(0)
    file = next((tmp_path / "out").rglob("*.parquet"))
    file.write_bytes(file.read_bytes()[:-20])
    status = read_status(str(tmp_path / "out"))
    assert len(status.damaged) == 1
    assert file.name in status.damaged[0]
    assert status.missing.videos == 4


def test_a_finished_run_of_which_something_is_damaged_or_gone_is_not_called_finished(begin, tmp_path, job_here):
    run = begin()
    for video in range(4):
        run.commit(video)
    run.output.finish({})
    assert read_status(str(tmp_path / "out")).state == "finished"
    first = min((tmp_path / "out" / "masks").glob("*.parquet"))
    whole = first.read_bytes()
    first.write_bytes(whole[:60] + bytes(value ^ 255 for value in whole[60:90]) + whole[90:])
    code, said, _ = job_here("status")(tmp_path / "out")
    assert code == 3
    assert "out: damaged" in said
    assert first.name in said
    first.unlink()
    status = read_status(str(tmp_path / "out"))
    assert (status.state, status.lost_rows) == ("damaged", 8)
    assert "8 rows that the run wrote are in no file any more" in str(status)


def test_no_secret_of_the_output_or_of_run_json_is_shown(begin, tmp_path):
    run = begin()
    run.commit(0)
    run.output.finish({})
    file = tmp_path / "out" / "run.json"
    content = {**json.loads(file.read_text()), "started_at": "https://me:hush@host/x?sig=abc"}
    file.write_text(json.dumps(content))
    said = str(read_status(str(tmp_path / "out")))
    assert "hush" not in said
    assert "abc" not in said


def test_a_manifest_that_is_out_of_reach_is_said_so(begin, manifest, tmp_path):
    begin().commit(0)
    manifest.rename(tmp_path / "elsewhere.jsonl")
    status = read_status(str(tmp_path / "out"))
    assert status.missing is None
    assert "--manifest" in str(status)
    again = read_status(str(tmp_path / "out"), manifest=str(tmp_path / "elsewhere.jsonl"))
    assert again.missing.videos == 3
    with pytest.raises(UsageError):
        read_status(str(tmp_path / "out"), manifest=str(tmp_path / "nowhere.jsonl"))


@pytest.mark.parametrize(
    ("times", "started", "now", "expected"),
    [
        ([], 0.0, 100.0, None),
        ([10.0, 20.0], 0.0, 100.0, 72.0),
        ([10.0, 20.0], 0.0, None, 360.0),  # over: up to its last file
        ([-500.0, 10.0, 20.0], 0.0, 100.0, 72.0),  # an earlier run's file
        ([10.0] * 50 + [9000.0] * 9, 0.0, 9900.0, 36.0),  # only the last quarter of an hour
        ([10.0], None, 11.0, 3600.0),
        ([10.0], None, 10.0, None),
        ([10.0] * 5, 0.0, 5000.0, 0.0),  # stuck
    ],
)
def test_rate(times, started, now, expected):
    assert videos_per_hour(times, started, now) == (None if expected is None else pytest.approx(expected))


def test_as_a_user_calls_it(begin, tmp_path):
    run = begin()
    run.commit(0)
    done = run_job("status", tmp_path / "out")
    assert done.returncode == 1
    assert "running" in done.stdout
    assert "missing  6 expressions of 3 videos" in done.stdout
    as_json = json.loads(run_job("status", tmp_path / "out", "--json").stdout)
    assert as_json["counts"]["expressions"] == 2
    nothing = run_job("status", tmp_path)
    assert nothing.returncode == 2
    assert len(nothing.stderr.splitlines()) == 1


def test_a_large_dataset_is_checked_only_when_asked_and_that_is_said(begin, tmp_path, monkeypatch):
    run = begin()
    for video in range(4):
        run.commit(video)
    run.output.finish({})
    file = min((tmp_path / "out" / "masks").glob("*.parquet"))
    data = file.read_bytes()
    file.write_bytes(data[:60] + bytes(value ^ 255 for value in data[60:64]) + data[64:])
    monkeypatch.setattr("pipeline.dataset.verification._QUICK_BYTES", 10)
    quick = read_status(str(tmp_path / "out"))
    assert not quick.is_checked
    assert "--verify" in str(quick)
    assert read_status(str(tmp_path / "out"), verify=True).is_damaged
