"""A golden case of the published implementation on a device, where the tests are at hand."""

import subprocess
import sys
import tempfile
from pathlib import Path

import torch

CASE = "q_short_portrait"
_GOLDEN = Path(__file__).resolve().parents[3] / "tests" / "golden"


def golden_parity(device: torch.device, dtype: str) -> str:
    """The verdict of ``tests/golden/compare.py`` on one case, in a line; why there is none where it did not run."""
    if not _GOLDEN.is_dir():
        return "not run: tests/golden is not beside the package"
    with tempfile.TemporaryDirectory(prefix="golden-") as scratch:
        common = ["--case", CASE]
        made = _run("-m", "tests.golden", "--cases", _GOLDEN / "cases", "--output", scratch, *common,
                    "--device", device, "--dtype", dtype)  # fmt: skip
        if made.returncode != 0:
            return f"could not run: {_last(made)}"
        tier = "fp32" if dtype == "float32" else "bf16"
        compared = _run(_GOLDEN / "compare.py", scratch, "--golden", _GOLDEN, *common, "--tier", tier)
    verdict = "within tolerance" if compared.returncode == 0 else "OUTSIDE of tolerance"
    return f"{verdict}: {_last(compared)}"


def _run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(  # noqa: S603 - programs of this repository
        command, capture_output=True, text=True, cwd=_GOLDEN.parents[1], check=False
    )


def _last(done: subprocess.CompletedProcess[str]) -> str:
    lines = (done.stdout + done.stderr).strip().splitlines()
    return lines[-1][:300] if lines else "without a word"
