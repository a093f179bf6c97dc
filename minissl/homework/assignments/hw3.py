"""Homework 3: Transformer, recurrent networks and language model. Lectures 05, 06 and 10."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.autograd.tensor import Tensor
from minissl.homework.assignments import hw3_oracle as oracle
from minissl.homework.assignments.again import asked_again
from minissl.homework.assignments.hw3_block import block, split_heads
from minissl.homework.assignments.hw3_loop import loop
from minissl.homework.assignments.hw3_measured import experiment
from minissl.homework.assignments.hw3_model import allowed_keys, attention, gradients
from minissl.homework.assignments.hw3_probabilities import sampling
from minissl.homework.assignments.hw3_recurrent import lstm_cell, lstm_cell_back, windows
from minissl.homework.assignments.hw3_sampling import generate
from minissl.homework.assignments.hw3_training import adamw, nats, schedule
from minissl.homework.guard import ENGINE
from minissl.homework.task import Assignment, Draw, Task, Wrong, call, expect, expect_error

IGNORE = -100


# ---- 3.1 teacher_forcing -------------------------------------------------------------------------

teacher_forcing = Task(
    "3.1",
    "minissl.losses.language_modeling:teacher_forcing",
    "inputs and targets",
    "lecture 05, section 3",
)


@teacher_forcing.check(2)
def one_step_later(subject: Any, draw: Draw) -> None:
    """The targets are the inputs, one step later, along the last axis."""
    asked_again(subject, (np.array([[1, 2, 3]]),), (np.array([[4, 5, 6]]),))
    fixed = [(2,), (3,), (1, 3), (2, 4), (2, 2, 3)]

    def more(generator: np.random.Generator) -> tuple[int, ...]:
        return tuple(generator.integers(2, 6, size=generator.integers(1, 4)))

    for shape in draw.cases(*fixed, more=more):
        windows = draw.generator.permutation(int(np.prod(shape))).reshape(shape).astype(np.uint16)
        got = call(subject, windows)
        given = {"windows": windows}
        if not isinstance(got, tuple) or len(got) != 2:
            raise Wrong("expected two arrays (inputs, targets)", given, got, "two arrays")
        last = np.arange(shape[-1])
        inputs, targets = windows[..., last[:-1]], windows[..., last[1:]]
        wrong = {
            "inputs and targets are exchanged": (targets, inputs),
            "the targets are the inputs: they must be one step later": (inputs, inputs),
            "the targets are those of the step before": (targets, inputs),
            "the last axis is time, not the first": (windows[:-1], windows[1:]),
            "the windows are turned round: what follows the last token is not known": (
                windows,
                np.roll(windows, -1, axis=-1),
            ),
            "the targets are two steps later": (windows[..., last[:-2]], windows[..., last[2:]]),
        }
        for sentence, (first, second) in wrong.items():
            if np.array_equal(got[0], first) and np.array_equal(got[1], second):
                different = (first.shape, second.shape) != (inputs.shape, targets.shape)
                if different or not np.array_equal(first, inputs) or (second != targets).any():
                    raise Wrong(sentence, given, got, (inputs, targets))
        expect(got[0], inputs, given=given, otherwise="the inputs are wrong")
        expect(got[1], targets, given=given, otherwise="the targets are wrong")


@teacher_forcing.check(1)
def too_short(subject: Any, draw: Draw) -> None:
    """A window of one token has nothing to predict: ValueError."""
    for shape in draw.cases((1,), (3, 1), more=lambda g: (int(g.integers(2, 9)), 1)):
        expect_error(ValueError, subject, np.zeros(shape, np.int64))


# ---- 3.2 cross_entropy ---------------------------------------------------------------------------

cross_entropy = Task(
    "3.2",
    "minissl.autograd.composed:cross_entropy",
    "the loss",
    "lecture 05, section 4",
    hides=("int64_on_torch", "namespace"),
    allows=ENGINE,
)


def _logits(draw: Draw, shape: tuple[int, ...], share: float = 0.0) -> tuple[NDArray, NDArray]:
    """Logits (..., classes) and targets, of which about this share is ignored, and never all."""
    targets = draw.generator.integers(0, shape[-1], size=shape[:-1])
    ignored = draw.generator.random(shape[:-1]) < share
    ignored.reshape(-1)[-1:] = False
    return 2 * draw.normal(*shape), np.where(ignored, IGNORE, targets)


def _shape(generator: np.random.Generator) -> tuple[int, ...]:
    return (*generator.integers(1, 5, size=generator.integers(1, 3)), int(generator.integers(2, 6)))


def _check_loss(subject: Any, logits: NDArray, targets: NDArray, **options: Any) -> None:
    given = {"logits": logits, "targets": targets, **options}
    settings = {"reduction": options.get("reduction", "mean")}
    settings["smoothing"] = smoothing = options.get("label_smoothing", 0.0)
    classes = logits.shape[-1]

    def by(**how: Any) -> NDArray:
        return oracle.cross_entropy(logits, targets, **{**settings, **how})

    symptoms = {
        "the sign is missing: the loss is minus the log": -by(),
        "the mean is over all targets, the ignored ones included": by(ignored="divided"),
        "ignored targets count as class 0": by(ignored="class 0, divided"),
        "ignored targets count as class 0, in the sum": by(ignored="class 0"),
        "softmax runs over the wrong axis: the classes are the last one": by(axis=0),
        "the losses are in bits: use the natural logarithm": by() / np.log(2),
        "the reduction is not used: the answer is the mean": by(reduction="mean"),
        "the reduction is not used: the answer is the sum": by(reduction="sum"),
        "the reduction is not used: the answer is the loss of each target": by(reduction="none"),
        "the mean is over classes too": by(reduction="sum") / logits.size,
        "label smoothing is not used": by(smoothing=0.0),
        "label smoothing is the wrong way round: (1 − s) belongs to the target": by(
            smoothing=1 - smoothing
        ),
        "label smoothing leaves the target out: s / classes goes to every class": by(
            smoothing=smoothing * classes / (classes - 1)
        ),
    }
    if settings["reduction"] == "mean":
        rows = np.exp(-oracle.cross_entropy(logits, targets, reduction="none"))
        symptoms["it is the mean probability: the logarithm is missing"] = np.asarray(rows.mean())
    got = call(subject, Tensor(logits), targets, **options)
    expect(got, by(), given=given, symptoms=symptoms)


@cross_entropy.check(2)
def values(subject: Any, draw: Draw) -> None:
    """−log softmax(logits)[target] in nats: the mean, the sum, or each."""
    for shape in draw.cases((1, 2), (2, 2), (2, 3), (2, 3, 4), more=_shape):
        logits, targets = _logits(draw, shape)
        for options in ({}, {"reduction": "sum"}, {"reduction": "none"}):
            _check_loss(subject, logits, targets, **options)


@cross_entropy.check(2)
def ignored_targets(subject: Any, draw: Draw) -> None:
    """Targets of −100 have no loss, and the mean is over the others; 0 when there are none."""
    for shape in draw.cases((2, 3), (4, 3), (2, 4, 3), more=_shape):
        logits, targets = _logits(draw, shape, share=0.5)
        targets.reshape(-1)[:-1][:1] = IGNORE
        for options in ({}, {"reduction": "sum"}, {"reduction": "none"}):
            _check_loss(subject, logits, targets, **options)
        _check_loss(subject, logits, np.full_like(targets, IGNORE))
    logits, targets = _logits(draw, (3, 4))
    expected = oracle.cross_entropy(logits, np.where(targets == 0, IGNORE, targets))
    got = call(subject, Tensor(logits), targets, ignore_index=0)
    given = {"logits": logits, "targets": targets, "ignore_index": 0}
    expect(got, expected, given=given, otherwise="ignore_index is not used")


def _check_large(
    subject: Any,
    logits: NDArray,
    targets: NDArray,
    sentence: str = "exp overflows, or log meets 0: subtract the largest logit first",
) -> None:
    expected = oracle.cross_entropy(logits, targets).astype(logits.dtype)
    got = call(subject, Tensor(logits), targets)
    given = {"logits": logits, "targets": targets}
    if isinstance(got, Tensor) and not np.isfinite(got.numpy()).all():
        raise Wrong(sentence, given, got.numpy(), expected)
    otherwise = "the values are wrong"
    if isinstance(got, Tensor) and got.size == 1 and got.item() < 0.5 * expected:
        otherwise = (
            "a large loss is cut off: nothing may be added to what the logarithm is taken of"
        )
    expect(got, expected, given=given, otherwise=otherwise)


@cross_entropy.check(2)
def large_logits(subject: Any, draw: Draw) -> None:
    """Logits of thousands give the right loss, not infinity or NaN; float32 stays float32."""
    for size in draw.cases(1e3, 1e4, -1e4, more=lambda g: float(g.uniform(-1e4, 1e4))):
        for dtype in (np.float64, np.float32):
            logits = np.array([[1.0, 0.5, -1.0], [0.0, 1.0, 1.0]]) * size
            logits = (logits + draw.normal(2, 1)).astype(dtype)
            targets = np.array([2, 1])
            _check_large(subject, logits, targets)
            apart = logits + np.array([[2 * size], [-2 * size]], dtype)
            _check_large(subject, apart, targets, "a row needs the largest logit of its own row")
    for dtype in (np.float64, np.float32):
        logits, targets = _logits(draw, (3, 4), share=0.3)
        logits = logits.astype(dtype)
        for smoothing, reduction in ((0.0, "mean"), (0.1, "mean"), (0.0, "sum")):
            settings: dict[str, Any] = {"label_smoothing": smoothing, "reduction": reduction}
            got = call(subject, Tensor(logits), targets, **settings)
            given = {"logits": logits, "targets": targets, **settings}
            expected = oracle.cross_entropy(
                logits, targets, smoothing=smoothing, reduction=reduction
            )
            expect(got, expected.astype(dtype), given=given)


@cross_entropy.check(2)
def gradient(subject: Any, draw: Draw) -> None:
    """The gradient is (softmax − onehot) / number of targets, and 0 where ignored."""
    for shape in draw.cases((1, 2), (2, 3), (3, 2, 4), more=_shape):
        logits, targets = _logits(draw, shape, share=0.3)
        given = {"logits": logits, "targets": targets}
        (got,) = gradients(
            lambda x, targets=targets: subject(x, targets), [logits], np.ones(()), given
        )
        slope, count = oracle.cross_entropy_slope(logits, targets), (targets != IGNORE).sum()
        symptoms = {
            "the gradient of the mean is that of the sum": slope,
            "the gradient is divided by all targets, the ignored ones included": (
                slope / targets.size
            ),
            "the gradient is softmax alone: − onehot is missing": (
                oracle.cross_entropy_slope(logits, targets, onehot=0) / count
            ),
            "the gradient is − onehot alone: that of the log of the sum is missing": (
                oracle.cross_entropy_slope(logits, targets, probabilities=0) / count
            ),
        }
        expect(got, slope / count, given=given, symptoms=symptoms)
        _check_slopes(subject, logits, targets)


def _check_slopes(subject: Any, logits: NDArray, targets: NDArray) -> None:
    """The gradients of the sum, and of the mean with label smoothing."""
    slope, kept = oracle.cross_entropy_slope(logits, targets), targets != IGNORE
    given: dict[str, Any] = {"logits": logits, "targets": targets}
    summed = given | {"reduction": "sum"}
    (got,) = gradients(_with(subject, targets, reduction="sum"), [logits], np.ones(()), summed)
    symptoms = {"the gradient of the sum is that of the mean": slope / kept.sum()}
    expect(got, slope, given=summed, symptoms=symptoms)
    even = (kept / kept.sum())[..., None]
    smooth = slope / kept.sum() + 0.2 * even * (
        (np.where(kept, targets, -1)[..., None] == np.arange(logits.shape[-1]))
        - 1 / logits.shape[-1]
    )
    given |= {"label_smoothing": 0.2}
    (got,) = gradients(_with(subject, targets, label_smoothing=0.2), [logits], np.ones(()), given)
    alone = 0.8 * slope / kept.sum()
    symptoms = {
        "what is added by label smoothing has no gradient": alone,
        "label smoothing is not in the gradient": slope / kept.sum(),
    }
    expect(got, smooth, given=given, symptoms=symptoms)


def _with(subject: Any, targets: NDArray, **settings: Any) -> Any:
    return lambda logits: subject(logits, targets, **settings)


@cross_entropy.check(1)
def label_smoothing(subject: Any, draw: Draw) -> None:
    """With smoothing s the target has 1 − s + s / classes, every other class s / classes."""
    for shape in draw.cases((1, 2), (2, 3), (2, 3, 4), more=_shape):
        logits, targets = _logits(draw, shape, share=0.3)
        for reduction in ("mean", "none"):
            _check_loss(subject, logits, targets, label_smoothing=0.2, reduction=reduction)


ASSIGNMENT = Assignment(
    3,
    "Transformer, recurrent networks and language model",
    (
        teacher_forcing,
        cross_entropy,
        allowed_keys,
        attention,
        split_heads,
        block,
        sampling,
        generate,
        lstm_cell,
        lstm_cell_back,
        windows,
        adamw,
        schedule,
        loop,
        nats,
    ),
    experiment,
)
