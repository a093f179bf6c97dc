"""Homework 3, training a language model and measuring it: tasks 3.12, 3.13 and 3.15."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.autograd.tensor import Tensor
from minissl.homework.assignments import hw3_training_oracle as oracle
from minissl.homework.assignments.hw3_sampling import random_gpt, unwatched
from minissl.homework.guard import ENGINE
from minissl.homework.task import Draw, Task, Wrong, call, expect, expect_error, unwritten


def near(got: NDArray, expected: NDArray) -> bool:
    """Right; if not, it is worth the time to find out what is wrong."""
    return got.shape == expected.shape and np.allclose(got, expected, rtol=1e-10, atol=0)


# ---- 3.12 adamw_update ---------------------------------------------------------------------------

adamw = Task(
    "3.12",
    "minissl.autograd.composed:adamw_update",
    "a step of AdamW",
    "lecture 10, section 2",
    hides=("namespace",),
)
NAMES = ("parameter", "gradient", "first_moment", "second_moment")


def _settings(**changes: Any) -> dict[str, Any]:
    usual = {"step": 1, "lr": 0.1, "betas": (0.8, 0.95), "eps": 0.01, "weight_decay": 0.0}
    return usual | changes


TRANSPOSED = "; of a transposed array reshape and ravel make a copy, so write into it as it is"


def _check_update(
    subject: Any, arrays: list[NDArray], settings: dict[str, Any], note: str = ""
) -> None:
    """p, m and v after one update, from copies of these arrays."""
    dtype = arrays[0].dtype
    given = dict(zip(NAMES, arrays)) | settings
    p, g, m, v = mine = [a.copy(order="K") for a in arrays]
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
    wrong: dict[str, list[NDArray]] = {}
    if not all(near(got, value) for got, value in zip((p, m, v), right)):
        wrong = {sentence: by(how) for sentence, how in oracle.ADAMW_MISTAKES.items()}
    still = f"has not changed: write into the array, with *= and -= or p[...] = ...{note}"
    for k, name, got in ((1, "first_moment", m), (2, "second_moment", v), (0, "parameter", p)):
        symptoms = {sentence: values[k] for sentence, values in wrong.items()}
        symptoms[f"{name} {still}"] = arrays[(0, 2, 3)[k]]
        otherwise = f"{name} is wrong after the update"
        expect(got, right[k], given=given, symptoms=symptoms, otherwise=otherwise)


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
    _check_update(subject, [a.T for a in _arrays(draw, (2, 3))], _settings(step=3), TRANSPOSED)


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
        _check_update(subject, [p, g, 0 * m, 0 * v], usual)


# ---- 3.13 warmup_cosine --------------------------------------------------------------------------

schedule = Task(
    "3.13",
    "minissl.optim.schedule:warmup_cosine",
    "the learning rate",
    "lecture 10, section 2",
    hides=("_progress",),
)


def _check_rate(subject: Any, step: int, warmup: int, total: int, final: float = 0.0) -> None:
    settings = {"peak": 0.8, "warmup_steps": warmup, "total_steps": total, "final": final}
    given = {"step": step, **settings}
    right = oracle.rate(step, 0.8, warmup, total, final)
    got, symptoms = np.asarray(call(subject, step, **settings)), dict[str, NDArray]()
    if not near(got, right):
        symptoms = {
            sentence: oracle.rate(step, 0.8, warmup, total, final, how)
            for sentence, how in oracle.RATE_MISTAKES.items()
        }
    expect(got, right, given=given, symptoms=symptoms)


@schedule.check(1)
def warming_up(subject: Any, draw: Draw) -> None:
    """In a line from one stride above 0 to the peak, which is reached at warmup_steps."""
    for warmup in draw.cases(3, 1, 4, more=lambda g: int(g.integers(2, 20))):
        for step in range(warmup + 1):
            _check_rate(subject, step, warmup, 3 * warmup + 2)
            _check_rate(subject, step, warmup, 3 * warmup + 2, final=0.2)


@schedule.check(1)
def half_a_cosine(subject: Any, draw: Draw) -> None:
    """Half a cosine from the peak to ``final``, over the steps after the warm-up."""
    for warmup, total in draw.cases(
        (0, 5), (2, 6), (3, 10), more=lambda g: (int(g.integers(9)), 17)
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


# ---- 3.15 stream_nats ----------------------------------------------------------------------------

nats = Task(
    "3.15",
    "minissl.models.held_out:stream_nats",
    "measure it on held-out text",
    "lecture 05, section 8",
    allows=(*ENGINE, "GPT.*", "Module.*", "no_grad"),
)


def _check_nats(
    subject: Any,
    draw: Draw,
    size: int,
    context: int,
    *,
    dropout: float = 0.0,
    dtype: Any = np.int64,
    **options: Any,
) -> Any:
    model = random_gpt(draw, context=context, dropout=dropout)
    stream = draw.generator.integers(0, 7, size).astype(dtype)
    stride = options.get("stride")
    shown = {"model": "a random GPT", "context_length": context, "stream": stream, **options}

    def by(how: str = "right", **other: Any) -> NDArray:
        return oracle.stream_nats(log_probabilities, stream, context, stride, how, **other)

    table: dict[bytes, NDArray] = {}

    def log_probabilities(tokens: NDArray) -> NDArray:
        if (key := tokens.tobytes()) not in table:
            with unwatched():
                table[key] = oracle.log_probabilities(model, tokens)
        return table[key]

    right, symptoms = by(), dict[str, NDArray]()
    got = call(subject, model, stream, **options)
    if not (isinstance(got, float) and near(np.asarray(got), right)):
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
    """A stream that fits into one window: −Σ ln p of every token but the first; uint8 as well."""
    for size in draw.cases(2, 3, 5, more=lambda g: int(g.integers(2, 7))):
        _check_nats(subject, draw, size, 6)
    for size in (5, 9):
        _check_nats(subject, draw, size, 4, dtype=np.uint8)


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
        _check_nats(subject, draw, size, context, batch_size=1 + size % 2)


@nats.check(1)
def mode_and_errors(subject: Any, draw: Draw) -> None:
    """Evaluation mode, and back again; ValueError for a stride beyond the context, or below 1."""
    for size in draw.cases(9, more=lambda g: int(g.integers(5, 12))):
        model = _check_nats(subject, draw, size, 4, dropout=0.5)
        if not model.training:
            given = {"model.training before": True}
            sentence = "the model is left in evaluation mode: give it back as it was"
            raise Wrong(sentence, given, model.training, True)
        call(subject, model.eval(), np.arange(4))
        if model.training:
            sentence = "the model was in evaluation mode, and is left in training mode"
            raise Wrong(sentence, {"model.training before": False}, True, False)
    for stride in (0, 5, -1):
        expect_error(ValueError, subject, model, np.arange(7), stride=stride)
