"""``fit``: the one loop that trains everything in this course."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from minissl.autograd.allocation import keep_freed_memory
from minissl.autograd.arrays import Array
from minissl.autograd.devices import later, move_batch
from minissl.autograd.processes import agree, mean_of_all, world
from minissl.autograd.threads import engine_threads
from minissl.nn.evaluating import evaluating
from minissl.optim.clip import clip_grad_norm
from minissl.optim.optimizer import Optimizer
from minissl.training.distributed import GradientMean
from minissl.training.log import History, Record
from minissl.training.method import Evaluated, Method
from minissl.training.precision import check_precision, computing_in, in_float32
from minissl.training.progress import Progress, postponed_interrupt
from minissl.training.run import DivergedError, Run, not_finite

Schedule = Callable[[int], float]
RESERVED = {
    "step",
    "loss",
    "lr",
    "grad_norm",
    "seconds",
    "device",
    "precision",
}  # the names of a record that are ours


def fit(
    method: Method,
    optimizer: Optimizer,
    *,
    steps: int,
    schedule: Schedule | None = None,
    seed: int = 0,
    accumulate: int = 1,
    clip: float | None = None,
    precision: str = "float32",
    evaluate_every: int | None = None,
    checkpoint_every: int | None = None,
    log_every: int = 1,
    run: str | Path | None = None,
    config: Mapping[str, Any] | None = None,
    keep: int = 2,
    progress: bool | str = True,
) -> History:
    """Train ``method.model`` for ``steps`` updates and return what happened on the way.

    schedule: the learning rate of step 0, 1, ...; None keeps ``optimizer.lr``.
    seed: of every batch and every dropout mask; the same seed gives the same run.
    accumulate: batches per update; their mean loss is what one large batch would have.
    clip: the largest allowed norm of the gradient.
    In several processes (``torchrun``) each takes ``accumulate`` batches: see ``distributed``.
    precision: "float32", or, where the model is on a GPU, "bfloat16" (see ``training.precision``).
    evaluate_every: updates between calls of ``method.evaluate()``, which also comes first and last.
    run: a folder for the log and the checkpoints. If a run with the same settings was stopped
    there, it is continued bit for bit as if it had never stopped; a finished one is loaded.
    checkpoint_every: updates between checkpoints (default: a tenth of the run), of which the last
    ``keep`` stay. config: JSON types that the checkpoints remember, e.g. how to build the model.
    progress: False, True, or a text that stands before the bar.

    Ctrl-C finishes the step and saves a checkpoint before KeyboardInterrupt is raised.
    Raises DivergedError when the loss, a gradient or a weight is not finite, ValueError for wrong
    settings or a run folder with other settings, OSError or CheckpointError when the run folder
    cannot be written. Lecture 01.
    """
    _check(method, optimizer, evaluate_every, seed, clip)
    _check_counts(
        steps=steps,
        accumulate=accumulate,
        evaluate_every=evaluate_every,
        checkpoint_every=checkpoint_every,
        log_every=log_every,
        keep=keep,
    )
    here = world()
    settings = _settings(
        method, optimizer, steps, schedule, seed, accumulate * here.size, clip, config
    )
    checkpoint_every = checkpoint_every or max(1, steps // 10)
    model, device = method.model, method.model.device
    check_precision(precision, model)
    waiting: list[Record] = []  # steps whose loss and norm have not been looked at
    place: Record = {"device": device, "precision": precision}
    if (device, precision) == ("cpu", "float32"):
        place = {}
    keep_freed_memory()
    model.train()

    with (
        engine_threads(),
        Run(run, settings, model, optimizer, keep) as book,
        Progress(book.step, steps, progress and here.rank == 0) as line,
        postponed_interrupt() as interrupted,
    ):
        if not book.resumed:
            if evaluate_every:
                book.log({"step": 0, **_evaluate(method, precision)})
            book.save(0)  # a folder that cannot be written is noticed now, not in an hour

        for step in range(book.step, steps):
            if schedule is not None:
                optimizer.lr = schedule(step)
            optimizer.zero_grad()
            loss = _backpropagate(method, optimizer, accumulate, seed, step, precision)
            norm = optimizer.step_if_finite(loss, math.inf if clip is None else clip)
            done = step + 1
            record: Record = {"step": done, "loss": later(loss), "lr": float(optimizer.lr)}
            record |= {"grad_norm": later(norm), "seconds": book.seconds()}
            waiting.append(record)

            last, stop = done == steps, agree(interrupted())
            evaluate = evaluate_every and (last or done % evaluate_every == 0)
            save = last or stop or done % checkpoint_every == 0
            # A GPU works through what it was told while the next step is prepared: to ask for the
            # numbers of this step now would make it wait for us. Those of the one before are ready.
            ready = len(waiting) if evaluate or save or device == "cpu" else len(waiting) - 1
            settled, waiting = waiting[:ready], waiting[ready:]
            for record in settled:
                _read_numbers(record, optimizer, book)
            if evaluate:
                settled[-1] |= _evaluate(method, precision)
            for record in settled:
                if _due(record["step"], steps, log_every, evaluate_every):
                    book.log(record | place)
                    place = {}  # it was said once
                line.show(record["step"], record["loss"], record["lr"])
            if save:
                book.save(done)
            if stop and not last:
                raise KeyboardInterrupt(book.how_to_continue(steps))
    return book.history


def _backpropagate(
    method: Method, optimizer: Optimizer, accumulate: int, seed: int, step: int, precision: str
) -> Array | float:
    """The mean gradient of the step's batches, of all processes together; returns the mean loss.

    Each batch gets a generator that depends on nothing but its number: no state to save or to lose.
    On a GPU the loss is an array, which nobody has waited for.
    """
    here, device = world(), method.model.device
    mean = GradientMean(list(optimizer.parameters.values()), here) if here.size > 1 else None
    loss: Array | float = 0.0
    for micro_step in range(accumulate):
        generator = np.random.default_rng([seed, step, micro_step * here.size + here.rank])
        batch = move_batch(method.batch(generator), device, precision)
        # The last gradients of a step are complete, and may be sent while others are computed.
        complete = mean and micro_step == accumulate - 1 and precision == "float32"
        with computing_in(precision, method.model):
            part = method.loss(batch, generator) / accumulate
            part.backward(ready=mean.ready if mean and complete else None)
        loss = loss + (part.item() if device == "cpu" else in_float32(part.array))
    if mean:
        mean.finish()
    return mean_of_all(loss)


def _due(step: int, steps: int, log_every: int, evaluate_every: int | None) -> bool:
    """Whether the record of a step goes into the log."""
    evaluated = evaluate_every is not None and step % evaluate_every == 0
    return evaluated or step == steps or step % log_every == 0


def _read_numbers(record: Record, optimizer: Optimizer, book: Run) -> None:
    """Turn a step's loss and norm into numbers; DivergedError if they are none."""
    loss, norm = float(record["loss"]), float(record["grad_norm"])
    record["loss"], record["grad_norm"] = loss, norm
    if not math.isfinite(loss + norm):
        raise _diverged(record["step"], loss, norm, record["lr"], optimizer, book)


def _evaluate(method: Method, precision: str) -> dict[str, float]:
    """The method's metrics, measured in evaluation mode and without a graph."""
    assert isinstance(method, Evaluated)
    with evaluating(method.model), computing_in(precision, method.model):
        metrics = dict(method.evaluate())
    if taken := RESERVED & metrics.keys():
        raise ValueError(
            f"evaluate() of {type(method).__name__} returned {sorted(taken)}, which are names of "
            "the training log: call them e.g. 'held_out_loss'"
        )
    return metrics


def _diverged(
    step: int, loss: float, norm: float, lr: float, optimizer: Optimizer, book: Run
) -> DivergedError:
    """The error that says what is wrong, where, and what to try."""
    arrays = {}
    for name, parameter in optimizer.parameters.items():
        arrays[f"weight {name}"] = parameter.array
        if parameter.grad is not None:
            arrays[f"gradient of {name}"] = parameter.grad
    return DivergedError(
        f"step {step}: the loss is {loss:.6g} and the gradient norm {norm:.6g}, at learning rate "
        f"{lr:.3g}. With NaN or infinity in it: {not_finite(arrays) or 'no parameter'}. "
        f"This update was not made. {book.way_back()}",
        step,
    )


def _check(
    method: Method, optimizer: Optimizer, evaluate_every: int | None, seed: int, clip: float | None
) -> None:
    """Raise ValueError for what would be noticed late or never."""
    if not isinstance(seed, int) or seed < 0:
        raise ValueError(f"seed must be a whole number ≥ 0, got {seed!r}")
    if clip is not None:
        clip_grad_norm([], clip)  # raises for a clip that is not positive
    if evaluate_every is not None and not isinstance(method, Evaluated):
        raise ValueError(
            f"evaluate_every={evaluate_every}, but {type(method).__name__} has no evaluate(): "
            "write one, or leave evaluate_every out"
        )
    own = {id(parameter) for parameter in method.model.parameters()}
    if strangers := [n for n, p in optimizer.parameters.items() if id(p) not in own]:
        raise ValueError(
            f"the optimizer changes {strangers[:5]}, which are not in method.model: they would not "
            "be saved. Make the optimizer from method.model.named_parameters()"
        )


def _check_counts(**counts: int | None) -> None:
    for name, count in counts.items():
        if count is not None and (not isinstance(count, int) or count < 1):
            raise ValueError(f"{name} must be a whole number ≥ 1, got {count!r}")


def _settings(
    method: Method,
    optimizer: Optimizer,
    steps: int,
    schedule: Schedule | None,
    seed: int,
    accumulate: int,
    clip: float | None,
    config: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """All that decides how a run goes, in JSON types: two starts of one run must agree on it.

    A schedule cannot be compared, its values can: the first, the middle and the last one, to nine
    digits, since another computer's cosine may differ in the last one.
    """
    rates = [schedule(s) if schedule else optimizer.lr for s in (0, steps // 2, steps - 1)]
    settings = {
        "method": type(method).__name__,
        "steps": steps,
        "seed": seed,
        "accumulate": accumulate,
        "clip": clip,
        "optimizer": optimizer.settings(),
        "learning_rates": [float(f"{rate:.9g}") for rate in rates],
        "config": dict(config or {}),
    }
    try:
        return json.loads(json.dumps(settings, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise type(error)(
            f"config and settings must be numbers, texts, lists and dicts, as in JSON: {error}"
        ) from error
