"""Homework 3, training a language model and measuring it: tasks 3.12 to 3.15."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.autograd import operations as ops
from minissl.autograd.tensor import Tensor
from minissl.homework.assignments import hw3_training_oracle as oracle
from minissl.homework.assignments.hw3_sampling import random_gpt
from minissl.homework.task import Draw, Task, Wrong, call, expect, expect_error, unwritten
from minissl.nn.module import Module, Parameter
from minissl.optim import SGD
from minissl.training.run import DivergedError

# ---- 3.12 adamw_update ---------------------------------------------------------------------------

adamw = Task(
    "3.12",
    "minissl.autograd.composed:adamw_update",
    "a step of AdamW",
    "lectures/10, section 2",
    hides=("namespace",),
)
NAMES = ("parameter", "gradient", "first_moment", "second_moment")


def _settings(**changes: Any) -> dict[str, Any]:
    usual = {"step": 1, "lr": 0.1, "betas": (0.8, 0.95), "eps": 0.01, "weight_decay": 0.0}
    return usual | changes


def _check_update(
    subject: Any, arrays: list[NDArray], settings: dict[str, Any], tolerance: float = 1e-9
) -> None:
    """p, m and v after one update, from copies of these arrays."""
    dtype = arrays[0].dtype
    given = dict(zip(NAMES, arrays)) | settings
    p, g, m, v = mine = [a.copy() for a in arrays]
    try:
        returned = subject(*mine, **settings)
    except Exception as error:
        if unwritten(error):
            raise
        sentence = f"it raised {type(error).__name__}: {error}"
        raise Wrong(sentence, given, type(error).__name__, "an update in place") from error
    if returned is not None:
        sentence = "it returns something: write into the arrays that are given, and return None"
        raise Wrong(sentence, given, returned, None)
    if not np.array_equal(g, arrays[1]):
        raise Wrong("it changed the gradient, which is only read", given, g, arrays[1])

    def by(how: str = "right") -> list[NDArray]:
        return [a.astype(dtype) for a in oracle.adamw(*arrays, **settings, how=how)]

    right = by()
    wrong = {sentence: by(how) for sentence, how in oracle.ADAMW_MISTAKES.items()}
    still = "has not changed: write into the array, with *= and -= or p[...] = ..."
    for k, name, got in ((1, "first_moment", m), (2, "second_moment", v), (0, "parameter", p)):
        symptoms = {sentence: values[k] for sentence, values in wrong.items()}
        symptoms[f"{name} {still}"] = arrays[(0, 2, 3)[k]]
        otherwise = f"{name} is wrong after the update"
        expect(
            got, right[k], given=given, symptoms=symptoms, otherwise=otherwise, tolerance=tolerance
        )


def _arrays(draw: Draw, shape: tuple[int, ...], dtype: Any = np.float64) -> list[NDArray]:
    p, g, m = (draw.normal(*shape, dtype=dtype) for _ in range(3))
    return [p, g, m, draw.normal(*shape, dtype=dtype) ** 2]


def _shape(generator: np.random.Generator) -> tuple[int, ...]:
    return tuple(generator.integers(1, 4, size=generator.integers(1, 3)).tolist())


@adamw.check(2)
def from_zero(subject: Any, draw: Draw) -> None:
    """The first step: the moments begin with zeros, and the corrections make up for it."""
    for shape in draw.cases((1,), (3,), (2, 2), more=_shape):
        p, g, _, _ = _arrays(draw, shape)
        _check_update(subject, [p, g, np.zeros(shape), np.zeros(shape)], _settings())


@adamw.check(1)
def later_steps(subject: Any, draw: Draw) -> None:
    """m and v go on, and are written into their arrays; the corrections use the step."""
    for step in draw.cases(2, 7, 1000, more=lambda g: int(g.integers(2, 50))):
        _check_update(subject, _arrays(draw, (2, 2)), _settings(step=step))


@adamw.check(1)
def decoupled_decay(subject: Any, draw: Draw) -> None:
    """The parameter shrinks by lr · weight_decay, and the moments know nothing of it."""
    for decay in draw.cases(0.5, 2.0, more=lambda g: float(g.uniform(0.1, 3))):
        _check_update(subject, _arrays(draw, (3,)), _settings(step=3, weight_decay=decay))


@adamw.check(1)
def small_numbers(subject: Any, draw: Draw) -> None:
    """A gradient of zeros gives no NaN, at the usual eps; float32 stays float32."""
    for size in draw.cases(0.0, 1e-3, more=lambda g: float(g.uniform(0, 1))):
        p, g, m, v = _arrays(draw, (2, 2), np.float32)
        usual = _settings(betas=(0.9, 0.999), eps=1e-8, weight_decay=0.1)
        g *= np.float32(size)
        _check_update(subject, [p, g, 0 * m, 0 * v], usual, tolerance=1e-5)


# ---- 3.13 warmup_cosine --------------------------------------------------------------------------

schedule = Task(
    "3.13",
    "minissl.optim.schedule:warmup_cosine",
    "the learning rate",
    "lectures/10, section 2",
    hides=("_progress",),
)


def _check_rate(subject: Any, step: int, warmup: int, total: int, final: float = 0.0) -> None:
    settings = {"peak": 0.8, "warmup_steps": warmup, "total_steps": total, "final": final}
    given = {"step": step, **settings}
    symptoms = {
        sentence: oracle.rate(step, 0.8, warmup, total, final, how)
        for sentence, how in oracle.RATE_MISTAKES.items()
    }
    right = oracle.rate(step, 0.8, warmup, total, final)
    expect(np.asarray(call(subject, step, **settings)), right, given=given, symptoms=symptoms)


@schedule.check(1)
def warming_up(subject: Any, draw: Draw) -> None:
    """In a line from one stride above 0 to the peak, which is reached at warmup_steps."""
    for warmup in draw.cases(3, 1, 4, more=lambda g: int(g.integers(2, 20))):
        for step in range(warmup + 1):
            _check_rate(subject, step, warmup, 3 * warmup + 2)


@schedule.check(1)
def half_a_cosine(subject: Any, draw: Draw) -> None:
    """Half a cosine from the peak to ``final``, over the steps after the warm-up."""
    for warmup, total in draw.cases(
        (0, 4), (2, 6), (3, 10), more=lambda g: (int(g.integers(9)), 17)
    ):
        for step in range(warmup, total):
            _check_rate(subject, step, warmup, total)
            _check_rate(subject, step, warmup, total, final=0.2)


@schedule.check(1)
def ends(subject: Any, draw: Draw) -> None:
    """From total_steps on it is ``final``; ValueError unless 0 ≤ warmup_steps < total_steps."""
    for step in draw.cases(6, 7, 9, 100, more=lambda g: int(g.integers(6, 50))):
        _check_rate(subject, step, 2, 6, final=0.1)
    for warmup, total in ((4, 4), (5, 4), (-1, 4), (0, 0)):
        expect_error(ValueError, subject, 0, peak=1.0, warmup_steps=warmup, total_steps=total)


# ---- 3.14 plain_loop -----------------------------------------------------------------------------

loop = Task(
    "3.14",
    "minissl.training.plain:plain_loop",
    "the training loop",
    "lectures/01, section 4",
)


class Weight(Module):
    """What a line is: a weight (width,)."""

    def __init__(self, start: NDArray):
        self.weight = Parameter(start.copy())


class Line:
    """Least squares by one weight per number: the mean of (w · x − y)², and noise for dropout.

    ``seen``: in which mode the model was when its loss was computed. A method of the checks.
    """

    def __init__(self, start: NDArray, spoil_at: int | None = None):
        self.model = Weight(start)
        self.model.eval()
        self.spoil_at, self.seen = spoil_at, list[bool]()

    def batch(self, generator: np.random.Generator) -> Any:
        """(4, width) numbers and what the line should say of them."""
        return oracle.line_batch(generator, self.model.weight.size)

    def loss(self, batch: Any, generator: np.random.Generator) -> Tensor:
        """The mean square, with noise added to x that is drawn after the batch."""
        x, y = batch
        self.seen.append(self.model.training)
        noisy = x + oracle.line_noise(generator, x)
        error = ops.matmul(noisy, self.model.weight) - y
        spoilt = self.spoil_at == len(self.seen) - 1
        return (error * error).mean() * (math.inf if spoilt else 1.0)

    def represent(self, examples: Any) -> Any:
        """Not asked for here."""
        return examples


class MovingLine(Line):
    """A line that counts how often it was told of an update."""

    told: list[int]

    def after_step(self, done: int) -> None:
        """Called after each update."""
        self.told = [*getattr(self, "told", []), done]


def _near(got: NDArray, expected: NDArray) -> bool:
    """Right; if not, it is worth the time to find out what is wrong."""
    return got.shape == expected.shape and np.allclose(got, expected, rtol=1e-10, atol=0)


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
    if not (_near(found, losses) and _near(method.model.weight.array, weight)):
        wrong = {sentence: by(how) for sentence, how in oracle.LOOP_MISTAKES.items()}
    symptoms = {sentence: values[0] for sentence, values in wrong.items()}
    expect(found, losses, given=given, symptoms=symptoms, otherwise="the losses are wrong")
    if not all(type(x) is float for x in got):
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
    for width, steps in draw.cases(
        (1, 1), (1, 3), (3, 4), more=lambda g: (2, int(g.integers(2, 6)))
    ):
        _check_loop(subject, draw, width, steps, seed=int(draw.generator.integers(5)))


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
        spoilt = Line(draw.normal(2), spoil_at=steps - 1)
        optimizer = SGD(spoilt.model.named_parameters(), lr=0.05)
        before = oracle.line_training(
            spoilt.model.weight.array.copy(), steps - 1, 0.05, None, 0, None
        )[1]
        expect_error(DivergedError, subject, spoilt, optimizer, steps)
        given = {"the loss is infinite at step": steps - 1}
        sentence = "the weights have moved by an update that is not finite"
        expect(spoilt.model.weight.array, before, given=given, otherwise=sentence)


# ---- 3.15 stream_nats ----------------------------------------------------------------------------

nats = Task(
    "3.15",
    "minissl.models.held_out:stream_nats",
    "measure it on held-out text",
    "lectures/05, section 8",
)


def _check_nats(
    subject: Any, draw: Draw, size: int, context: int, *, dropout: float = 0.0, **options: Any
) -> Any:
    model = random_gpt(draw, context=context, dropout=dropout)
    stream = draw.generator.integers(0, 7, size)
    stride = options.get("stride")
    shown = {"model": "a random GPT", "context_length": context, "stream": stream, **options}

    def by(how: str = "right", **other: Any) -> NDArray:
        return oracle.stream_nats(log_probabilities, stream, context, stride, how, **other)

    table: dict[bytes, NDArray] = {}

    def log_probabilities(tokens: NDArray) -> NDArray:
        if (key := tokens.tobytes()) not in table:
            table[key] = oracle.log_probabilities(model, tokens)
        return table[key]

    right, symptoms = by(), dict[str, NDArray]()
    got = call(subject, model, stream, **options)
    if not (isinstance(got, float) and _near(np.asarray(got), right)):
        symptoms = {sentence: by(how) for sentence, how in oracle.NATS_MISTAKES.items()}
        symptoms["this is the mean: the sum over all tokens is asked for"] = right / (size - 1)
        symptoms["this is in bits: use the natural logarithm"] = right / math.log(2)
    otherwise = "the sum is wrong"
    if isinstance(got, Tensor):
        raise Wrong("expected a Python number: .item()", shown, got, float(right))
    expect(np.asarray(got), right, given=shown, symptoms=symptoms, otherwise=otherwise)
    return model


@nats.check(1)
def one_window(subject: Any, draw: Draw) -> None:
    """A stream that fits into one window: −Σ ln p of every token but the first."""
    for size in draw.cases(2, 3, 5, more=lambda g: int(g.integers(2, 7))):
        _check_nats(subject, draw, size, 6)


@nats.check(2)
def every_token_once(subject: Any, draw: Draw) -> None:
    """Windows begin every ``stride`` tokens, and each counts what the one before has not."""
    fixed = [(7, 4, 2), (9, 4, 4), (10, 4, 3), (8, 4, 1)]

    def more(generator: np.random.Generator) -> tuple[int, int, int]:
        context = int(generator.integers(2, 6))
        return int(generator.integers(5, 20)), context, int(generator.integers(1, context + 1))

    for size, context, stride in draw.cases(*fixed, more=more):
        _check_nats(subject, draw, size, context, stride=stride)


@nats.check(1)
def half_a_context(subject: Any, draw: Draw) -> None:
    """Without a stride windows begin every half context; the batch size changes nothing."""
    for size, context in draw.cases(
        (9, 4), (12, 5), (4, 1), more=lambda g: (15, int(g.integers(2, 8)))
    ):
        _check_nats(subject, draw, size, context)
        _check_nats(subject, draw, size, context, batch_size=1)
        _check_nats(subject, draw, size, context, batch_size=2)


@nats.check(1)
def mode_and_errors(subject: Any, draw: Draw) -> None:
    """Evaluation mode, and back again; ValueError for a stride beyond the context, or below 1."""
    for size in draw.cases(9, more=lambda g: int(g.integers(5, 12))):
        model = _check_nats(subject, draw, size, 4, dropout=0.5)
        if not model.training:
            given = {"model.training before": True}
            sentence = "the model is left in evaluation mode: give it back as it was"
            raise Wrong(sentence, given, model.training, True)
    for stride in (0, 5, -1):
        expect_error(ValueError, subject, model, np.arange(7), stride=stride)
