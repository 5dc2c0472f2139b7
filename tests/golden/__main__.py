"""Run golden cases and write what this implementation computes, in the form ``compare.py`` reads.

    python -m tests.golden --cases DIR --output DIR2 [--case NAME ...] [--checkpoints DIR3]

Every case runs from a freshly made checkpoint of its variant and seed, by the `make_checkpoint.py` in the folder above
the cases where there is one, else by the repository's own. `compare.py DIR2 --golden PARENT --set NAME` then compares.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.golden.run import golden_cases, run_case, write_result
from tests.golden.variants import make_checkpoint


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.golden", description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=Path, required=True, help="folder of cases (each with golden.json and frames/)")
    parser.add_argument("--output", type=Path, required=True, help="where results go, one folder per case")
    parser.add_argument("--case", nargs="+", action="extend", help="only these cases")
    parser.add_argument("--checkpoints", type=Path, help="keep made checkpoints here and use those that are there")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="float32", help="parity is defined in float32")
    args = parser.parse_args()
    if not args.cases.is_dir():
        parser.error(f"{args.cases}: no such folder")
    cases = golden_cases(args.cases, args.case)
    if not cases:
        parser.error(f"{args.cases}: no case {args.case or ''}")
    with tempfile.TemporaryDirectory(prefix="golden-checkpoints-") as scratch:
        for case in cases:
            checkpoint = make_checkpoint(case, args.checkpoints or Path(scratch))
            started = time.perf_counter()
            arrays, record = run_case(case, checkpoint, device=args.device, dtype=args.dtype)
            write_result(args.output / case.name, arrays, record)
            print(f"{case.name}: {time.perf_counter() - started:.1f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
