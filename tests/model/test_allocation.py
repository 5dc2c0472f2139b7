"""On a CPU, large tensors reuse memory instead of taking fresh pages each time."""

import platform
import subprocess
import sys

import pytest

COUNT = """
import resource, sys, torch
from pipeline.model.allocation import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
for turn in range(30):
    if turn == 20:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    intermediate = [torch.empty(2**24 // part).fill_(1) for part in (1, 2, 3)]
    del intermediate
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def _fresh_pages(how):
    done = subprocess.run([sys.executable, "-c", COUNT, how], capture_output=True, text=True, timeout=120, check=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
def test_large_tensors_take_no_fresh_pages_once_freed_memory_is_kept():
    assert _fresh_pages("keep") < 500 < _fresh_pages("as usual")
