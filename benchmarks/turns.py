"""Contenders in processes of their own, taking turns: A B C, A B C, ...

What a library does to its process (threads, the C library's settings, memory that it keeps) would
help or hurt the others in it: torch's step takes up to a fifth less time in a process that was told
to keep freed memory, which ours tells its own and torch's users do not. So each contender lives
alone, and sleeps while another works; a busy moment of the machine strikes all of them.

A benchmark that races has ``CONTENDERS``, a name for each ``Contender``, at the top of its module.
"""

import gc
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

PAUSE = 0.1  # seconds between turns: threads of BLAS and OpenMP wait awake for a while


class Contender(NamedTuple):
    """One side of a race, for a process of its own."""

    build: Callable[..., Callable[[], object]]  # prepares everything, returns what is timed
    imports: Sequence[str] = ()  # whose memory is not the contender's
    keeps_memory: bool = False  # whether freed memory stays with the process


class Result(NamedTuple):
    """What a contender needed."""

    seconds: float  # the median of all runs that were timed
    megabytes: float  # of memory at its peak, above what its imports took
    answer: Any  # of the first run of all, if JSON knows such things


def race(
    module: str,
    names: Iterable[str],
    repeats: int,
    *,
    threads: int,
    warmup: int = 1,
    runs: int = 1,
    settings: Mapping[str, Any] | None = None,
) -> dict[str, Result]:
    """Run ``names`` of ``module.CONTENDERS`` in turn, ``runs`` times in each of ``repeats`` turns.

    The first ``warmup`` turns are not counted. ``settings``: arguments for ``build``.
    Raises SystemExit, with its name, when a contender's process ends.
    """
    told: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    variables = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
    with ExitStack() as stack:
        processes = {}
        for name in told:
            command = [sys.executable, "-m", "benchmarks.turns", module, name]
            processes[name] = stack.enter_context(
                subprocess.Popen(
                    [*command, json.dumps(settings or {})],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    env={**os.environ, **dict.fromkeys(variables, str(threads))},
                    encoding="utf-8",
                )
            )
            stack.callback(processes[name].kill)
            told[name].append(_take_turn(name, processes[name], 0))  # wait until it is built
        for turn in range(warmup + repeats):
            print(f"\r{module}: turn {turn + 1} of {warmup + repeats}", end="", file=sys.stderr)
            for name, process in processes.items():
                told[name].append(_take_turn(name, process, runs))
                time.sleep(PAUSE)
        print(file=sys.stderr)
    return {
        name: Result(
            median(s for turn in turns[1 + warmup :] for s in turn["seconds"]),
            turns[-1]["megabytes"],
            turns[1]["answer"],
        )
        for name, turns in told.items()
    }


def _take_turn(name: str, process: subprocess.Popen[str], runs: int) -> dict[str, Any]:
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(f"{runs}\n")
        process.stdin.flush()
    except BrokenPipeError:
        pass  # it has ended: there is no answer either
    answer = process.stdout.readline()
    if not answer:
        raise SystemExit(f"{name} ended in the middle of the race (exit {process.wait()})")
    return json.loads(answer)


def _contend(contender: Contender, settings: Mapping[str, Any]) -> None:
    """The process of one contender: a line with a number comes in, so many runs' times go out."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # on Ctrl-C, the one who started it ends it
    answers, sys.stdout = sys.stdout, sys.stderr  # what a library prints is no answer
    for needed in contender.imports:
        import_module(needed)
    before = _peak()
    if contender.keeps_memory:
        from minissl.autograd.allocation import keep_freed_memory

        keep_freed_memory()
    run = contender.build(**settings)
    for line in sys.stdin:
        seconds, answer = [], None
        for _ in range(int(line)):
            gc.collect()
            start = time.perf_counter()
            result = run()
            seconds.append(time.perf_counter() - start)
            answer = result if isinstance(result, float | int | str) else None
            del result  # after the clock: freeing it is not part of the work
        found = {"seconds": seconds, "megabytes": _peak() - before, "answer": answer}
        print(json.dumps(found), file=answers, flush=True)


def _peak() -> float:
    """Megabytes of the process at its largest; NaN where the system does not say.

    Not ``ru_maxrss``: on Linux a process begins with that of the one that started it.
    """
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return math.nan
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


if __name__ == "__main__":
    _contend(import_module(sys.argv[1]).CONTENDERS[sys.argv[2]], json.loads(sys.argv[3]))
