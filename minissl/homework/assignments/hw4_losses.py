"""Homework 4, unit vectors and the loss on the board. Lecture 12."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.autograd import operations as ops
from minissl.autograd.tensor import Tensor
from minissl.homework.assignments import hw4_oracle as oracle
from minissl.homework.assignments.differences import check_gradients
from minissl.homework.guard import ENGINE
from minissl.homework.task import Draw, Task, Wrong, call, expect, expect_error

LOSSES = "minissl.losses.contrastive"
# The library's own operations for these losses, what they need, and what several processes need.
HIDDEN = (
    "fused", "unit_vectors", "contrastive_cross_entropy", "gather_rows", "namespace", "_single",
)  # fmt: skip

normalize = Task(
    "4.1",
    f"{LOSSES}:normalize",
    "unit vectors",
    "lecture 12, section 4",
    hides=HIDDEN,
    allows=ENGINE,
)
simclr_cs229 = Task(
    "4.2",
    f"{LOSSES}:simclr_cs229",
    "the board's loss",
    "lecture 12, section 3",
    hides=HIDDEN,
    allows=ENGINE,
)


def pairs(draw: Draw) -> Iterator[tuple[NDArray, NDArray]]:
    """Batches of two views, the smallest first: (a, b)."""
    shapes = draw.cases(
        (2, 2), (3, 5), (1, 3), more=lambda g: (int(g.integers(2, 9)), int(g.integers(2, 12)))
    )
    return ((draw.normal(*shape), draw.normal(*shape)) for shape in shapes)


def scalar(function: Any, /, *arguments: Any, **options: Any) -> Any:
    """What a loss gives. Raises Wrong when it is no Tensor: then it can have no gradient."""
    got = call(function, *arguments, **options)
    if not isinstance(got, Tensor):
        given = {f"argument {i + 1}": a for i, a in enumerate(arguments)}
        sentence = f"expected a Tensor, got {type(got).__name__}: a loss needs a gradient"
        raise Wrong(sentence, given, got, "a Tensor")
    return got


# ---- 4.1 normalize -------------------------------------------------------------------------------


@normalize.check(2)
def rows_have_length_one(normalize: Any, draw: Draw) -> None:
    """Every row is divided by its own length: along the last axis, however short it is."""
    for shape in ((2, 2), (2, 2), (3, 5), (4,), (2, 3, 4), (1, 3), (3, 1)):
        x, before = draw.normal(*shape), draw.normal(*shape)
        earlier = call(normalize, Tensor(before)).numpy()
        length = np.linalg.norm(before, axis=-1, keepdims=True)
        kept = x / length  # what a memory for shapes would give
        symptoms = {
            **oracle.wrong_units(x),
            "this is divided by the lengths from an earlier call with this shape": kept,
            "this is the answer from an earlier call with this shape": earlier,
        }
        expect(call(normalize, Tensor(x)), oracle.unit(x), given={"x": x}, symptoms=symptoms)
    short = 1e-6 * draw.normal(2, 3)
    expect(
        call(normalize, Tensor(short)),
        oracle.unit(short),
        given={"x": short},
        otherwise="short rows do not come to length 1: is something added to the length?",
    )


@normalize.check(2)
def zero_stays_zero(normalize: Any, draw: Draw) -> None:
    """A row of zeros stays zero, without NaN, and hands its gradient on; float32 stays float32."""
    for rows in draw.cases(2, 3, more=lambda g: int(g.integers(2, 7))):
        x = draw.normal(rows, 3, dtype=np.float32)
        x[int(draw.generator.integers(rows))] = 0
        right = oracle.unit(x).astype(np.float32)
        expect(
            call(normalize, Tensor(x)), right, given={"x": x}, tolerance=1e-5,
            symptoms={"one row of zeros, and no row was divided": x},
            otherwise="the values are wrong where one row of zeros is among others",
        )  # fmt: skip
    _gradient_at_zero(normalize, draw)


def _gradient_at_zero(normalize: Any, draw: Draw) -> None:
    """What arrives at a row of zeros must be what left: y = x / 1 there."""
    x, weights = draw.normal(3, 2), draw.normal(3, 2)
    x[1] = 0
    tensor = Tensor(x, requires_grad=True)
    try:
        ops.sum(normalize(tensor) * weights).backward()
    except Exception as error:
        message = f"there is no gradient: {type(error).__name__}: {error}"
        raise Wrong(message, {"x": x}, type(error).__name__, "a gradient") from error
    got = None if tensor.grad is None else tensor.grad[1]
    if got is None or not np.allclose(got, weights[1], rtol=0, atol=1e-9):
        sentence = (
            "the gradient of a row of zeros is wrong: divided by 1, it hands on what arrives "
            "(mind the derivative of a root at 0)"
        )
        raise Wrong(sentence, {"x": x, "arriving at row 1": weights[1]}, got, weights[1])


@normalize.check(2)
def gradient_of_directions(normalize: Any, draw: Draw) -> None:
    """The gradient is right: it must flow through the length too."""
    for x, _ in pairs(draw):
        check_gradients(
            normalize, oracle.unit, {"x": x}, hint="does it flow through the length too?"
        )


# ---- 4.2 the board's loss ------------------------------------------------------------------------


@simclr_cs229.check(4)
def values_of_the_board(simclr_cs229: Any, draw: Draw) -> None:
    """The sum over i of −ln softmax of the inner products, at j = i."""
    for a, b in pairs(draw):
        expect(
            scalar(simclr_cs229, Tensor(a), Tensor(b)),
            oracle.board(a, b).sum(),
            given={"first": a, "second": b},
            symptoms=oracle.wrong_boards(a, b),
        )
    a, b = (draw.normal(3, 4, dtype=np.float32) for _ in range(2))
    right = oracle.board(a.astype(np.float64), b.astype(np.float64)).sum().astype(np.float32)
    got = scalar(simclr_cs229, Tensor(a), Tensor(b))
    expect(got, np.asarray(right), given={"first": a, "second": b}, tolerance=1e-5)


@simclr_cs229.check(1)
def reductions_of_the_board(simclr_cs229: Any, draw: Draw) -> None:
    """``reduction`` "mean" and "none" are the same rows."""
    for a, b in pairs(draw):
        rows, given = oracle.board(a, b), {"first": a, "second": b}
        for reduction, value in {"none": rows, "mean": rows.mean()}.items():
            got = scalar(simclr_cs229, Tensor(a), Tensor(b), reduction=reduction)
            wrong = (
                {}
                if len(a) == 1
                else {
                    "the sum was taken whatever reduction says": rows.sum(),
                    "the mean was divided by B twice": rows.mean() / len(rows),
                    "the sign is wrong": -value,
                }
            )
            expect(got, value, given={**given, "reduction": reduction}, symptoms=wrong)


@simclr_cs229.check(2)
def large_inner_products(simclr_cs229: Any, draw: Draw) -> None:
    """Inner products of 10,000 do not overflow, and beside them small ones keep their digits."""
    for _ in range(2):
        level = float(draw.generator.uniform(90, 110))
        a, b = level * np.eye(2, 3), level * np.eye(2, 3)[::-1]
        under = -np.log(1e-8) * 2
        expect(
            scalar(simclr_cs229, Tensor(a), Tensor(b)),
            np.float64(2 * level**2),
            given={"first": a, "second": b},
            symptoms={
                "something was added under the logarithm: it hides how wrong a row is": under,
            },
            otherwise="large inner products were clipped, or something was added under the "
            "logarithm",
        )
        a, b = draw.normal(3, 4), draw.normal(3, 4)
        a[0] *= 1e4
        sentence = "one row has large inner products, the others small ones: subtract from each "
        expect(
            scalar(simclr_cs229, Tensor(a), Tensor(b), reduction="none"),
            oracle.board(a, b),
            given={"first": a, "second": b, "reduction": "none"},
            otherwise=f"{sentence}row the largest of its own row",
        )


@simclr_cs229.check(1)
def gradients_of_the_board(simclr_cs229: Any, draw: Draw) -> None:
    """The gradients of both views are those of the rows' losses."""
    for a, b in pairs(draw):
        check_gradients(
            lambda a, b: simclr_cs229(a, b, reduction="none"),
            oracle.board,
            {"first": a, "second": b},
        )


@simclr_cs229.check(1)
def shapes_of_the_board(simclr_cs229: Any, draw: Draw) -> None:
    """Views of two shapes are refused with a ValueError."""
    refuses_shapes(simclr_cs229, draw)


def refuses_shapes(loss: Any, draw: Draw, *more: Any) -> None:
    """Row i of both must show the same thing: no other number of rows, nor another width."""
    for first, second in (((3, 2), (1, 2)), ((2, 3), (4, 3)), ((2, 3), (2, 1))):
        a, b = Tensor(draw.normal(*first)), Tensor(draw.normal(*second))
        expect_error(ValueError, loss, a, b, *more)
