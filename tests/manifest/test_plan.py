"""Planning in bounded memory: every video in its part and in one window, whatever the size of the manifest."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.dataset.layout import part_of
from pipeline.errors import StorageError, UsageError
from pipeline.manifest import database, plan_manifest
from pipeline.manifest.plan import Plan
from pipeline.schema import Expression, VideoTask


def task(video_id, *texts):
    expressions = tuple(Expression(expression_id=str(i), text=text) for i, text in enumerate(texts))
    return VideoTask(video_id=video_id, video=f"/v/{video_id}", expressions=expressions)


TASKS = [task(video_id, "x", "y") for video_id in ("é", "a\0b", "狗", "../x", *map(str, range(60)))]


def test_parts_are_those_of_the_dataset_and_windows_hold_each_video_once():
    with Plan.of_tasks(TASKS) as made:
        made.arrange(7)
        assert made.videos_by_part() == Counter(part_of(one.video_id, 7) for one in TASKS)
        windows = made.windows(10)
        assert [window.videos for window in windows] == [10] * 6 + [4]
        handed_out = [one for window in windows for one in made.tasks(window)]
        assert sorted(handed_out, key=TASKS.index) == TASKS
        parts = [part_of(one.video_id, 7) for one in handed_out]
        assert parts == sorted(parts)
        assert len(made.sample(5)) == 5


def test_what_is_done_leaves_the_plan():
    done = pa.table(
        {"video_id": ["é", "0", "1"], "expression_id": ["0", "0", "1"], "expression": ["x", "another", "y"]}
    )
    with Plan.of_tasks(TASKS) as made:
        made.arrange(3)
        made.begin_comparison()
        for part in range(3):
            made.keep_missing(part, part + 1, done)
        left = {one.video_id: [item.expression_id for item in one.expressions] for one in made.all_tasks()}
        assert (made.size().videos, made.size().expressions) == (64, 126)
    assert (left["é"], left["0"], left["1"]) == (["1"], ["0", "1"], ["0"])


def test_a_manifest_larger_than_the_memory_is_planned(tmp_path, monkeypatch):
    monkeypatch.setattr(database, "MEMORY", "100MB")
    rows = 120_000
    columns = {
        "video_id": [f"video{row % 30_000:06d}" for row in range(rows)],
        "video": [f"s3://bucket/a/long/way/to/the/video/number/{row % 30_000:06d}.mp4" for row in range(rows)],
        "expression_id": [str(row // 30_000) for row in range(rows)],
        "expression": [f"the animal with the number {row} that turns left" * 10 for row in range(rows)],
    }
    table = pa.table(columns)
    for file in range(4):
        pq.write_table(table.slice(file * 30_000, 30_000), tmp_path / f"part-{file}.parquet")
    with plan_manifest(str(tmp_path)) as made:
        assert (made.total.videos, made.total.expressions) == (30_000, rows)
        made.arrange(120)
        window = made.windows(2000)[7]
        tasks = made.tasks(window)
        assert len(tasks) == 2000
        assert all(len(one.expressions) == 4 for one in tasks)


def test_a_plan_that_cannot_be_kept_is_no_fault_of_the_manifest(monkeypatch):
    monkeypatch.setattr(database, "MEMORY", "1MB")
    with (
        pytest.raises(StorageError, match="the plan of the tasks cannot be kept"),
        Plan.of_tasks(task(f"video{number}", "text " * 50) for number in range(100_000)),
    ):
        pass


def test_a_fault_in_one_of_many_files_ends_the_reading_of_all(tmp_path):
    for file in range(40):
        rows = [
            {"video_id": f"{file}-{row}", "video": "v", "expression_id": "0", "expression": "x"} for row in range(50)
        ]
        (tmp_path / f"{file:02d}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with plan_manifest(str(tmp_path)) as made:
        assert made.total.videos == 2000
    (tmp_path / "17.jsonl").write_text('{"video_id": 1}\n')
    with pytest.raises(UsageError, match=r"17\.jsonl: line 1: column 'video' is missing"):
        plan_manifest(str(tmp_path))


def plan_folders(folder: Path) -> list[Path]:
    return sorted(folder.glob("sa2va-i-plan-*"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_ended_while_it_plans_says_so_and_leaves_nothing(tmp_path: Path, number: int) -> None:
    manifest, scratch = tmp_path / "m.parquet", tmp_path / "scratch"
    scratch.mkdir()
    names = pa.array([f"video{i}" for i in range(600_000)])
    texts = pa.array(["the thing"] * len(names))
    pq.write_table(pa.table({"video_id": names, "video": names, "expression_id": names, "expression": texts}), manifest)
    command = [sys.executable, "-c", "from pipeline.cli.program import main; raise SystemExit(main())", "annotate"]
    command += ["--manifest", str(manifest), "--model", "nano", "--output", str(tmp_path / "out"), "--dry-run"]
    environment = {**os.environ, "TMPDIR": str(scratch), "PYTHONPATH": str(Path(__file__).parents[2])}
    job = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    while not plan_folders(scratch):
        assert job.poll() is None, job.stderr and job.stderr.read()
        time.sleep(0.02)
    time.sleep(0.3)
    job.send_signal(number)
    _, said = job.communicate(timeout=60)
    assert job.returncode == 130
    assert "interrupted" in said.splitlines()[-1]
    assert plan_folders(scratch) == []


def test_what_a_killed_run_left_is_removed_by_the_next_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    program = "import os, signal\nfrom pipeline.manifest.database import Database\n"
    program += "plan = Database('the plan')\nos.kill(os.getpid(), signal.SIGKILL)"
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run([sys.executable, "-c", program], env=environment)
    (abandoned,) = plan_folders(tmp_path)
    with Plan("m", None), Plan("n", None):
        alive = plan_folders(tmp_path)
        assert len(alive) == 2
        assert abandoned not in alive
    assert plan_folders(tmp_path) == []
