"""The first session keeps what it measured, whatever happens to a step; on a CPU all its steps run."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.workshop.bench import first_session
from pipeline.workshop.bench.first_session import PLAN, Session, StepPlan
from pipeline.workshop.bench.idle import gaps
from tests.conftest import ROOT, run_workshop

STEP = """
import json, signal, sys, time
name, file = sys.argv[1], sys.argv[-1]
open(file, "w").write(json.dumps([{"name": name, "value": 1.5}]))
if name == "hangs":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(60)
if name == "breaks":
    sys.exit("no such kernel")
"""


def session(folder: Path, **more: Any) -> Session:
    (folder / "step.py").write_text(STEP)
    command = (sys.executable, str(folder / "step.py"))
    return Session(model="nano", device="cpu", output=folder / "out", say=print, command=command, **more)


def test_a_step_that_hangs_or_breaks_is_an_entry_and_the_next_one_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = (StepPlan("hangs", "h", 0.2), StepPlan("breaks", "b", 0.4), StepPlan("works", "w", 0.4))
    monkeypatch.setattr(first_session, "PLAN", plan)
    monkeypatch.setattr(first_session, "SECONDS_TO_END", 0.3)
    report = session(tmp_path, minutes=0.4).run()
    steps = report["steps"]
    assert "took longer" in steps["hangs"]["error"]
    assert "no such kernel" in steps["breaks"]["error"]
    assert "error" not in steps["works"]
    assert [step["results"] for step in steps.values()] == [[{"name": name, "value": 1.5}] for name in steps]
    assert json.loads((tmp_path / "out/first_session.json").read_text()) == report
    table = (tmp_path / "out/first_session.md").read_text()
    assert "| breaks | 1.5 |" in table
    assert "**Error:** took longer" in table


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_stopped_at_any_moment_it_keeps_what_it_has(sent: signal.Signals, tmp_path: Path) -> None:
    (tmp_path / "step.py").write_text(STEP)
    code = f"""
import sys
from pathlib import Path
from pipeline.cli.program import run_program
from pipeline.workshop.bench import first_session as f
f.PLAN = (f.StepPlan("works", "w", 0.1), f.StepPlan("hangs", "h", 0.9))
f.SECONDS_TO_END = 0.3
folder = Path({str(tmp_path)!r})
command = (sys.executable, str(folder / "step.py"))
run = f.Session(model="nano", device="cpu", minutes=9, output=folder / "out", say=print, command=command).run
sys.exit(run_program("bench", lambda: run() and 0))
"""
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stderr=subprocess.PIPE, text=True)
    waiting = tmp_path / "out" / "hangs.json"
    deadline = time.monotonic() + 90
    while not waiting.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    os.kill(process.pid, sent)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    steps = json.loads((tmp_path / "out/first_session.json").read_text())["steps"]
    assert "error" not in steps["works"]
    assert "interrupted" in steps["hangs"]["error"]
    assert steps["hangs"]["results"] == [{"name": "hangs", "value": 1.5}]
    assert "interrupted" in (tmp_path / "out/first_session.md").read_text()


@pytest.mark.skipif(torch.cuda.is_available(), reason="would run the whole session")
def test_without_a_gpu_it_says_so_in_one_line() -> None:
    result = run_workshop("bench", "--first-session")
    assert result.returncode == 3
    assert len(result.stderr.strip().splitlines()) == 1
    assert "no usable CUDA device" in result.stderr


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_on_a_cpu_every_step_runs(tmp_path: Path) -> None:
    result = run_workshop(
        "bench", "--first-session", "--device", "cpu", "--minutes", 20, "--output", tmp_path / "out", timeout_s=1400
    )
    assert result.returncode == 0, result.stderr
    steps = json.loads((tmp_path / "out/first_session.json").read_text())["steps"]
    assert list(steps) == [step.name for step in PLAN]
    for name, step in steps.items():
        assert "error" not in step, name
        assert step["results"], name
    assert steps["parity"]["results"][0]["verdict"] == "same masks"
    assert {row["arrangement"] for row in steps["encoder"]["results"]} >= {"eager", "compiled"}
    assert all("error" not in row for row in steps["encoder"]["results"])
    assert [row.get("different") for row in steps["resize"]["results"]] == [0, 0, None]
    assert steps["benchmark"]["results"][1]["expressions"] == 2
    assert "## profile" in result.stdout


def test_gaps_between_kernels() -> None:
    found = gaps([(100, 200), (0, 50), (150, 180), (300, 400)])
    assert found == {"kernels": 4, "wall_ms": 0.4, "busy_share": 1 - 150 / 400, "long_gaps": 1, "longest_gap_ms": 0.1}
    assert gaps([])["kernels"] == 0
