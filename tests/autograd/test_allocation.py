"""Freed memory is kept: the second step finds its memory where the first left it."""

import subprocess
import sys

import pytest

resource = pytest.importorskip("resource")  # not on Windows

PROGRAM = """
import resource, sys
import numpy as np
from minissl.autograd.allocation import keep_freed_memory

if sys.argv[1] == "keep" and not keep_freed_memory():
    print(-1)
    raise SystemExit

def step():
    arrays = [np.ones(3_000_000, np.float32) for _ in range(4)]

step()
step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(mode: str) -> int:
    command = [sys.executable, "-c", PROGRAM, mode]
    return int(subprocess.run(command, capture_output=True, encoding="utf-8", check=True).stdout)


@pytest.mark.skipif(resource.getpagesize() > 1 << 16, reason="the pages are too large to count")
def test_the_same_memory_is_used_again():
    kept = page_faults("keep")
    if kept < 0:
        pytest.skip("not glibc: there is nothing to tell")
    assert kept < page_faults("plain") / 5
