"""Synthetic checkpoints for golden cases, made by the golden data's own ``make_checkpoint.py``."""

import subprocess
import sys
from pathlib import Path

from tests.golden.run import GoldenCase

HERE = Path(__file__).parent


def make_checkpoint(case: GoldenCase, directory: Path) -> Path:
    """The checkpoint of a case's variant, seed and procedure under ``directory``, made if it is not there."""
    return make_variant(directory, case.variant, case.seed, case.procedure)


def make_variant(
    directory: Path, variant: str, seed: int = 0, procedure: str = "sa2va-i", dtype: str = "bf16", *extra: str
) -> Path:
    """Make (or find) one variant; a bit-exact synthetic checkpoint in the published layout."""
    target = directory / f"{variant}-{seed}-{procedure}-{dtype}"
    if not (target / "config.json").is_file():
        maker = HERE / "long" / "make_checkpoint.py" if variant.startswith("long_") else HERE / "make_checkpoint.py"
        command = [sys.executable, str(maker), "--variant", variant, "--seed", str(seed), "--dtype", dtype]
        command += ["--procedure", procedure, "--out", str(target), *extra]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return target
