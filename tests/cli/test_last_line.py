"""The last line that a failed command prints is its own, also when workers had something to say just before."""

import os
import subprocess
import sys

PROGRAM = """
import os, sys, time
import ray
from pipeline.cli.program import run_program
from pipeline.errors import StorageError

def work():
    ray.init(address=os.environ["RAY_ADDRESS"], logging_level="ERROR")

    @ray.remote
    def complain(number):
        for _ in range(3):
            print("worker: cannot read", file=sys.stderr, flush=True)

    ray.get([complain.remote(number) for number in range(4)])
    time.sleep(3)  # until some of it arrived; what was said more than once is held back until the end
    raise StorageError("s3://bucket: gone")

raise SystemExit(run_program("sa2va-i annotate", work))
"""


def test_what_workers_said_comes_before_the_error(ray_address: str) -> None:
    environment = {**os.environ, "RAY_ADDRESS": ray_address}
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 3
    assert "worker: cannot read" in done.stderr
    assert done.stderr.strip().splitlines()[-1] == "sa2va-i annotate: s3://bucket: gone"
