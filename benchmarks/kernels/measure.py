"""Fair times of GPU work: contenders in turn, a cold cache, medians; and what counts as fast.

A table is a list of cases, a case a dictionary of contenders; ours is the first. Each contender is
a function that prepares (compiles, builds a graph) and returns the function to be timed. One that
is absent, fails or runs out of memory becomes an entry with the reason.
"""

import contextlib
import dataclasses
import gc
import math
import time
import traceback
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median, quantiles
from unittest import mock

import torch

OURS = "minissl"
EXPECTED = ("absent", "not tried", "out of memory")  # reasons that need no traceback
LEFT_OUT, CUT_OFF = "left out", "not measured: cut off"
OPTIONAL = ("liger_kernel", "cut_cross_entropy")
FLUSHED = 2**30  # bytes: pushes all out of the cache, and takes long enough for Python to run ahead

Run = Callable[[], object]
Times = Mapping[str, float | str]  # milliseconds, or why there are none


@dataclass
class Case:
    """One row of a table."""

    name: str
    contenders: Mapping[str, Callable[[], Run]]
    work: float  # operations or bytes of one run
    unit: str  # "TFLOP/s" or "GB/s"
    check: Callable[[], str]  # is ours right here? says what is wrong, or ""
    judge: Callable[[Times, Mapping[str, float]], dict[str, str]]  # (ms, peak GB) → last columns
    memory: bool = False
    calls: int = 1  # a run makes that many calls; times are given for one

    def rate(self, milliseconds: float) -> float:
        return self.work / milliseconds / (1e9 if self.unit == "TFLOP/s" else 1e6)


class Machine:
    """The GPU with CUDA events as clock; or, for a dry run, the CPU with a wall clock."""

    def __init__(self, dry: bool) -> None:
        self.dry = dry
        self.device = torch.device("cpu" if dry else "cuda")
        self.dtype = torch.float32 if dry else torch.bfloat16  # the interpreter has no bfloat16
        self.bandwidth = self.matmul_rate = math.nan
        self._flushed = None if dry else torch.empty(FLUSHED, dtype=torch.int8, device="cuda")

    def randn(self, *shape: int, scale: float = 1.0, dtype=None, grad: bool = True):
        values = torch.randn(shape, dtype=dtype or self.dtype, device=self.device)
        return (values.mul_(scale) if scale != 1 else values).requires_grad_(grad)

    def integers(self, limit: int, *shape: int):
        return torch.randint(limit, shape, device=self.device)

    def synchronize(self) -> None:
        if not self.dry:
            torch.cuda.synchronize()

    def failed(self, name: str, error: Exception) -> None:
        """The table has only room for the reason."""
        traceback.print_exception(error)

    def free(self) -> None:
        if not self.dry:  # there no memory is measured, and collecting would take a third of it
            gc.collect()
            torch.cuda.empty_cache()

    def clock(self, run: Run) -> Callable[[], float]:
        """Start one run behind whatever the GPU has to do; returns what later reads its ms."""
        if self._flushed is None:
            start = time.perf_counter()
            run()
            elapsed = time.perf_counter() - start
            return lambda: 1000 * elapsed
        first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        self._flushed.zero_()
        first.record()
        run()
        last.record()
        return lambda: first.elapsed_time(last)

    def peak_gigabytes(self, run: Run) -> float:
        """Of one run, above what is allocated before it (inputs, weights)."""
        if self.dry:
            return 0.0
        self.free()
        self.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        run()
        self.synchronize()
        return (torch.cuda.max_memory_allocated() - before) / 1e9

    def compile(self, function: Callable) -> Callable:
        """torch.compile for one shape; a dry run leaves the code generator out."""
        torch._dynamo.reset()
        return torch.compile(function, dynamic=False, backend="eager" if self.dry else "inductor")

    def measure_yardsticks(self) -> None:
        """What this GPU does at best: copy bandwidth in GB/s, bf16 matrix product in TFLOP/s."""
        size = 2**16 if self.dry else 2**31
        source, target = (torch.zeros(size, dtype=torch.int8, device=self.device) for _ in range(2))
        side = 64 if self.dry else 8192
        a, b = (self.randn(side, side, grad=False) for _ in range(2))
        runs: dict[str, Run] = {"copy": lambda: target.copy_(source), "product": lambda: a @ b}
        for run in runs.values():
            run()
        times, _ = in_turn(self, runs, seconds=0.5)
        self.bandwidth = 2 * size / times["copy"] / 1e6
        self.matmul_rate = 2 * side**3 / times["product"] / 1e9


class GPUFailed(RuntimeError):
    """After an illegal access nothing runs in this process any more."""


def in_turn(
    machine: Machine,
    runs: Mapping[str, Run],
    once: Mapping[str, float] | None = None,
    seconds: float = 1.0,
) -> tuple[dict[str, float], dict[str, float]]:
    """The median milliseconds of each, A B C A B C ..., and the distance of its quartiles.

    ``once``: what one run of each has taken; else a round that is not counted finds that out.
    """
    readers: dict[str, list[Callable[[], float]]] = {name: [] for name in runs}
    rounds = 2 if machine.dry else affordable_rounds(machine, runs, once, seconds)
    for _ in range(rounds):
        for name, run in runs.items():
            readers[name].append(machine.clock(run))
    machine.synchronize()
    times = {name: [read() for read in column] for name, column in readers.items()}
    spread = {name: quantiles(column, n=4) for name, column in times.items()}
    return (
        {name: median(column) for name, column in times.items()},
        {name: q[2] - q[0] for name, q in spread.items()},
    )


def run_once(machine: Machine, run: Run) -> float:
    """The milliseconds of one run that has been warmed up."""
    read = machine.clock(run)
    machine.synchronize()
    return read()


def affordable_rounds(
    machine: Machine, runs: Mapping[str, Run], once: Mapping[str, float] | None, seconds: float
) -> int:
    """As many as fit, at least 5, or 2 of the longest."""
    once = once or {name: run_once(machine, run) for name, run in runs.items()}
    total = sum(once[name] for name in runs) + 0.4 * len(runs)  # with the emptying of the cache
    return min(max(int(1000 * seconds / total), 2 if total > 1000 else 5), 50)


def measure(
    machine: Machine,
    case: Case,
    names: Collection[str] | None = None,
    begin: Callable[[str], object] = lambda name: None,
    keep: Callable[[dict], object] = lambda row: None,
) -> dict:
    """One row of the record. Raises nothing but GPUFailed, with the row as its argument.

    ``names``: of the contenders that are measured, if not all. ``begin`` is called with the name
    of each before it begins; ``keep`` after it has run once, with the row as far as it is known:
    should a later one never return, those before it are not lost.
    """
    row: dict = {"case": case.name, "unit": case.unit, "wrong": ""}
    failures: dict[str, str] = {}
    runs: dict[str, Run] = {}
    once: dict[str, float] = {}
    times: dict[str, float] = {}
    spread: dict[str, float] = {}
    memory: dict[str, float] = {}
    try:
        begin("the check")
        row["wrong"] = attempt(machine, case.check, failures, "the check") or ""
        for name, prepare in case.contenders.items():
            if names is not None and name not in names:
                failures[name] = LEFT_OUT
                continue
            begin(name)
            run = attempt(machine, lambda prepare=prepare: warmed(prepare()), failures, name)
            if run is None:
                continue
            one = attempt(machine, lambda run=run: run_once(machine, run), failures, name)
            if one is not None:
                runs[name], once[name] = run, one
                keep({**finished(case, row, once, {}, {}, failures), "provisional": True})
        begin("all in turn")
        measured = attempt(machine, lambda: in_turn(machine, runs, once), {}, "")
        if measured:
            times, spread = measured
        else:  # one of them failed late: each alone
            for name, run in runs.items():
                alone = attempt(
                    machine, lambda n=name, r=run: in_turn(machine, {n: r}, once), failures, name
                )
                times |= alone[0] if alone else {}
        keep({**finished(case, row, times, spread, {}, failures), "provisional": True})
        if case.memory:
            for name, run in runs.items():
                used = attempt(machine, lambda run=run: machine.peak_gigabytes(run), failures, name)
                if used is not None:
                    memory[name] = used
    except GPUFailed as error:
        known = {**once, **times}
        failures.update({n: str(error) for n in case.contenders if n not in (*known, *failures)})
        cut = {**finished(case, row, known, spread, memory, failures), "provisional": True}
        raise GPUFailed(cut) from error
    finally:
        runs.clear()
    machine.free()
    return finished(case, row, times, spread, memory, failures)


def finished(case, row, times, spread, memory, failures) -> dict:
    """Times for one call, rates, the reasons of those that failed, and the verdicts."""
    times = {name: value / case.calls for name, value in times.items()}
    if row["wrong"] or "the check" in failures:  # a wrong result has no speed
        failures = {**failures, OURS: failures.get("the check", f"wrong: {row['wrong']}")}
        times.pop(OURS, None)
    results = {name: times.get(name, failures.get(name, CUT_OFF)) for name in case.contenders}
    return {
        **row,
        "milliseconds": results,
        "quartiles_apart": {name: value / case.calls for name, value in spread.items()},
        "rates": {name: case.rate(value) for name, value in times.items()},
        "peak_gigabytes": memory,
        "verdict": case.judge(results, memory),
    }


def warmed(run: Run) -> Run:
    """Compiled and run once; ``in_turn`` does not count one more."""
    run()
    return run


def attempt(machine: Machine, action: Callable, failures: dict[str, str], name: str):
    """The action's result; or None, with the reason among the failures."""
    try:
        result = action()
        machine.synchronize()
        return result
    except Exception as error:  # of whatever kind: it is a peer's
        failures[name] = reason(error)
        if not failures[name].startswith(EXPECTED):
            machine.failed(name, error)
    try:
        machine.free()
        machine.synchronize()
    except Exception as error:
        raise GPUFailed("not measured, the GPU had failed") from error
    return None


class NotTried(Exception):
    """Raised by what prepares a contender that cannot work here."""


def reason(error: Exception) -> str:
    if isinstance(error, NotTried):
        return f"not tried: {error}"
    if isinstance(error, ModuleNotFoundError) and str(error.name).split(".")[0] in OPTIONAL:
        return "absent"
    if isinstance(error, ImportError):
        return f"absent: {str(error)[:70]}"
    if isinstance(error, torch.OutOfMemoryError):
        return "out of memory"
    text = str(error).strip().split("\n")[0][:70].replace("|", "/")
    return f"{type(error).__name__}: {text}"


# ---- block sizes ---------------------------------------------------------------------------------


def tuned(case: Case, candidates: Mapping[str, Callable[[], contextlib.AbstractContextManager]]):
    """The same case, ours against itself: as shipped, and within each of these patches."""

    def patched(patch) -> Run:
        with patch():
            run = case.contenders[OURS]()

        def within() -> object:
            with patch():
                return run()

        return within

    def judge(times: Times, _) -> dict[str, str]:
        measured = {name: t for name, t in times.items() if isinstance(t, float)}
        return {"fastest": min(measured, key=measured.__getitem__) if measured else "none ran"}

    contenders = {OURS: case.contenders[OURS]}
    contenders |= {label: partial(patched, patch) for label, patch in candidates.items()}
    return dataclasses.replace(case, contenders=contenders, judge=judge, memory=False)


def instead(module, name: str, candidates: Iterable) -> dict[str, Callable]:
    """Patches for ``tuned``: the module's function of that name returns one of the candidates."""
    return {
        f"{name} {' '.join(map(str, candidate))}": partial(
            mock.patch.object, module, name, lambda *_, candidate=candidate: candidate
        )
        for candidate in candidates
    }


# ---- right, and fast enough ---------------------------------------------------------------------


def wrong(
    names: Sequence[str],
    ours: Sequence[torch.Tensor],
    peer: Sequence[torch.Tensor],
    exact: Sequence[torch.Tensor],
    factor: float = 3.0,
) -> str:
    """ "" when each of ours is as near to the exact as ``factor`` × torch's in the same dtype."""
    for name, mine, theirs, expected in zip(names, ours, peer, exact, strict=True):
        expected = expected.double()
        error = (mine.double() - expected).abs().max().item()
        rounding = 2 * torch.finfo(mine.dtype).eps * expected.abs().max().item()
        allowed = factor * max((theirs.double() - expected).abs().max().item(), rounding)
        if not error <= allowed:
            return f"{name} is off by {error:.1e}, allowed {allowed:.1e}"
    return ""


def against(times: Times, peers: Sequence[str], factor: float = 1.0) -> str:
    """Whether ours is ``factor`` × as fast as the fastest of these peers."""
    ours = times[OURS]
    if isinstance(ours, str):
        return f"no: {ours}"
    measured = {peer: t for peer in peers if isinstance(t := times.get(peer, "absent"), float)}
    if not measured:
        return f"unknown: no {' or '.join(peers)}"
    best = min(measured, key=measured.__getitem__)
    ratio = measured[best] / ours
    without = [peer for peer in peers if peer not in measured]
    note = f" (without {', '.join(without)})" if without else ""
    return f"{'yes' if ratio >= factor else 'no'}: {ratio:.2f} x as fast as {best}{note}"


def at_least(rate: float | None, floor: float, what: str) -> str:
    """Whether a rate reaches a floor that was measured or asked for."""
    if rate is None:
        return "no: not measured"
    return f"{'yes' if rate >= floor else 'no'}: {rate / floor:.2f} of {what}"


@contextlib.contextmanager
def full_precision() -> Iterator[None]:
    """float32 products without TF32, for what is taken as exact."""
    matmul = torch.backends.cuda.matmul  # knows of torch's older switches, too
    before = matmul.fp32_precision
    matmul.fp32_precision = "ieee"
    try:
        yield
    finally:
        matmul.fp32_precision = before
