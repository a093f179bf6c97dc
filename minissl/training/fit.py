"""``fit``: the one loop that trains everything in this course. Its step: ``step.py``."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from minissl.autograd.allocation import keep_freed_memory
from minissl.autograd.devices import repeatable
from minissl.autograd.processes import agree, from_first, world
from minissl.autograd.threads import engine_threads
from minissl.nn.layers import Embedding
from minissl.optim.clip import clip_grad_norm
from minissl.optim.optimizer import Optimizer
from minissl.options import is_whole
from minissl.reading import parse_json
from minissl.training.folder import RunFolder
from minissl.training.log import History, Record
from minissl.training.method import Evaluated, Method, Partial
from minissl.training.precision import check_precision
from minissl.training.progress import Progress, postponed_interrupt
from minissl.training.recorder import Recorder
from minissl.training.run import Run
from minissl.training.step import train_step

Schedule = Callable[[int], float]


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
    run: str | Path | RunFolder | None = None,
    config: Mapping[str, Any] | None = None,
    files: Mapping[str, bytes] | None = None,
    keep: int | None = 2,
    progress: bool | str = True,
    watch: Callable[[], dict[str, float]] | None = None,
    tell: Callable[[Record], None] | None = None,
) -> History:
    """Train ``method.model`` for ``steps`` updates and return what happened on the way.

    schedule: the learning rate of step 0, 1, ...; None keeps ``optimizer.lr``.
    seed: of every batch and every dropout mask; the same seed gives the same run.
    accumulate: batches per update; their mean loss is what one large batch would have.
    clip: the largest allowed norm of the gradient.
    In several processes (``torchrun``) each takes ``accumulate`` batches: see ``distributed``.
    precision: "float32", or, where the model is on a GPU, "bfloat16" (see ``training.precision``).
    evaluate_every: updates between calls of ``method.evaluate()``, which also comes first and last.
    watch: called with it, for numbers that go into the log too; it is no part of the settings.
    tell: called with a copy of every record, right after it was written, by the process that
    writes; no part of the settings either (``trackers``). A run that was killed tells again what
    came after its last checkpoint. The first error of ``tell`` is a warning and the end of telling.
    run: a folder for the log and the checkpoints. If a run with the same settings was stopped
    there, it is continued bit for bit as if it had never stopped; a finished one is loaded. On a
    GPU too, of the same kind and with the same libraries: convolutions then add in a fixed order.
    checkpoint_every: updates between checkpoints (default: a tenth of the run), of which the last
    ``keep`` stay (None: all). config: JSON types that the checkpoints remember, e.g. how to build
    the model. files: what else a new run folder gets, by name.
    progress: False, True, or a text that stands before the bar.

    Ctrl-C finishes the step and saves a checkpoint before KeyboardInterrupt is raised.
    Raises DivergedError when the loss, a gradient or a weight is not finite, ValueError for wrong
    settings or a run folder with other settings, BusyError when another process trains in that
    folder, OSError or CheckpointError when it cannot be written. Lecture 01.
    """
    _check(method, optimizer, None if watch else evaluate_every, seed, clip)
    _check_sparse(method, optimizer)
    _check_counts(
        steps=steps, accumulate=accumulate, evaluate_every=evaluate_every,
        checkpoint_every=checkpoint_every, log_every=log_every, keep=keep,
    )  # fmt: skip
    check_precision(precision, method.model)
    here = world()
    settings = _settings(
        method, optimizer, steps, schedule, seed, accumulate * here.size, clip, config
    )
    saved = method.saved() if isinstance(method, Partial) else method.model
    keep_freed_memory()
    method.model.train()
    with (
        engine_threads(),
        repeatable("cpu" if run is None else method.model.device),
        _held(run) as folder,
        Run(folder, settings, saved, optimizer, keep, files) as running,
        Progress(running.step, steps, here.rank == 0 and progress) as line,
        postponed_interrupt() as interrupted,
    ):
        recorder = Recorder(
            method, optimizer, running, line, steps=steps, precision=precision,
            evaluate_every=evaluate_every, log_every=log_every, watch=watch,
            tell=tell if here.rank == 0 else None,
        )  # fmt: skip
        if not running.resumed:
            recorder.begin()
        for step in range(running.step, steps):
            if schedule is not None:
                optimizer.lr = schedule(step)
            with running.or_as_it_was(step):
                loss, norm = train_step(
                    method, optimizer, step, seed=seed, accumulate=accumulate, clip=clip,
                    precision=precision,
                )  # fmt: skip
            done = step + 1
            stop = agree(interrupted())
            save = done == steps or stop or done % (checkpoint_every or max(1, steps // 10)) == 0
            recorder.record(done, loss, norm, save=save)
            if save:
                running.save(done)
            if stop and done < steps:
                raise KeyboardInterrupt(running.how_to_continue(steps))
    return running.history


@contextmanager
def _held(run: str | Path | RunFolder | None) -> Iterator[RunFolder | None]:
    """The folder of a run in the process that writes: as given, or opened here by its path."""
    if run is None or isinstance(run, RunFolder):
        yield run
        return
    opened: list[RunFolder] = []

    def open_it() -> bytes:
        opened.append(RunFolder(run))
        return b""

    from_first(open_it)
    try:
        yield opened[0] if opened else None
    finally:
        for folder in opened:
            folder.close()


def _check(
    method: Method, optimizer: Optimizer, evaluate_every: int | None, seed: int, clip: float | None
) -> None:
    """Raise ValueError for what would be noticed late or never."""
    if not is_whole(seed) or seed < 0:
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


def _check_sparse(method: Method, optimizer: Optimizer) -> None:
    """Raise ValueError where gradients of a few rows would have to be sent or are not taken."""
    modules = [(n, m) for n, m in method.model.named_modules() if isinstance(m, Embedding)]
    found = [name for name, m in modules if m.sparse and m.weight.requires_grad]
    optimizer.require_rows_taken(found)
    if found and world().size > 1:
        raise ValueError(
            f"{found[0]!r} is an Embedding with sparse gradients, which one process trains, here "
            f"are {world().size}: start it without torchrun"
        )


def _check_counts(**counts: int | None) -> None:
    for name, count in counts.items():
        if count is not None and (not is_whole(count) or count < 1):
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
    if not np.isfinite(rates).all():
        raise ValueError(f"schedule gives the learning rates {rates}: expected finite numbers")
    settings = {
        "method": type(method).__name__,
        "steps": int(steps),
        "seed": int(seed),
        "accumulate": accumulate,
        "clip": clip,
        "optimizer": optimizer.settings(),
        "learning_rates": [float(f"{rate:.9g}") for rate in rates],
        "config": dict(config or {}),
    }
    try:
        told = json.dumps(settings, allow_nan=False)
        return parse_json(told, "what fit was given", "JSON", advice="It could not be read again")
    except (TypeError, ValueError) as error:
        raise type(error)(
            f"config and settings must be numbers, texts, lists and dicts, as in JSON: {error}"
        ) from error
