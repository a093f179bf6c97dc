"""Time and memory at a size, in a process of its own."""

import gc
import json
import math
import os
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Sequence

from benchmarks.growth.law import Growth
from minissl.autograd.allocation import keep_freed_memory

SHORTEST = 0.01  # seconds; what takes less is run several times in a row
SLOW = 1.0  # seconds; what takes more is run once to count its memory
FEWEST, MOST = 3, 15  # measurements


def measure(growth: Growth, size: int, patience: float) -> tuple[float, float]:
    """Seconds of processor time, and megabytes at the peak, of one run at this size.

    ``patience``: seconds after which three measurements are enough. One thread, so that processor
    time is what an idle machine takes; the shortest counts, since a busy neighbour (who takes the
    caches, or half of a core) only ever adds. The memory is that
    of a second, untimed pass which builds everything anew, as counted by ``tracemalloc``: NumPy's
    arrays and Python's objects to the byte, where the peak of the process begins at that of Python
    and its libraries, and grows by what the C library holds in reserve. What stays from the first
    pass (a module's memory of masks) is not counted.
    """
    keep_freed_memory()
    run = growth.build(size)
    run()
    first = _seconds(run)
    number = max(1, math.ceil(SHORTEST / max(first, 1e-7)))
    seconds = [first] if number == 1 else []
    while len(seconds) < FEWEST or (len(seconds) < MOST and sum(seconds) * number < patience):
        gc.collect()
        seconds.append(_seconds(run, number))
    del run
    gc.collect()
    tracemalloc.start()
    run = growth.build(size)
    if _seconds(run) < SLOW:  # being counted, many small objects take twenty times as long
        run()  # meets the gradients of the first
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return min(seconds), peak / 1e6


def _seconds(run: Callable[[], object], number: int = 1) -> float:
    start = time.process_time()
    for _ in range(number):
        result = run()
    elapsed = time.process_time() - start
    del result  # after the clock: freeing it is not part of the work
    return elapsed / number


def in_a_process(
    growth: Growth, sizes: Sequence[int], patience: float
) -> list[tuple[float, float]]:
    """``measure`` at these sizes with nothing else in memory. SystemExit, by name, if it ends."""
    command = [sys.executable, "-m", "benchmarks.growth", growth.name]
    command += ["--patience", str(patience), "--sizes", *map(str, sizes)]
    limits = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    done = subprocess.run(
        command, stdout=subprocess.PIPE, encoding="utf-8", env={**os.environ, **limits}
    )
    if done.returncode:
        raise SystemExit(f"{growth.name} ended at size {sizes[-1]} (exit {done.returncode})")
    return [tuple(pair) for pair in json.loads(done.stdout)]
