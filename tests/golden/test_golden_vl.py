"""Parity of the Qwen-VL families and InternVL3 with the published implementation; small networks, seconds."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.golden.run import golden_cases, run_case, write_result
from tests.golden.variants import make_checkpoint

VL = Path(__file__).resolve().parent / "vl"
SHARED = VL.parents[3] / "shared" / "golden_vl"


def run_and_compare(golden: Path, folder: str, output: Path) -> None:
    torch.set_num_threads(1)
    for case in golden_cases(golden / folder):
        arrays, record = run_case(case, make_checkpoint(case, output / "checkpoints"), device="cpu")
        # what the comparison does not find it does not judge
        assert set(np.load(case.folder / "golden.npz").files) <= set(arrays)
        write_result(output / "results" / case.name, arrays, record)
    command = [
        sys.executable,
        str(VL / "compare.py"),
        str(output / "results"),
        "--golden",
        str(golden),
        "--set",
        folder,
    ]
    result = subprocess.run([*command, "--set", folder], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("folder", ["cases", "cases_sa2va", "cases_image"])
def test_small_cases_give_the_published_numbers(folder: str, tmp_path: Path) -> None:
    run_and_compare(VL, folder, tmp_path)


@pytest.mark.golden
@pytest.mark.parametrize("folder", ["cases", "cases_sa2va", "cases_image"])
def test_every_case_gives_the_published_numbers(folder: str, tmp_path: Path) -> None:
    if not (SHARED / folder).is_dir():
        pytest.skip(f"{SHARED / folder} is not here; it holds the other golden cases")
    run_and_compare(SHARED, folder, tmp_path)
