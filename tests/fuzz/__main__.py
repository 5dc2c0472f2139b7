"""Fuzz the readers of strangers' files for a given time: python -m tests.fuzz --minutes 10

Guided by coverage where atheris is installed (`pip install atheris`, CPython up to 3.13), else by chance. An input that
crashes a reader, or that it does not come back from, ends the target and is kept.
"""

import argparse
import faulthandler
import importlib.util
import random
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz.targets import TARGETS, Fuzzed, mutated

ROOT = Path(__file__).resolve().parents[2]
HANG_S = 60


@dataclass(frozen=True)
class Outcome:
    """Of one target."""

    executions: int
    crash: str | None


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10.0, help="for all targets together (default: 10)")
    parser.add_argument("--keep", type=Path, default=Path("fuzz-crashes"), help="folder for inputs that crash a reader")
    parser.add_argument("--target", choices=TARGETS, help="only this one")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    names = [args.target] if args.target else list(TARGETS)
    seconds = args.minutes * 60 / len(names)
    if args.child:
        fuzz_here(args.target, args.child, seconds)
        return 0
    print("guided by coverage (atheris)" if _atheris() else "guided by chance (atheris is not installed)", flush=True)
    total, crashes = 0, 0
    for name in names:
        outcome = fuzz_apart(name, seconds, args.keep)
        total += outcome.executions
        crashes += outcome.crash is not None
        print(f"{name:22} {outcome.executions:9d} executions, {outcome.crash or 'no crash, no hang'}", flush=True)
    print(f"{total} executions in {args.minutes:g} minutes, {crashes} target(s) with a crash or hang")
    return 1 if crashes else 0


def fuzz_apart(name: str, seconds: float, keep: Path) -> Outcome:
    """Fuzz one target in a process of its own, which may die."""
    command = [sys.executable, "-m", "tests.fuzz", "--target", name, "--minutes", str(seconds / 60), "--child"]
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        try:
            done = subprocess.run(
                [*command, folder], cwd=ROOT, capture_output=True, text=True, errors="replace", timeout=seconds + 300
            )
            text, code = done.stdout + done.stderr, done.returncode
        except subprocess.TimeoutExpired as error:
            text, code = str(error.stderr or ""), -1
        executions = max([int(n) for n in re.findall(r"(?:number_of_executed_units: |executions )(\d+)", text)] or [0])
        if code == 0:
            return Outcome(executions, None)
        keep.mkdir(parents=True, exist_ok=True)
        label = re.sub(r"\W+", "-", name)
        inputs = [*Path(folder).glob("artifact-*"), *Path(folder).glob("current")]
        for number, path in enumerate(inputs):
            (keep / f"{label}-{number}").write_bytes(path.read_bytes())
        (keep / f"{label}.log").write_text(text[-20_000:])
        return Outcome(executions, f"exit code {code}; see {keep / label}*")


def fuzz_here(name: str, folder: Path, seconds: float) -> None:
    """Fuzz one target in this process until the time is over."""
    if not _atheris():
        _by_chance(TARGETS[name](folder), folder, seconds)
        return
    import atheris

    def watched(data: bytes) -> None:
        # libFuzzer's own alarm waits for Python, which a loop in compiled code never gives a turn
        _begin(data, folder)
        fuzzed.run(data)

    with atheris.instrument_imports(include=["pipeline"]):
        fuzzed = TARGETS[name](folder)
    corpus = folder / "corpus"
    corpus.mkdir()
    for number, seed in enumerate(fuzzed.seeds):
        (corpus / str(number)).write_bytes(seed)
    limits = [
        f"-max_total_time={max(1, int(seconds))}",
        f"-timeout={2 * HANG_S}",
        "-rss_limit_mb=4096",
        "-max_len=4096",
    ]
    options = [*limits, "-max_len=4096", f"-artifact_prefix={folder}/artifact-", "-print_final_stats=1", "-verbosity=0"]
    atheris.Setup(["fuzz", str(corpus), *options], watched)
    atheris.Fuzz()


def _by_chance(fuzzed: Fuzzed, folder: Path, seconds: float) -> None:
    chance, count, end = random.Random(), 0, time.monotonic() + seconds
    while time.monotonic() < end:
        data = mutated(fuzzed.seeds, chance)
        _begin(data, folder)
        fuzzed.run(data)
        count += 1
    faulthandler.cancel_dump_traceback_later()
    print(f"executions {count}")


def _begin(data: bytes, folder: Path) -> None:
    """Keep an input for the case that it ends this process, which it does if it takes too long."""
    (folder / "current").write_bytes(data)
    faulthandler.dump_traceback_later(HANG_S, exit=True)


def _atheris() -> bool:
    return importlib.util.find_spec("atheris") is not None


if __name__ == "__main__":
    sys.exit(main())
