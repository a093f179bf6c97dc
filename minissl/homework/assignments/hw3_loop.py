"""Homework 3, the training loop: task 3.14."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.autograd import operations as ops
from minissl.autograd.tensor import Tensor, differentiable
from minissl.homework.assignments import hw3_training_oracle as oracle
from minissl.homework.assignments.hw3_training import near
from minissl.homework.task import Draw, Task, Wrong, call, expect, unwritten
from minissl.nn.module import Module, Parameter
from minissl.optim import SGD
from minissl.training.run import DivergedError

# ---- 3.14 plain_loop -----------------------------------------------------------------------------

loop = Task(
    "3.14",
    "minissl.training.plain:plain_loop",
    "the training loop",
    "lecture 01, section 4",
    allows=("Tensor.*", "Optimizer.*", "SGD.*", "Module.*", "Parameter.*", "grad_norm"),
)


class Weight(Module):
    """What a line is: a weight (width,)."""

    def __init__(self, start: NDArray):
        self.weight = Parameter(start.copy())


@differentiable
def infinite_slope(x, /):
    """x itself, and a gradient that is not finite."""
    return x * 1, (lambda g: g * np.inf,)


class Line:
    """Least squares by one weight per number: the mean of (w · x − y)², and noise for dropout.

    ``seen``: in which mode the model was when its loss was computed. A method of the checks.
    """

    def __init__(self, start: NDArray, spoil_at: int | None = None, spoil: str = "loss"):
        self.model = Weight(start)
        self.model.eval()
        self.spoil_at, self.spoil, self.seen = spoil_at, spoil, list[bool]()

    def batch(self, generator: np.random.Generator) -> Any:
        """(4, width) numbers and what the line should say of them."""
        return oracle.line_batch(generator, self.model.weight.size)

    def loss(self, batch: Any, generator: np.random.Generator) -> Tensor:
        """The mean square, with noise added to x that is drawn after the batch."""
        x, y = batch
        self.seen.append(self.model.training)
        noisy = x + oracle.line_noise(generator, x)
        error = ops.matmul(noisy, self.model.weight) - y
        mean = (error * error).mean()
        if self.spoil_at != len(self.seen) - 1:
            return mean
        return mean * math.inf if self.spoil == "loss" else infinite_slope(mean)

    def represent(self, examples: Any) -> Any:
        """Not asked for here."""
        return examples


class MovingLine(Line):
    """A line that counts how often it was told of an update."""

    told: list[int]
    weights: list[NDArray]  # when it was told

    def after_step(self, done: int) -> None:
        """Called after each update."""
        self.told = [*getattr(self, "told", []), done]
        self.weights = [*getattr(self, "weights", []), self.model.weight.array.copy()]


def _check_loop(
    subject: Any, draw: Draw, width: int, steps: int, **options: Any
) -> tuple[MovingLine, dict[str, Any]]:
    start, lr = draw.normal(width), 0.05
    method = MovingLine(start)
    optimizer = SGD(method.model.named_parameters(), lr=lr)
    rates = options.get("schedule")
    clip, seed = options.get("clip"), options.get("seed", 0)
    shown = {**options, "schedule": "0.08 / (step + 1)"} if rates else options
    given = {"method": "least squares, start", "start": start, "optimizer": "SGD, lr 0.05",
             "steps": steps, **shown}  # fmt: skip

    def by(how: str = "right") -> tuple[NDArray, NDArray]:
        return oracle.line_training(start, steps, lr, rates, seed, clip, how)

    losses, weight = by()
    got = call(subject, method, optimizer, steps, **options)
    if not isinstance(got, list):
        raise Wrong("expected a list with the loss of every step", given, got, losses.tolist())
    found = np.array([float(x) for x in got])
    wrong = {}
    if not (near(found, losses) and near(method.model.weight.array, weight)):
        wrong = {sentence: by(how) for sentence, how in oracle.LOOP_MISTAKES.items()}
    symptoms = {sentence: values[0] for sentence, values in wrong.items()}
    expect(found, losses, given=given, symptoms=symptoms, otherwise="the losses are wrong")
    if not all(isinstance(x, float) for x in got):
        sentence = "a loss is a Python number, loss.item(): a Tensor would keep its whole graph"
        raise Wrong(sentence, given, type(got[0]).__name__, "float")
    symptoms = {sentence: values[1] for sentence, values in wrong.items()}
    expect(
        method.model.weight.array, weight, given=given, symptoms=symptoms,
        otherwise="the losses are right, the weights after the last update are not",
    )  # fmt: skip
    return method, given


@loop.check(2)
def losses_and_weights(subject: Any, draw: Draw) -> None:
    """Batch, loss, backward, update; forget the gradient, and a new generator for every step."""
    method = Line(draw.normal(2))
    before, optimizer = method.model.weight.array.copy(), SGD(method.model.named_parameters(), lr=1)
    if (none := call(subject, method, optimizer, 0)) != []:
        raise Wrong("0 steps are no step: no loss, and no update", {"steps": 0}, none, [])
    sentence = "0 steps are no step: the weights stay"
    expect(method.model.weight.array, before, given={"steps": 0}, otherwise=sentence)
    for width, steps in draw.cases(
        (1, 1), (1, 3), (3, 4), more=lambda g: (2, int(g.integers(2, 6)))
    ):
        _check_loop(subject, draw, width, steps, seed=int(draw.generator.integers(1, 6)))


@loop.check(1)
def rates_in_time(subject: Any, draw: Draw) -> None:
    """The learning rate of step 0, 1, ... is set before the update of this step."""
    for steps in draw.cases(3, 4, more=lambda g: int(g.integers(3, 6))):
        _check_loop(subject, draw, 2, steps, schedule=lambda step: 0.08 / (step + 1))


@loop.check(1)
def clipped(subject: Any, draw: Draw) -> None:
    """The gradient's global norm is at most ``clip``, which comes before the update."""
    for clip in draw.cases(0.5, 1000.0, 0.01, more=lambda g: float(g.uniform(0.05, 1))):
        _check_loop(subject, draw, 2, 3, clip=clip)


@loop.check(1)
def around_it(subject: Any, draw: Draw) -> None:
    """Training mode; ``after_step``; a loss that is not finite is an error and moves nothing."""
    for steps in draw.cases(2, more=lambda g: int(g.integers(2, 6))):
        method, given = _check_loop(subject, draw, 2, steps)
        if not all(method.seen):
            sentence = "the model was in evaluation mode: begin with method.model.train()"
            raise Wrong(sentence, given, method.seen, [True] * steps)
        told = getattr(method, "told", "never called")
        expected = [step + 1 for step in range(steps)]
        if told != expected:
            raise Wrong("after_step gets the number of updates made", given, told, expected)
        if not np.array_equal(method.weights[-1], method.model.weight.array):
            sentence = "after_step comes before the update: it is told of an update that was made"
            raise Wrong(sentence, given, method.weights[-1], method.model.weight.array)
        for spoil in ("loss", "gradient"):
            _check_spoilt(subject, draw, steps, spoil)


def _check_spoilt(subject: Any, draw: Draw, steps: int, spoil: str) -> None:
    """In the last step the loss, or its gradient alone, is not finite."""
    start = draw.normal(2)
    spoilt = Line(start, steps - 1, spoil)
    optimizer = SGD(spoilt.model.named_parameters(), lr=0.05)
    before = oracle.line_training(start, steps - 1, 0.05, None, 0, None)[1]
    given = {f"the {spoil} is infinite at step": steps - 1, "steps": steps}
    try:
        got = subject(spoilt, optimizer, steps)
    except DivergedError:
        sentence = "the weights have moved by an update that is not finite"
        expect(spoilt.model.weight.array, before, given=given, otherwise=sentence)
    except Exception as error:
        if unwritten(error):
            raise
        sentence = f"it raised {type(error).__name__}: {error}"
        raise Wrong(sentence, given, type(error).__name__, "DivergedError") from error
    else:
        sentence = f"it should raise a DivergedError here: the {spoil}'s norm is not finite"
        raise Wrong(sentence.replace("loss's norm", "loss"), given, got, "DivergedError")
