"""Time and memory of one size, in a process of its own."""

import gc
import json
import math
import os
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from statistics import median

from benchmarks.growth.law import Growth
from minissl.autograd.allocation import keep_freed_memory

SHORTEST = 0.01  # seconds; what takes less is run several times in a row
FEWEST, MOST = 3, 15  # measurements


def measure(growth: Growth, size: int, patience: float) -> tuple[float, float]:
    """Seconds of processor time, and megabytes at the peak, of one run at this size.

    ``patience``: seconds after which three measurements are enough. One thread, so that processor
    time is what an idle machine takes, and a busy neighbour hardly changes it. The memory is that
    of a second, untimed pass which builds everything anew, as counted by ``tracemalloc``: NumPy's
    arrays and Python's objects to the byte, where the peak of the process begins at that of Python
    and its libraries, and grows by what the C library holds in reserve. What stays from the first
    pass (a module's memory of masks) is not counted.
    """
    keep_freed_memory()
    run = growth.build(size)
    run()
    number = max(1, math.ceil(SHORTEST / max(_seconds(run), 1e-7)))
    seconds: list[float] = []
    while len(seconds) < FEWEST or (len(seconds) < MOST and sum(seconds) * number < patience):
        gc.collect()
        seconds.append(_seconds(run, number))
    del run
    gc.collect()
    tracemalloc.start()
    run = growth.build(size)
    for _ in range(2):  # the second meets the gradients of the first
        run()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return median(seconds), peak / 1e6


def _seconds(run: Callable[[], object], number: int = 1) -> float:
    start = time.process_time()
    for _ in range(number):
        result = run()
    elapsed = time.process_time() - start
    del result  # after the clock: freeing it is not part of the work
    return elapsed / number


def in_a_process(growth: Growth, size: int, patience: float) -> tuple[float, float]:
    """``measure`` with nothing else in memory."""
    command = [sys.executable, "-m", "benchmarks.growth", growth.name]
    command += ["--size", str(size), "--patience", str(patience)]
    limits = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **limits})
    if done.returncode:
        raise SystemExit(f"{growth.name} ended at size {size} (exit {done.returncode})")
    seconds, megabytes = json.loads(done.stdout)
    return seconds, megabytes
