"""Synthetic checkpoints for golden cases, made by the golden data's own ``make_checkpoint.py``."""

import subprocess
import sys
from pathlib import Path

from tests.golden.recording import SMALL_VARIANTS
from tests.golden.run import GoldenCase

HERE = Path(__file__).parent
MAKER = "make_checkpoint.py"


def make_checkpoint(case: GoldenCase, directory: Path) -> Path:
    """The checkpoint of a case's variant, seed and procedure under ``directory``, made if it is not there.

    The maker is the one beside the folder of cases, where there is one.
    """
    beside = case.folder.resolve().parent.parent / MAKER
    maker = beside if beside.is_file() else _maker_of(case.variant)
    return _make(maker, directory, case.variant, case.seed, case.procedure)


def make_variant(
    directory: Path, variant: str, seed: int = 0, procedure: str = "sa2va-i", dtype: str = "bf16", *extra: str
) -> Path:
    """Make (or find) one variant; a bit-exact synthetic checkpoint in the published layout."""
    return _make(_maker_of(variant), directory, variant, seed, procedure, dtype, *extra)


def _maker_of(variant: str) -> Path:
    if variant.startswith("long_"):
        return HERE / "long" / MAKER
    return HERE / "vl" / MAKER if variant in SMALL_VARIANTS else HERE / MAKER


def _make(
    maker: Path, directory: Path, variant: str, seed: int, procedure: str, dtype: str = "bf16", *extra: str
) -> Path:
    target = directory / f"{variant}-{seed}-{procedure}-{dtype}"
    if not (target / "config.json").is_file():
        command = [sys.executable, str(maker), "--variant", variant, "--seed", str(seed), "--dtype", dtype]
        command += ["--procedure", procedure, "--out", str(target), *extra]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return target
