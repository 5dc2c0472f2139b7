"""A slice of what `python -m tests.fuzz --minutes 10` does, and proof that it would notice."""

import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.targets import TARGETS, mutated


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_pass_and_a_few_mutants_neither_crash_nor_hang(name, tmp_path):
    fuzzed = TARGETS[name](tmp_path)
    for seed in fuzzed.seeds:
        fuzzed.run(seed)
    chance = random.Random(1)
    for _ in range(50):
        fuzzed.run(mutated(fuzzed.seeds, chance))


@pytest.mark.slow
def test_half_a_minute_of_fuzzing_finds_nothing(tmp_path):
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-m", "tests.fuzz", "--minutes", "0.5", "--keep", str(tmp_path / "crashes")]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 target(s) with a crash or hang" in done.stdout
