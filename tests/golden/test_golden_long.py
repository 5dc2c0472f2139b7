"""Parity over long clips: SAM 2's windows of memory are full, objects come and go; small networks, seconds."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.golden.run import golden_cases, run_case, write_result
from tests.golden.variants import make_checkpoint

LONG = Path(__file__).resolve().parent / "long"


@pytest.mark.parametrize("folder", ["cases", "cases_sa2va"])
def test_long_clips_give_the_published_numbers(folder: str, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    for case in golden_cases(LONG / folder):
        checkpoint = make_checkpoint(case, tmp_path)
        write_result(tmp_path / "results" / case.name, *run_case(case, checkpoint, device="cpu"))
    command = [sys.executable, str(LONG / "compare.py"), str(tmp_path / "results"), "--set", folder]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout
