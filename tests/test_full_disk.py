"""A disk that fills up ends the run with a clear message and exit code 3; what was committed stays whole."""

import subprocess
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.conftest import run_job


@pytest.fixture
def small_disk(tmp_path: Path):
    """A file system with room for little more than run.json and the card."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48k", "none", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.decode().strip()}")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_full_disk_ends_the_run_and_a_second_start_finishes(small_disk, clips: Path, untrained: Path) -> None:
    arguments = ["--manifest", clips / "manifest.jsonl", "--model", untrained, "--output", small_disk / "out"]
    result = run_job("annotate", *arguments)
    assert result.returncode == 3, result.stdout + result.stderr
    last = result.stderr.strip().splitlines()[-1]
    assert "no space left" in last, result.stderr
    assert str(small_disk) in last
    for path in (small_disk / "out" / "masks").glob("*.parquet"):
        pq.read_table(path)
    assert {path.suffix for path in (small_disk / "out" / "masks").iterdir()} <= {".parquet"}

    subprocess.run(["mount", "-o", "remount,size=4m", str(small_disk)], check=True)
    again = run_job("annotate", *arguments)
    assert again.returncode == 0, again.stdout + again.stderr
    assert pq.read_table(small_disk / "out" / "masks").num_rows == 6
