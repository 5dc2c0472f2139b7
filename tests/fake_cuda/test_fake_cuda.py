"""On a GPU nothing is on the wrong device, no weight is cast twice, and no step costs more kernels than it did."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.model.families import read_config
from tests.fake_cuda.counting import Report
from tests.fake_cuda.grounders import grounder_steps, spread_steps
from tests.fake_cuda.limits import exceeded
from tests.fake_cuda.steps import segmenter_steps

NANO = Path(__file__).resolve().parents[2] / "pipeline" / "model" / "nano"
ROOT = Path(__file__).resolve().parents[2]


CRASHES = 8
"""PyTorch's fake tensors corrupt memory in about every second run, which ends with a segmentation fault or nonsense.
Such a run is repeated; what is really wrong fails each time."""


def ended(*arguments: str) -> subprocess.CompletedProcess:
    """A program that ended well, or its last failure."""
    for _ in range(CRASHES):
        done = subprocess.run([sys.executable, "-W", "ignore", *arguments], cwd=ROOT, capture_output=True, text=True)
        if done.returncode == 0:
            break
    return done


def test_small_networks_run_on_a_gpu_without_a_mismatch() -> None:
    done = ended("-c", "from tests.fake_cuda.test_fake_cuda import check_small_networks as c; c()")
    assert done.returncode == 0, done.stderr


def check_small_networks() -> None:
    report = Report()
    config = read_config(NANO)
    segmenter_steps(report, config, [1, 3], batch=2)
    grounder_steps(report, "nano", config)
    spread_steps(report, "nano", config, {0: 4 * 10**6, 1: 4 * 10**6})
    assert report.mismatches == []
    assert exceeded(report) == []
    expected = {"encode_2", "add_keyframe_e1", "track_e1", "track_e3", "track_e3_sa2va", "track_e3_halved"}
    expected |= {f"{step}_nano{where}" for step in ("prefill", "verify", "question") for where in ("", "_spread")}
    assert expected <= set(report.steps)
    one, three = report.steps["track_e1"], report.steps["track_e3"]
    assert three.kernels <= one.kernels + 5, "several objects go through together"
    assert three.flops > 2 * one.flops
    assert all(cost.kernels > 0 and cost.live_bytes > 0 for cost in report.steps.values())


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_published_sizes_stay_within_their_limits(tmp_path: Path) -> None:
    result = ended("-m", "tests.fake_cuda", "--json", str(tmp_path / "report.json"))
    assert result.returncode == 0, result.stdout
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["mismatches"] == []
    assert report["steps"]["encode_4"]["kernels"] <= 650
    assert report["steps"]["track_e1"]["kernels"] <= 600
