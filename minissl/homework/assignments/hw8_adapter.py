"""Homework 8, adapters: tasks 8.5 and 8.6."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.homework.assignments import hw8_oracle as oracle
from minissl.homework.assignments.hw8_lora import BY_HAND, PARTS
from minissl.homework.task import Draw, Task, Wrong, call, expect

NAMES = ("down", "down_bias", "up", "up_bias")

# ---- 8.5 adapt -----------------------------------------------------------------------------------

adapt = Task("8.5", f"{BY_HAND}:adapt", "a small network behind a layer", PARTS)


def _adapters(draw: Draw, dtype: str = "float64") -> Any:
    """h and the four weights."""

    def more(generator: np.random.Generator) -> tuple[tuple[int, ...], int]:
        *shape, middle = generator.integers(1, 4, 4).tolist()
        return tuple(shape), middle

    for shape, middle in draw.cases(((1, 2), 1), ((3, 2), 4), ((2, 2, 3), 2), ((2,), 3), more=more):
        shapes = ((middle, shape[-1]), (middle,), (shape[-1], middle), (shape[-1],))
        weights = tuple(draw.normal(*s, dtype=dtype) for s in shapes)
        yield draw.normal(*shape, dtype=dtype), weights


def _named(h: NDArray, weights: Any) -> dict[str, Any]:
    return {"h": h, **dict(zip(NAMES, weights))}


@adapt.check(3)
def values(subject: Any, draw: Draw) -> None:
    """h + up · gelu(down · h + down_bias) + up_bias, vector by vector."""
    for h, weights in _adapters(draw):

        def of(**how: Any) -> NDArray:
            return oracle.adapt(h, weights, **how)  # noqa: B023

        symptoms = {
            "h itself is missing: an adapter adds to it": of(stays=0.0),
            "h was added twice": of(stays=2.0),
            "the gelu is missing": of(bend=lambda z: z),
            "this is a relu: the gelu is asked for": of(bend=lambda z: max(z, 0.0)),
            "this is a tanh: the gelu is asked for": of(bend=math.tanh),
            "this is the exact gelu, by erf: the one with tanh is asked for": of(
                bend=lambda z: z / 2 * (1 + math.erf(z / math.sqrt(2)))
            ),
            "this is z · sigmoid(1.702 z): the gelu with tanh is asked for": of(
                bend=lambda z: z / (1 + math.exp(-1.702 * z))
            ),
            "the cube in the gelu is missing": of(
                bend=lambda z: z / 2 * (1 + math.tanh(math.sqrt(2 / math.pi) * z))
            ),
            "down_bias is missing": of(bias=0.0),
            "up_bias is missing": of(up_bias=0.0),
        }
        expect(call(subject, h, weights), of(), given=_named(h, weights), symptoms=symptoms)


@adapt.check(1)
def near_identity(subject: Any, draw: Draw) -> None:
    """With ``up`` and ``up_bias`` 0 it is the identity, in a new array."""
    for h, (down, down_bias, up, up_bias) in _adapters(draw):
        weights = (down, down_bias, 0 * up, 0 * up_bias)
        got = call(subject, h, weights)
        expect(got, h, given=_named(h, weights), otherwise="nothing is added, and h is changed")
        if np.shares_memory(got, h):
            sentence = "the array that was given came back: make a new one"
            raise Wrong(sentence, _named(h, weights), "the argument itself", "a new array")


@adapt.check(2)
def single_precision_and_thousands(subject: Any, draw: Draw) -> None:
    """float32 stays float32; down · h of ±1000 is no overflow."""
    for h, weights in _adapters(draw, "float32"):
        right = oracle.adapt(h, weights).astype(np.float32)
        sentence = "float32 is not kept to the end"
        expect(call(subject, h, weights), right, given=_named(h, weights), otherwise=sentence)
    for size in draw.cases(900.0, more=lambda g: float(g.uniform(800, 1000))):
        h, weights = np.array([[size], [-size], [0.5]]), tuple(
            np.ones(shape) for shape in ((1, 1), 1, (1, 1), 1)
        )  # fmt: skip
        right, got = oracle.adapt(h, weights), np.asarray(call(subject, h, weights))
        sentence = "e¹⁰⁰⁰ is too large for a float: np.tanh knows how"
        if not np.isfinite(got).all():
            raise Wrong(sentence, _named(h, weights), got, right)
        expect(got, right, given=_named(h, weights))


# ---- 8.6 new_adapter -----------------------------------------------------------------------------

new_adapter = Task(
    "8.6",
    f"{BY_HAND}:new_adapter",
    "nearly the identity at first",
    PARTS,
    allows=("!minissl.nn.init:normal",),
)


def _made(subject: Any, draw: Draw, width: int, middle: int) -> tuple[NDArray, ...]:
    got = call(subject, width, middle, draw.generator)
    given = {"width": width, "middle": middle}
    if not isinstance(got, tuple) or len(got) != 4:
        raise Wrong("expected four arrays", given, got, NAMES)
    return tuple(np.asarray(x) for x in got)


@new_adapter.check(2)
def shapes_and_biases(subject: Any, draw: Draw) -> None:
    """Shapes and dtypes in their order; both biases are 0, the matrices are not."""
    for width, middle in draw.cases(
        (3, 2), (2, 5), (1, 1), more=lambda g: tuple(g.integers(1, 9, 2).tolist())
    ):
        given = {"width": width, "middle": middle}
        got = _made(subject, draw, width, middle)
        shapes = ((middle, width), (middle,), (width, middle), (width,))
        found = tuple(x.shape for x in got)
        if found != shapes:
            sentence = f"the shapes are {found}: (down, down_bias, up, up_bias) were asked for"
            raise Wrong(sentence, given, found, shapes)
        for name, x in zip(NAMES, got):
            if x.dtype != np.float32:
                raise Wrong(f"{name} is {x.dtype}: weights are float32", given, x, "float32")
            if name in ("down", "up") and (x == 0).any():
                sentence = (
                    f"{name} has zeros: with down · h = 0, or up = 0, half of it cannot learn"
                )
                raise Wrong(sentence, given, x, "random numbers")
            if name not in ("down", "up") and x.any():
                raise Wrong(f"{name} begins with 0", given, x, np.zeros_like(x))


@new_adapter.check(2)
def small_and_normal(subject: Any, draw: Draw) -> None:
    """Both matrices are normal with deviation 0.01, and independent of each other."""
    for width, middle in draw.cases((120, 90), more=lambda g: (int(g.integers(80, 150)), 100)):
        down, _, up, _ = _made(subject, draw, width, middle)
        given = {"width": width, "middle": middle}
        for name, x in (("down", down), ("up", up)):
            std, mean = float(x.std(dtype=np.float64)), float(x.mean(dtype=np.float64))
            sentence = f"the deviation of {name} is {std:.3g}: it is 0.01 in both"
            if abs(std - 0.01) > 5.5 * 0.01 / math.sqrt(2 * x.size):
                known = {
                    0.0001: " (0.01 is the deviation, not the variance's root's root: 0.01² "
                    "is the variance)",
                    0.1: " (0.01 is the deviation, not the variance)",
                }
                sentence += next((s for k, s in known.items() if abs(std / k - 1) < 0.1), "")
                raise Wrong(sentence, given, std, 0.01)
            if abs(mean) > 5.5 * 0.01 / math.sqrt(x.size):
                raise Wrong(f"the mean of {name} is {mean:.3g}: it is 0", given, mean, 0.0)
            outside = float(np.mean(np.abs(x) > 0.02))
            if abs(outside - 0.0455) > 5.5 * math.sqrt(0.0455 / x.size):
                sentence = f"{name} has the deviation of a normal distribution, and not its tails"
                raise Wrong(sentence, given, f"{outside:.1%} beyond two deviations", "4.6 %")
        same = np.mean(down.ravel() == up.ravel()) + np.mean(down.T.ravel() == up.ravel())
        if same > 0.01:
            raise Wrong("down and up are the same numbers: draw both", given, down, "two draws")


@new_adapter.check(1)
def of_the_generator(subject: Any, draw: Draw) -> None:
    """The same generator gives the same weights, down first; the next adapter is another."""
    seed, given = int(draw.generator.integers(2**31)), {"width": 5, "middle": 3}
    first, again = (call(subject, 5, 3, np.random.default_rng(seed)) for _ in range(2))
    if not all(map(np.array_equal, first, again)):
        sentence = "the same generator gave another answer: draw from the one that is given"
        raise Wrong(sentence, given, again, first)
    generator = np.random.default_rng(seed)
    one, two = (call(subject, 5, 3, generator) for _ in range(2))
    if np.array_equal(one[0], two[0]):
        sentence = "two adapters from one generator are alike: let it go on, make no other"
        raise Wrong(sentence, given, two[0], "another draw")
    if not np.array_equal(one[0], first[0]):
        raise Wrong("the same generator gave another answer", given, one[0], first[0])
