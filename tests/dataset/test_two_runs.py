"""Two containers, one output: the first is paused, the second takes over and ends, the first wakes up."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest

from pipeline.dataset.layout import MASKS_FOLDER
from pipeline.dataset.state import statuses
from tests.chaos.material import write_material
from tests.conftest import ROOT

VIDEOS = 12

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(1500)]


def start(arguments: list[str], output: Path, log: Path, *prefix: str) -> subprocess.Popen:
    command = [*prefix, sys.executable, str(ROOT / "jobs" / "annotate.py"), *arguments, "--output", str(output)]
    with log.open("ab") as sink:
        return subprocess.Popen(
            [*command, "--address", "local"], stdout=sink, stderr=sink, cwd="/", env=dict(os.environ)
        )


def change_texts(folder: Path, arguments: list[str]) -> list[str]:
    """Arguments with a manifest of the same videos and other sentences."""
    rows = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
    changed = folder / "changed.jsonl"
    changed.write_text(
        "".join(json.dumps({**row, "expression": f"changed {row['expression']}"}) + "\n" for row in rows)
    )
    return [str(changed) if argument.endswith("manifest.jsonl") else argument for argument in arguments]


def each(processes: list[psutil.Process], what: str) -> None:
    for process in processes:
        try:
            getattr(process, what)()
        except psutil.Error:
            continue


def test_the_first_stops_with_one_line_and_the_rows_are_the_seconds(tmp_path):
    if subprocess.run(["unshare", "-p", "-f", "--mount-proc", "true"], capture_output=True).returncode:
        pytest.skip("a second process namespace, which stands for a second container, cannot be made here")
    arguments = write_material(tmp_path)
    manifest = tmp_path / "manifest.jsonl"
    manifest.write_text("".join(manifest.read_text().splitlines(keepends=True)[: 3 * VIDEOS]))
    output, log = tmp_path / "out", tmp_path / "first.log"
    first = start(arguments, output, log)
    paused: list[psutil.Process] = []
    try:
        deadline = time.monotonic() + 600
        while not statuses(str(output)):
            assert first.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        root = psutil.Process(first.pid)
        paused = [root, *root.children(recursive=True)]
        each(paused, "suspend")
        second_log = tmp_path / "second.log"
        prefix = ("unshare", "-p", "-f", "--mount-proc")
        second = start(change_texts(tmp_path, arguments), output, second_log, *prefix)
        assert second.wait(timeout=600) == 0, second_log.read_text()
        files = {path: path.stat().st_mtime_ns for path in (output / MASKS_FOLDER).iterdir()}
        each(paused, "resume")
        assert first.wait(timeout=300) == 3, log.read_text()
    finally:
        each(paused, "resume")
        first.kill()
    assert {path: path.stat().st_mtime_ns for path in (output / MASKS_FOLDER).iterdir()} == files
    rows = pq.read_table(output / MASKS_FOLDER).to_pylist()
    assert len(rows) == 3 * VIDEOS
    assert all(row["expression"].startswith("changed ") for row in rows)
    last = log.read_text().strip().splitlines()[-1]
    assert last.startswith("sa2va-i annotate: ")
    assert "this run stops" in last
