"""Homework 1, the walk back: gradients by closed forms."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.autograd.tensor import Tensor
from minissl.homework.assignments.hw1_graphs import DEEP, DOUBLINGS, HERE
from minissl.homework.task import Draw, Task, Wrong, call, expect

walk_back = Task(
    "1.8",
    "minissl.autograd.nodes:walk_back",
    "the walk back",
    HERE,
    hides=("Sums", "Rows", "memory", "is_repeated"),
    allows=("minissl.autograd.nodes:_conform",),
)


def _walk(subject: Any, program: str, root: Tensor, g: NDArray, leaves: dict[str, Tensor]) -> Any:
    """The gradients that the walk yields, by the name of their leaf."""
    given = {"program": program, **{name: leaf.array for name, leaf in leaves.items()}, "seed": g}
    pairs = call(lambda root, seed: list(subject(root, seed)), root.node or root, seed=g)
    names = {id(leaf): name for name, leaf in leaves.items()}
    try:
        got = [(names.get(id(leaf), leaf), gradient) for leaf, gradient in pairs]
    except (TypeError, ValueError):
        raise Wrong("it must yield pairs (leaf, gradient)", given, pairs, list(leaves)) from None
    found = [name for name, _ in got]
    for other in (leaf for leaf in found if not isinstance(leaf, str)):
        sentence = "it must yield pairs (leaf, gradient): this is no leaf"
        if isinstance(other, Tensor):
            sentence = "a tensor is yielded that is not in this graph: is an earlier walk kept?"
        raise Wrong(sentence, given, other, list(leaves))
    for name, leaf in leaves.items():
        if found.count(name) > 1:
            sentence = f"{name} is yielded {found.count(name)} times: wait for its last use"
            raise Wrong(sentence, given, found, list(leaves))
        if name not in found:
            raise Wrong(f"{name} is not yielded", given, found, list(leaves))
        if leaf.grad is not None:
            sentence = (
                f"it sets {name}.grad: backward() adds what you yield, which then counts twice"
            )
            raise Wrong(sentence, given, leaf.grad, None)
    return dict(got)


def _expect_own_array(name: str, gradient: Any, given: Mapping[str, Any]) -> None:
    """A gradient that its leaf may change, each element for itself."""
    if not isinstance(gradient, np.ndarray) or gradient.ndim == 0:
        return
    if not gradient.flags.writeable or (0 in gradient.strides and gradient.size > 1):
        sentence = (
            f"the gradient of {name} is a view in which one place in memory stands for several "
            "elements, and cannot be written into: a leaf needs a copy"
        )
        raise Wrong(sentence, {**given, "leaf": name}, gradient, "an array of its own")


def _expect_gradients(
    subject: Any, program: str, leaves: dict[str, NDArray], run: Any, slopes: Any, draw: Draw
) -> None:
    """Walk back from ``run(**leaves)``; ``slopes(g, **leaves)`` is the closed form."""
    tensors = {name: Tensor(array, requires_grad=True) for name, array in leaves.items()}
    root = run(**tensors)
    g = draw.normal(*root.shape)
    got = _walk(subject, program, root, g, tensors)
    expected = dict(zip(leaves, slopes(g, **leaves), strict=True))
    ones = dict(zip(leaves, slopes(np.ones_like(g), **leaves), strict=True))
    for name in leaves:
        given = {"program": program, **leaves, "seed": g, "leaf": name}
        right = np.asarray(expected[name])
        symptoms = {"the walk starts from ones: it must start from seed": ones[name]}
        sentence = f"the gradient of {name} is wrong: do all its uses count, each once?"
        if np.shape(got[name]) == right.shape:
            if np.allclose(got[name], right, rtol=1e-6, atol=0):
                sentence = f"the gradient of {name} has lost digits: was a sum made in float32?"
            for times, part in ((2, "a half"), (3, "a third")):
                if right.any() and np.allclose(got[name] * times, right, rtol=1e-9, atol=0):
                    sentence = (
                        f"the gradient of {name} is {part} of what it should be: do all its uses "
                        "count, each once? Their gradients add up, a mean is not meant"
                    )
        expect(got[name], right, given=given, symptoms=symptoms, otherwise=sentence)
        _expect_own_array(name, got[name], given)


@walk_back.check(2)
def one_path(subject: Any, draw: Draw) -> None:
    """Every leaf is used once: slopes are multiplied along the path, zero or not."""
    x, y = draw.normal(3), draw.normal(3)
    _expect_gradients(subject, "L = 3 x", {"x": x}, lambda x: 3 * x, lambda g, x: [3 * g], draw)
    _expect_gradients(
        subject, "L = (3 x)²", {"x": x}, lambda x: (3 * x) ** 2, lambda g, x: [18 * g * x], draw
    )
    _expect_gradients(
        subject,
        "L = (2 x) y",
        {"x": x, "y": y},
        lambda x, y: (2 * x) * y,
        lambda g, x, y: [2 * g * y, 2 * g * x],
        draw,
    )
    _expect_gradients(subject, "L = 0 x", {"x": x}, lambda x: 0 * x, lambda g, x: [0 * g], draw)
    equal = {"x": x, "y": x.copy()}
    _expect_gradients(
        subject, "L = x + 2 y", equal, lambda x, y: x + 2 * y, lambda g, x, y: [g, 2 * g], draw
    )
    leaf, g = Tensor(draw.normal(2), requires_grad=True), draw.normal(2)
    got = _walk(subject, "L = x: the root is a leaf", leaf, g, {"x": leaf})
    expect(got["x"], g, given={"program": "L = x", "seed": g})
    if np.shares_memory(got["x"], g):
        sentence = "gradients share memory: this leaf got the seed itself, not a copy"
        raise Wrong(sentence, {"program": "L = x", "seed": g}, got["x"], "an array of its own")


@walk_back.check(3)
def several_uses(subject: Any, draw: Draw) -> None:
    """What was used several times gets the sum, and sends it on when all has arrived."""
    x, y = draw.normal(3), draw.normal(3)
    programs: list[tuple[str, Any, Any]] = [
        ("L = x x", lambda x: x * x, lambda g, x: [2 * g * x]),
        ("y = 3x, L = (2y) y²", lambda x: _diamond(3 * x), lambda g, x: [162 * g * x**2]),
        ("y = 3x, L = y + (y + y)", lambda x: _nested(3 * x), lambda g, x: [9 * g]),
        ("y = 3x, L = (y + y) + y", lambda x: _nested(3 * x, True), lambda g, x: [9 * g]),
    ]
    for program, run, slopes in programs:
        _expect_gradients(subject, program, {"x": x}, run, slopes, draw)
    _expect_gradients(
        subject,
        "L = (x y + x) x",
        {"x": x, "y": y},
        lambda x, y: (x * y + x) * x,
        lambda g, x, y: [g * (2 * x * y + 2 * x), g * x * x],
        draw,
    )

    longer = draw.normal(4)
    _expect_gradients(
        subject,
        "L = x[:-1] x[1:]",
        {"x": longer},
        lambda x: x[:-1] * x[1:],
        lambda g, x: [np.append(g * x[1:], 0) + np.append(0, g * x[:-1])],
        draw,
    )
    again, g = Tensor(x, requires_grad=True), draw.normal(3)
    for times in (2, 5):  # one leaf in two graphs
        program = f"L = {times} x, the second graph of this x" if times == 5 else "L = 2 x"
        got = _walk(subject, program, times * again, g, {"x": again})
        kept = {"the gradient of an earlier walk is still there": 7 * g}
        expect(got["x"], times * g, given={"program": program, "seed": g}, symptoms=kept)


def _diamond(y: Tensor) -> Tensor:
    return (2 * y) * y**2


def _nested(y: Tensor, left: bool = False) -> Tensor:
    return (y * 1.0 + y) + y if left else y + (y * 1.0 + y)


@walk_back.check(2)
def shapes(subject: Any, draw: Draw) -> None:
    """A gradient has its leaf's shape and dtype, whatever was broadcast or summed."""
    table = draw.normal(2, 3)
    _expect_gradients(
        subject,
        "L = sum(x)",
        {"x": table},
        lambda x: x.sum(),
        lambda g, x: [np.broadcast_to(g, x.shape)],
        draw,
    )
    fixed: list[tuple[tuple[int, ...], tuple[int, ...]]]
    fixed = [((2, 3), (3,)), ((2, 3), (2, 1)), ((2, 3), ())]
    for left, right in draw.cases(*fixed, more=_pair):
        leaves = {"x": draw.normal(*left), "b": draw.normal(*right)}
        times = math.prod(left) / math.prod(right)
        tensors = {name: Tensor(array, requires_grad=True) for name, array in leaves.items()}
        g = np.ones(left)
        got = _walk(subject, "L = x + b", tensors["x"] + tensors["b"], g, tensors)
        given = {"program": "L = x + b", **leaves, "seed": g}
        expect(got["b"], np.full(right, times), given=given)
    x = Tensor(draw.normal(2, dtype=np.float32), requires_grad=True)
    got = _walk(subject, "L = x as float64", x.astype(np.float64), np.ones(2), {"x": x})
    expect(got["x"], np.ones(2, np.float32), given={"program": "L = x.astype(float64)"})


def _pair(generator: np.random.Generator) -> tuple[tuple[int, ...], tuple[int, ...]]:
    rows, columns = (int(n) for n in generator.integers(1, 4, size=2))
    return (rows, columns), [(columns,), (rows, 1), (1, columns), ()][generator.integers(4)]


@walk_back.check(2)
def no_shared_memory(subject: Any, draw: Draw) -> None:
    """A sum into one gradient must not change another: c = a + b hands the same g to both."""
    for program, run, times in (
        ("L = (a + b) + a", lambda a, b: (a + b) + a, (2, 1)),
        ("L = a + (a + b)", lambda a, b: a + (a + b), (2, 1)),
        ("L = (b + a) + (a + a)", lambda a, b: (b + a) + (a + a), (3, 1)),
        ("L = a + b", lambda a, b: a + b, (1, 1)),
    ):
        leaves = {name: Tensor(draw.normal(2), requires_grad=True) for name in "ab"}
        g = draw.normal(2)
        got = _walk(subject, program, run(**leaves), g, leaves)
        given = {"program": program, "seed": g}
        for name, factor in zip("ab", times):
            sentence = f"the gradient of {name} is wrong: was an array changed that others hold?"
            expect(got[name], factor * g, given={**given, "leaf": name}, otherwise=sentence)
        if any(
            np.shares_memory(got[name], other)
            for name, other in (("a", got["b"]), ("a", g), ("b", g))
        ):
            sentence = "gradients share memory: whoever changes one in place changes the other"
            raise Wrong(sentence, given, got, "an array of its own for each leaf")


@walk_back.check(3)
def deep_and_wide(subject: Any, draw: Draw) -> None:
    """Ten thousand additions in a row, and y = y + y sixty times, at once."""
    x = Tensor(np.ones(1), requires_grad=True)
    y = x
    for _ in range(DOUBLINGS):
        y = y + y
    got = _walk(subject, "y = y + y, sixty times", y, np.ones(1), {"x": x})
    expect(got["x"], np.array([2.0**DOUBLINGS]), given={"program": "y = y + y, sixty times"})
    y = x
    for _ in range(DEEP):
        y = y + 1.0
    got = _walk(subject, f"y = y + 1, {DEEP} times", y, np.ones(1), {"x": x})
    expect(got["x"], np.ones(1), given={"program": f"y = y + 1, {DEEP} times"})
