"""Parity with the published implementation, on its own numbers (QUIRKS.md tells which behaviours decide it)."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
SHARED = ROOT.parent / "shared" / "golden"


def _run_and_compare(golden: Path, folder: str, output: Path, *cases: str) -> None:
    chosen = ["--case", *cases] if cases else []
    command = [sys.executable, "-m", "tests.golden", "--cases", str(golden / folder), "--output", str(output), *chosen]
    subprocess.run(command, check=True, cwd=ROOT)
    compare = [sys.executable, str(HERE / "compare.py"), str(output), "--golden", str(golden), "--set", folder]
    result = subprocess.run([*compare, *chosen], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout


@pytest.mark.golden  # at full size, minutes; the default suite has the small cases of `long` and `vl`
@pytest.mark.timeout(1200)
def test_short_portrait_and_tracked_frames(tmp_path: Path) -> None:
    """Two cases that stand in the repository: keyframe repetition, and tracked frames with the object hidden."""
    _run_and_compare(HERE, "cases", tmp_path)


@pytest.mark.golden
@pytest.mark.timeout(2700)
@pytest.mark.parametrize("folder", ["cases", "cases_sa2va", "cases_image"])
def test_every_case(folder: str, tmp_path: Path) -> None:
    if not (SHARED / folder).is_dir():
        pytest.skip(f"{SHARED / folder} is not here; it holds the other golden cases (tens of megabytes)")
    _run_and_compare(SHARED, folder, tmp_path)
