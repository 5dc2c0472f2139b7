"""The chaos test as a program: python -m tests.chaos --seeds 25"""

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.conftest import ROOT  # noqa: F401 - sets the environment before Ray is imported


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=25)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--storage", choices=["disk", "s3"], default="disk", help="s3: a server that fails requests")
    args = parser.parse_args()
    from tests.chaos.harness import Chaos
    from tests.chaos.material import write_material
    from tests.chaos.stores import disk, faulty_s3

    store_of = disk if args.storage == "disk" else faulty_s3
    with tempfile.TemporaryDirectory(prefix="chaos") as scratch, store_of(Path(scratch)) as store:
        folder = Path(scratch)
        chaos = Chaos(write_material(folder), folder, store)
        try:
            expected = chaos.undisturbed()
            print(f"undisturbed: {len(expected)} rows", flush=True)
            kills, starts, bad = Counter(), 0, 0
            for seed in range(args.first, args.first + args.seeds):
                outcome = chaos.disturbed(seed)
                same = outcome.rows == expected and not outcome.doubled
                kills[outcome.victim] += outcome.killed
                starts += outcome.starts
                bad += not same
                verdict = "the same rows" if same else f"DIFFERENT: {len(outcome.rows)} rows, {outcome.doubled} doubled"
                blow = f"{outcome.victim} killed" if outcome.killed else f"{outcome.victim} not met"
                print(f"seed {seed}: {blow}, {outcome.starts} start(s), {outcome.looks} looks, {verdict}", flush=True)
        finally:
            chaos.close()
    print(f"{args.seeds} runs, {sum(kills.values())} kills {dict(kills)}, {starts} starts, {bad} runs differ")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
