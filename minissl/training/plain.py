"""The loop that trains, and nothing around it: what ``fit`` does to the weights. Lecture 05.

No folder, log, checkpoints, evaluation, several processes or GPU: for these there is ``fit``, which
gives the same losses and the same weights to the last bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from minissl.autograd.threads import engine_threads
from minissl.optim.clip import clip_grad_norm
from minissl.optim.optimizer import Optimizer
from minissl.training.method import Method, Moving
from minissl.training.run import DivergedError
from minissl.training.step import draw_batch


@engine_threads()
def plain_loop(
    method: Method,
    optimizer: Optimizer,
    steps: int,
    *,
    schedule: Callable[[int], float] | None = None,
    seed: int = 0,
    clip: float | None = None,
) -> list[float]:
    """Train ``method.model``, in training mode, for ``steps`` updates; the loss before each.

    Step 0, 1, ... sets the learning rate to ``schedule(step)`` (None: it stays), draws a batch
    (``draw_batch(method, generator, step)``) and computes its loss with the same generator, which
    is made anew for every step, from the list of ``seed`` and the step. The gradients of the
    step before are forgotten; those of this one are cut to the global norm ``clip`` (None: not).
    A method that is ``Moving`` is told after each update how many there have been.

    Raises DivergedError, and leaves the weights alone, when the loss or the norm is not finite.
    """
    method.model.train()
    losses: list[float] = []
    for step in range(steps):
        if schedule is not None:
            optimizer.lr = schedule(step)
        generator = np.random.default_rng([seed, step])
        batch = draw_batch(method, generator, step)
        optimizer.zero_grad()
        loss = method.loss(batch, generator)
        loss.backward()
        norm = clip_grad_norm(optimizer.parameters.values(), math.inf if clip is None else clip)
        losses.append(loss.item())
        if not math.isfinite(losses[-1] + norm):
            found = f"the loss is {losses[-1]:.6g} and the gradient norm {norm:.6g}"
            advice = "try a lower learning rate, or clip"
            raise DivergedError(
                f"step {step + 1}: {found}; this update was not made: {advice}", step + 1
            )
        optimizer.step()
        if isinstance(method, Moving):
            method.after_step(step + 1)
    return losses
