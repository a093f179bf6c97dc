"""Contenders that train: what a step takes, the peak of its memory, and its losses.

A contender is a function that builds everything and returns ``train(steps, mark)``, which makes
that many steps, calls ``mark()`` at the start of each, and returns their losses. Ours is ``fit``
itself. Steps follow each other as in training, so that Python can run ahead of the GPU; blocks of
steps of all contenders take turns: A B C, A B C, ...
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from statistics import median
from typing import Any

import torch

from benchmarks.kernels.measure import OURS, Machine, attempt
from minissl.autograd.devices import move_batch
from minissl.optim import AdamW
from minissl.training import Method, fit

EAGER, COMPILED = "torch eager", "torch.compile"
WARMUP, ROUNDS, BLOCK_SECONDS = 6, 5, 0.8
NOTES = (
    "ms: of one step (forward, backward, clipping, AdamW, the batch moved to the GPU), on the "
    "GPU's clock, steps following each other; medians of blocks of steps, contenders in turn; ours "
    "is `fit` itself, which also reads every loss and norm, torch reads none",
    f"peak GB: the most that was allocated during a step, weights and moments included; later "
    f"loss: of step {WARMUP + 2}, always on the same batch",
)

Train = Callable[[int, Callable[[], None]], list[float]]


@dataclass
class Result:
    """Of one contender; ``milliseconds`` may be the reason why there are none."""

    milliseconds: float | str = "failed"
    peak_gigabytes: float | None = None
    losses: list[float] = field(default_factory=list)
    rounds: int = 0  # of which the milliseconds are the median


class Marks:
    """When each step began: on the GPU's clock or, in a dry run, on the wall's."""

    def __init__(self, machine: Machine) -> None:
        self.dry, self.moments = machine.dry, list[Any]()

    def __call__(self) -> None:
        if self.dry:
            self.moments.append(time.perf_counter())
        else:
            event = torch.cuda.Event(enable_timing=True)
            event.record()
            self.moments.append(event)

    def milliseconds(self, first: int, last: int) -> float:
        start, end = self.moments[first], self.moments[last]
        return 1000 * (end - start) if self.dry else start.elapsed_time(end)


def race(
    machine: Machine, contenders: Mapping[str, Callable[[], Train]], until: float
) -> Iterator[dict[str, Result]]:
    """After each contender has joined: all results so far, measured in turn.

    In one round until the last has joined, so that none is without a time should a later one never
    return; then in ``ROUNDS``.
    """
    running: dict[str, Train] = {}
    results: dict[str, Result] = {}
    for name, build in contenders.items():
        failures: dict[str, str] = {}
        if time.time() > until:
            results[name] = Result("no time left")
            yield results
            continue
        started = attempt(machine, partial(warmed, machine, build), failures, name)
        if started is None:
            results[name] = Result(failures[name])
            yield results
            continue
        running[name], results[name] = started
        take_turns(machine, running, results, ROUNDS if len(results) == len(contenders) else 1)
        yield results
    if running and next(reversed(contenders)) not in running and time.time() < until:
        take_turns(machine, running, results, ROUNDS)
        yield results


def take_turns(
    machine: Machine, running: dict[str, Train], results: dict[str, Result], rounds: int
) -> None:
    for name, milliseconds in in_turn(machine, running, rounds).items():
        results[name].milliseconds, results[name].rounds = milliseconds, rounds
        if isinstance(milliseconds, str):
            del running[name]


def warmed(machine: Machine, build: Callable[[], Train]) -> tuple[Train, Result]:
    """Built, compiled, and a few steps old. The peak is above what other contenders hold."""
    machine.free()
    before = 0 if machine.dry else torch.cuda.memory_allocated()
    train = build()
    losses = train(2 if machine.dry else WARMUP, lambda: None)
    machine.synchronize()
    machine.free()
    if machine.dry:
        return train, Result(peak_gigabytes=0.0, losses=losses)
    torch.cuda.reset_peak_memory_stats()
    losses += train(2, lambda: None)
    machine.synchronize()
    peak = torch.cuda.max_memory_allocated() - before
    return train, Result(peak_gigabytes=peak / 1e9, losses=losses)


def in_turn(machine: Machine, running: Mapping[str, Train], rounds: int) -> dict[str, float | str]:
    """The median milliseconds of each one's steps, or why it failed."""
    times: dict[str, list[float]] = {name: [] for name in running}
    failures: dict[str, str] = {}
    counts = dict.fromkeys(running, 1)
    for round_number in range(1 + (1 if machine.dry else rounds)):
        for name, train in running.items():
            if name in failures:
                continue
            run = partial(block, machine, train, counts[name])
            step = attempt(machine, run, failures, name)
            if step is not None and round_number:
                times[name].append(step)
            elif step is not None and not machine.dry:  # the first tells how many make a block
                counts[name] = min(max(math.ceil(1000 * BLOCK_SECONDS / step), 2), 100)
    return {name: failures.get(name) or median(column) for name, column in times.items()}


def block(machine: Machine, train: Train, count: int) -> float:
    """The milliseconds of a step, from the start of the second to that of the last of count + 2."""
    marks = Marks(machine)
    train(count + 2, marks)
    machine.synchronize()
    return marks.milliseconds(1, count + 1) / count


# ---- how each trains ----------------------------------------------------------------------------


class OneBatch:
    """A method whose batches are all the same, and which says when a step begins."""

    def __init__(self, method: Method, batch: Any, accumulate: int) -> None:
        self.model, self.loss, self.represent = method.model, method.loss, method.represent
        self._batch, self._accumulate, self._asked = batch, accumulate, 0
        self.mark: Callable[[], None] = lambda: None

    def batch(self, generator) -> Any:
        if self._asked % self._accumulate == 0:
            self.mark()
        self._asked += 1
        return self._batch


def by_fit(
    method: Method,
    batch: Any,
    *,
    precision: str,
    lr: float,
    clip: float | None,
    accumulate: int = 1,
) -> Train:
    """Our ``fit``, with AdamW that decays every parameter, as torch's does."""
    one = OneBatch(method, batch, accumulate)
    optimizer = AdamW(method.model.named_parameters(), lr=lr, decay=lambda name, parameter: True)
    settings = {"clip": clip, "precision": precision, "accumulate": accumulate, "progress": False}

    def train(steps: int, mark: Callable[[], None]) -> list[float]:
        one.mark = mark
        return fit(one, optimizer, steps=steps, **settings).losses()

    return train


def by_torch(
    machine: Machine,
    twin: torch.nn.Module,
    loss_of: Callable[..., torch.Tensor],
    batch: Any,
    *,
    precision: str,
    lr: float,
    clip: float | None,
    accumulate: int = 1,
    compiled: bool = False,
) -> Train:
    """As torch's users train: autocast, fused AdamW, and no loss read before the end."""
    twin.to(machine.device).train()
    optimizer = torch.optim.AdamW(twin.parameters(), lr=lr, fused=True)
    where = "torch" if machine.dry else "cuda:0"
    autocast = (
        partial(torch.autocast, machine.device.type, dtype=torch.bfloat16)
        if precision == "bfloat16"
        else nullcontext
    )

    def forward(batch: Any) -> torch.Tensor:
        with autocast():
            return loss_of(twin, batch)

    forward = machine.compile(forward) if compiled else forward

    def step() -> torch.Tensor:
        optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=machine.device)
        for _ in range(accumulate):
            loss = forward(move_batch(batch, where)) / accumulate
            loss.backward()
            total += loss.detach()
        if clip is not None:
            torch.nn.utils.clip_grad_norm_(twin.parameters(), clip)
        optimizer.step()
        return total

    def train(steps: int, mark: Callable[[], None]) -> list[float]:
        losses = []
        for _ in range(steps):
            mark()
            losses.append(step())
        return [float(loss) for loss in losses]

    return train


# ---- verdicts -----------------------------------------------------------------------------------


def agreed(results: Mapping[str, Result], peer: str, relative: float) -> str:
    """ "" when our first loss is the peer's to within rounding, else what is wrong."""
    if not all(name in results and results[name].losses for name in (OURS, peer)):
        return ""
    ours, theirs = results[OURS].losses[0], results[peer].losses[0]
    if abs(ours - theirs) <= relative * abs(theirs):
        return ""
    return f"wrong: the first loss is {ours:.5f}, that of {peer} {theirs:.5f}"


def times(results: Mapping[str, Result], wrong: str = "") -> dict[str, float | str]:
    """The milliseconds by name; a wrong result has no speed."""
    found = {name: result.milliseconds for name, result in results.items()}
    return {**found, OURS: wrong} if wrong else found


def less_memory(results: Mapping[str, Result], peer: str, factor: float) -> str:
    """Whether our peak is at most ``factor`` times the peer's."""
    ours, theirs = (
        results[name].peak_gigabytes if name in results else None for name in (OURS, peer)
    )
    if ours is None or not theirs:
        return "not measured"
    return f"{'yes' if ours <= factor * theirs else 'no'}: {ours / theirs:.2f} x {peer}'s"


def cells(results: Mapping[str, Result], name: str, work: float, unit: str) -> dict[str, object]:
    """A line of the table; ``work``: how many of the unit a step does."""
    result, base = results[name], results.get(EAGER, Result())
    known = isinstance(result.milliseconds, float)
    compared = known and isinstance(base.milliseconds, float)
    memory = result.peak_gigabytes
    return {
        "step": name,
        "ms": result.milliseconds,
        f"{unit} per second": f"{1000 * work / result.milliseconds:,.0f}" if known else "-",
        f"x {EAGER}": f"{base.milliseconds / result.milliseconds:.2f}" if compared else "-",
        "peak GB": "-" if memory is None else f"{memory:.2f}",
        "x its memory": f"{memory / base.peak_gigabytes:.2f}"
        if memory and base.peak_gigabytes
        else "-",
        "first loss": f"{result.losses[0]:.4f}" if result.losses else "-",
        "later loss": f"{result.losses[-1]:.4f}" if result.losses else "-",
    }
