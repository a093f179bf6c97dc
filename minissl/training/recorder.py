"""What becomes of a step's numbers: the log, the evaluation, the line on the screen."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

from minissl.autograd.devices import later
from minissl.autograd.rows import stored
from minissl.nn.evaluating import evaluating
from minissl.optim.optimizer import Optimizer
from minissl.training.checkpoint import not_finite
from minissl.training.log import Record
from minissl.training.method import Evaluated, Method
from minissl.training.precision import computing_in
from minissl.training.progress import Progress
from minissl.training.run import DivergedError, Run

# The names of a record that are ours.
RESERVED = {"step", "loss", "lr", "grad_norm", "seconds", "device", "precision"}


class Recorder:
    """Takes the loss and the norm of every step, and looks at them as late as it can.

    A GPU works through what it was told while the next step is prepared: to ask for the numbers of
    this step now would make it wait for us. Those of the one before are ready.
    """

    def __init__(
        self,
        method: Method,
        optimizer: Optimizer,
        running: Run,
        line: Progress,
        *,
        steps: int,
        precision: str = "float32",
        evaluate_every: int | None = None,
        log_every: int = 1,
        watch: Callable[[], dict[str, float]] | None = None,
        tell: Callable[[Record], None] | None = None,
    ):
        self.method, self.optimizer, self.running, self.line = method, optimizer, running, line
        self.steps, self.precision, self.watch = steps, precision, watch
        self.evaluate_every, self.log_every, self.tell = evaluate_every, log_every, tell
        self.untold: list[Record] = []  # logged, and not handed on yet
        self.waiting: list[Record] = []  # steps whose loss and norm have not been looked at
        self.place: Record = {"device": method.model.device, "precision": precision}
        if self.place == {"device": "cpu", "precision": "float32"}:
            self.place = {}

    def begin(self) -> None:
        """What comes before the first step of a new run: an evaluation and a checkpoint."""
        try:
            if self.evaluate_every and (metrics := self._evaluate()):
                self._log({"step": 0, **metrics})
            self.running.save(0)  # a folder that cannot be written is noticed now, not in an hour
        except BaseException:
            self.running.withdraw()
            raise

    def record(self, done: int, loss: Any, norm: Any, *, save: bool) -> None:
        """Take the numbers of the step after which ``done`` are made; all at once before a save.

        Raises DivergedError when one of those that are looked at is not finite.
        """
        record: Record = {"step": done, "loss": later(loss), "lr": float(self.optimizer.lr)}
        record |= {"grad_norm": later(norm), "seconds": self.running.seconds()}
        self.waiting.append(record)
        every = self.evaluate_every
        evaluate = every and (done == self.steps or done % every == 0)
        now = evaluate or save or self.method.model.device == "cpu"
        ready = len(self.waiting) if now else len(self.waiting) - 1
        settled, self.waiting = self.waiting[:ready], self.waiting[ready:]
        for record in settled:
            self._read_numbers(record)
        if evaluate:
            settled[-1] |= self._evaluate()
        for record in settled:
            if self._is_due(record["step"]):
                self._log(record | self.place)
                self.place = {}  # it was said once
                self._hand_on()
            self.line.show(record["step"], record["loss"], record["lr"])

    def _log(self, record: Record) -> None:
        """Write a record; what ``tell`` gets of it is a copy."""
        self.running.log(record)
        self.untold.append(dict(self.running.history[-1]))

    def _hand_on(self) -> None:
        """Tell what was logged, that of step 0 with the first step: a refused run tells nothing.

        The first error of ``tell`` ends the telling: a training is worth more than its curve.
        """
        untold, self.untold = self.untold, []
        for record in untold:
            if self.tell is None:
                return
            try:
                self.tell(record)
            except Exception as error:
                self.tell = None
                warnings.warn(
                    f"what tells others of this run failed at step {record['step']} and is not "
                    f"called again ({type(error).__name__}: {error}). The training goes on, and "
                    "its own log is whole",
                    stacklevel=4,
                )

    def _is_due(self, step: int) -> bool:
        """Whether the record of a step goes into the log."""
        evaluated = self.evaluate_every is not None and step % self.evaluate_every == 0
        return evaluated or step == self.steps or step % self.log_every == 0

    def _read_numbers(self, record: Record) -> None:
        """Turn a step's loss and norm into numbers; DivergedError if they are none."""
        loss, norm = float(record["loss"]), float(record["grad_norm"])
        record["loss"], record["grad_norm"] = loss, norm
        if not math.isfinite(loss + norm):
            raise self._diverged(record["step"], loss, norm, record["lr"])

    def _evaluate(self) -> dict[str, float]:
        """The metrics of method and watch, measured in evaluation mode and without a graph."""
        metrics: dict[str, float] = {}
        with evaluating(self.method.model), computing_in(self.precision, self.method.model):
            if isinstance(self.method, Evaluated):
                metrics |= self.method.evaluate()
            if self.watch is not None:
                metrics |= self.watch()
        if taken := RESERVED & metrics.keys():
            raise ValueError(
                f"evaluate() of {type(self.method).__name__} returned {sorted(taken)}, which are "
                "names of the training log: call them e.g. 'held_out_loss'"
            )
        return metrics

    def _diverged(self, step: int, loss: float, norm: float, lr: float) -> DivergedError:
        """The error that says what is wrong, where, and what to try."""
        arrays = {}
        for name, parameter in self.optimizer.parameters.items():
            arrays[f"weight {name}"] = parameter.array
            if parameter.grad is not None:
                arrays[f"gradient of {name}"] = stored(parameter.grad)
        return DivergedError(
            f"step {step}: the loss is {loss:.6g} and the gradient norm {norm:.6g}, at learning "
            f"rate {lr:.3g}. With NaN or infinity in it: {not_finite(arrays) or 'no parameter'}. "
            f"This update was not made. {self.running.way_back()}",
            step,
        )
