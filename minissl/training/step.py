"""One step of training: draw a batch, compute its loss, walk back, move the weights. Lecture 01."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minissl.autograd.arrays import Array
from minissl.autograd.devices import move, move_batch
from minissl.autograd.processes import mean_of_all, sum_of_all, world
from minissl.optim.optimizer import Optimizer
from minissl.training.distributed import GradientMean
from minissl.training.method import Counted, InPasses, Method, Moving
from minissl.training.precision import computing_in, in_float32

Number = Array | float


def train_step(
    method: Method,
    optimizer: Optimizer,
    step: int,
    *,
    seed: int = 0,
    accumulate: int = 1,
    clip: float | None = None,
    precision: str = "float32",
) -> tuple[Number, Number]:
    """Step number ``step``, from 0; returns the loss and the norm of its gradient before clipping.

    The arguments are those of ``fit``. When loss or norm is not finite, nothing has moved. (On a
    GPU, where nobody waits for the numbers, ``after_step`` has been called all the same.)
    """
    optimizer.zero_grad()
    loss = gradient(method, optimizer, step, seed, accumulate, precision)
    norm = optimizer.step_if_finite(loss, math.inf if clip is None else clip)
    made = not isinstance(loss, float) or math.isfinite(loss + float(norm))
    if made and isinstance(method, Moving):
        method.after_step(step + 1)
    return loss, norm


def gradient(
    method: Method, optimizer: Optimizer, step: int, seed: int, accumulate: int, precision: str
) -> Number:
    """Put the mean gradient of the step's batches, of all processes, into ``grad``; mean loss.

    The mean is over what ``method.count`` counts (masked tokens, say), over batches where it does
    not: so many small batches are one large one. Each batch gets a generator that depends on
    nothing but its number: no state to save or to lose. On a GPU nobody has waited for the loss.
    """
    here = world()
    mean = GradientMean(list(optimizer.parameters.values()), here) if here.size > 1 else None
    counted = isinstance(method, Counted) and accumulate * here.size > 1
    loss: Number = 0.0
    total = 0.0
    for micro_step in range(accumulate):
        generator = np.random.default_rng([seed, step, micro_step * here.size + here.rank])
        batch = draw_batch(
            method, generator, (step * accumulate + micro_step) * here.size + here.rank
        )
        weight = float(method.count(batch)) if counted else 1 / accumulate  # type: ignore[attr-defined]
        total += weight
        # The last gradients of a step are complete, and may be sent while others are computed.
        last = micro_step == accumulate - 1 and precision == "float32"
        if weight:
            ready = mean.ready if mean and last else None
            loss = loss + _backward(method, batch, generator, weight, precision, ready)
    if isinstance(loss, float) and method.model.device != "cpu":  # nothing here; others wait for it
        loss = move(np.zeros((), np.float32), method.model.device)
    total = sum_of_all(total) if counted else here.size
    if not total:
        raise ValueError(f"step {step + 1}: no batch has anything to predict (count() is 0)")
    if mean:
        mean.finish(total)
    elif total != 1:
        _divide(optimizer, total)
    return mean_of_all(loss) * (here.size / total)


def draw_batch(method: Method, generator: np.random.Generator, number: int) -> Any:
    """The batch of this number in the run, from 0; only a method ``InPasses`` asks for that."""
    if isinstance(method, InPasses):
        return method.batch(generator, number)
    return method.batch(generator)


def _backward(
    method: Method, batch: Any, generator: np.random.Generator, weight: float,
    precision: str, ready: Any,
) -> Number:  # fmt: skip
    """Add ``weight`` times the batch's gradient to ``grad``; returns as much of its loss."""
    device = method.model.device
    batch = move_batch(batch, device, precision)
    with computing_in(precision, method.model):
        part = method.loss(batch, generator)
        part = part if weight == 1 else part * weight
        part.backward(ready=ready)
    return part.item() if device == "cpu" else in_float32(part.array)


def _divide(optimizer: Optimizer, total: float) -> None:
    for parameter in optimizer.parameters.values():
        if parameter.grad is not None:
            parameter.grad = parameter.grad / total
