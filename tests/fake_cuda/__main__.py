"""Run the model at published sizes on a fake CUDA device, and compare what it costs with committed limits.

python -m tests.fake_cuda [--json FILE] [--sizes 1B 8B ...] [--objects 1 4 16]
"""

import argparse
import json
import sys
from pathlib import Path

import torch

from tests.fake_cuda.counting import Report
from tests.fake_cuda.grounders import grounder_steps, spread_steps
from tests.fake_cuda.limits import exceeded
from tests.fake_cuda.steps import published_config, segmenter_steps

SIZES = ["1B", "4B", "8B", "26B", "Qwen2_5-VL-7B", "Qwen3-VL-4B"]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fake_cuda", description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the report there")
    parser.add_argument("--sizes", nargs="*", default=SIZES, help="grounders to build")
    parser.add_argument("--spread", nargs="*", default=["26B"], help="grounders to build over two devices")
    parser.add_argument("--objects", nargs="+", type=int, default=[1, 4, 16])
    parser.add_argument("--operators", help="also list the operators of this step")
    args = parser.parse_args()
    report = Report()
    segmenter_steps(report, published_config("1B"), args.objects)
    for size in args.sizes:
        grounder_steps(report, size, published_config(size))
    for size in args.spread:
        spread_steps(report, size, published_config(size))
    print(f"torch {torch.__version__}, fake device, bfloat16")
    print(f"{'step':24} kernels  casts       GB   TFLOP  live GB")
    for name, cost in report.steps.items():
        row = cost.as_dict()
        print(
            f"{name:24} {row['kernels']:7} {row['weight_casts']:6} {row['gigabytes']:8.2f} {row['teraflops']:7.3f}"
            f" {row['live_gigabytes']:8.2f}"
        )
    if args.operators in report.steps:
        for operator, count in report.steps[args.operators].operators.most_common():
            print(f"  {count:5} {operator}")
    problems = [f"mismatch: {text}" for text in report.mismatches] + exceeded(report)
    print(*problems, sep="\n")
    if args.json:
        steps = {name: cost.as_dict() for name, cost in report.steps.items()}
        args.json.write_text(json.dumps({"mismatches": report.mismatches, "steps": steps}, indent=1) + "\n")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
