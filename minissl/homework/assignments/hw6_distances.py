"""Homework 6, distances and pairs: tasks 6.1 and 6.2."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.autograd.tensor import Tensor
from minissl.homework.assignments import hw6_oracle as oracle
from minissl.homework.assignments.differences import check_gradients
from minissl.homework.assignments.manners import call_twice
from minissl.homework.guard import ENGINE
from minissl.homework.task import Draw, Task, Wrong, expect, expect_error

# ---- 6.1 pairwise_distances ----------------------------------------------------------------------

pairwise_distances = Task(
    "6.1",
    "minissl.losses.distances:pairwise_distances",
    "all distances of a batch",
    "lecture 12, section 13",
    hides=("_distances",),
    allows=ENGINE,
)


def _shapes(draw: Draw) -> Any:
    def more(generator: np.random.Generator) -> tuple[int, int, int]:
        rows, others, width = generator.integers(1, 5, 3).tolist()
        return rows, others, width

    for rows, others, width in draw.cases((1, 1, 1), (2, 3, 2), (3, 3, 2), more=more):
        yield draw.normal(rows, width), draw.normal(others, width)


@pairwise_distances.check(3)
def every_row_with_every_row(subject: Any, draw: Draw) -> None:
    """‖aᵢ − bⱼ‖ of every row with every row, and with ``squared`` its square."""
    for first, second in _shapes(draw):
        root = oracle.distances(first, second)
        plain = {
            "the root is missing: squared=False asks for ‖a − b‖": root**2,
            "these are sums of absolute differences, not Euclidean distances": oracle.distances(
                first, second, lambda a, b: float(np.abs(a - b).sum())
            ),
            "these are inner products": oracle.distances(first, second, lambda a, b: float(a @ b)),
            "the mean over the width was taken, not the sum": root / math.sqrt(first.shape[1]),
            "rows and others are exchanged: d[i, j] belongs to first[i] and second[j]": root.T,
            "the diagonal is 0 only where a row is compared with itself": np.where(
                np.equal.outer(*map(np.arange, root.shape)), 0.0, root
            ),
            "half of the table was mirrored: with two arrays d[i, j] is not d[j, i]": (
                np.where(np.greater.outer(*map(np.arange, root.shape)), root.T, root)
                if root.shape[0] == root.shape[1]
                else None
            ),
        }
        given = {"first": first, "second": second, "squared": False}
        tensors = Tensor(first), Tensor(second)
        expect(call_twice(subject, *tensors), root, given=given, symptoms=plain)
        given["squared"] = True
        symptoms = {"with squared=True the square is asked for, without a root": root}
        got = call_twice(subject, *tensors, squared=True)
        expect(got, root**2, given=given, symptoms=symptoms)


@pairwise_distances.check(2)
def a_row_from_itself(subject: Any, draw: Draw) -> None:
    """Without ``second`` the rows are compared with themselves; equal rows are exactly 0 apart."""
    sizes = draw.cases((1, 2), (3, 2), more=lambda g: (int(g.integers(2, 6)), 3))
    for rows, width in sizes:
        first = draw.normal(rows, width)
        first[-1] = first[0]
        expected, given = oracle.distances(first, first), {"first": first}
        got = call_twice(subject, Tensor(first))
        zero = "equal rows are 0 apart: rounding, or a small number in the root, is still there"
        expect(got, expected, given=given, otherwise=zero)
        if np.asarray(got.numpy())[0, -1] != 0:
            raise Wrong(zero, given, got, expected)


@pairwise_distances.check(2)
def rows_that_are_near(subject: Any, draw: Draw) -> None:
    """Near rows keep their distance, far from the origin, too; half precision gives float32."""
    for width in draw.cases(1, 3, more=lambda g: int(g.integers(2, 9))):
        first = (1000 + draw.normal(4, width) / 50).astype(np.float32)
        first[2] = first[1]
        given = {"first": first}
        expected = oracle.distances(first.tolist(), first.tolist())
        sentence = (
            "the digits of near rows are lost: where does ‖a‖² − 2 a·b + ‖b‖² subtract large "
            "numbers?"
        )
        for squared, right in ((False, expected), (True, expected**2)):
            got = call_twice(subject, Tensor(first), squared=squared)
            if np.asarray(got.numpy()).min() < 0:
                raise Wrong("a distance is below 0", given, got, right)
            right = right.astype(np.float32)
            expect(got, right, given=given, otherwise=sentence, tolerance=1e-3)
        near = draw.normal(1, width) + np.array([0.0, 1e-5, 3e-5])[:, None]
        expected, given = oracle.distances(near, near), {"first": near}
        sentence = "near rows are not equal: their distances are small, not 0"
        got = call_twice(subject, Tensor(near))
        expect(got, expected, given=given, otherwise=sentence, tolerance=1e-4)
        half = draw.normal(3, width, dtype=np.float16)
        given = {"first": half}
        got = call_twice(subject, Tensor(half))
        if got.dtype != np.float32:
            raise Wrong("half precision gives float32", given, got.dtype, np.dtype(np.float32))
        right = oracle.distances(half.tolist(), half.tolist()).astype(np.float32)
        expect(got, right, given=given, otherwise="half precision gives float32, not less of it")


@pairwise_distances.check(2)
def slopes_of_distances(subject: Any, draw: Draw) -> None:
    """The gradient is right by both arguments, and 0, not NaN, where rows are equal."""
    for first, second in _shapes(draw):
        given = {"first": first, "second": second}
        hint = "√ has an infinite slope at 0, which times 0 is NaN" if len(second) > 1 else ""
        for squared in (False, True):

            def distances(a: Any, b: Any = None, squared: bool = squared) -> Any:
                return subject(a, b, squared=squared)

            def right(a: NDArray, b: Any = None, squared: bool = squared) -> NDArray:
                d = oracle.distances(a, a if b is None else b)
                return d**2 if squared else d

            check_gradients(distances, right, given)
            twice = np.concatenate([second, first, second[:1]])
            check_gradients(distances, right, {"first": twice}, hint=hint)
    for wrong in ((np.ones((2, 3)), np.ones((2, 2))), (np.ones(3), np.ones(3))):
        expect_error(ValueError, subject, *map(Tensor, wrong))


# ---- 6.2 pair_loss -------------------------------------------------------------------------------

pair_loss = Task(
    "6.2",
    "minissl.losses.metric:pair_loss",
    "near together, or a margin apart",
    "lecture 12, section 13",
    hides=("_booleans", "row_distances"),
    allows=(*ENGINE, "pairwise_distances"),
)


def _pairs(draw: Draw) -> Any:
    """(first, second, same, margin): pairs inside of the margin and outside, off the kinks."""
    for count, margin in draw.cases((4, 2.0), (1, 1.0), more=lambda g: (5, g.uniform(0.5, 2))):
        first, step = draw.normal(count, 2), draw.normal(count, 2)
        step *= (draw.generator.uniform(0.1, 1.6, count) / np.linalg.norm(step, axis=1))[:, None]
        reach = np.linalg.norm(step, axis=1)
        for kink in (margin, math.sqrt(margin)):  # of the two definitions
            step *= np.where(abs(reach - kink) < 0.05, 1.2, 1.0)[:, None]
        same = np.arange(count) % 2 == 0
        for labels in (same, ~same):
            yield first, first + step, labels, margin


def _half_square(d: float) -> float:
    return d * d / 2


def _check_pairs(subject: Any, draw: Draw, definition: str) -> None:
    def apart(m: float, how: str = definition) -> Any:
        if how == "song":
            return lambda d: max(0.0, m - d * d) / 2
        return lambda d: max(0.0, m - d) ** 2 / 2

    for first, second, same, margin in _pairs(draw):
        given: dict[str, Any] = {"first": first, "second": second, "same": same, "margin": margin}

        def costs(together: Any, away: Any, case: Any = given) -> float:
            rows = case["first"], case["second"], case["same"]
            return float(oracle.pairs(*rows, together, away).mean())

        right = oracle.pairs(first, second, same, _half_square, apart(margin))
        other = "song" if definition == "hadsell" else "hadsell"
        symptoms = {
            "the half is missing: slides leave it out, here it is there": 2 * right.mean(),
            f"this is the other definition ({other}): where is the square?": costs(
                _half_square, apart(margin, other)
            ),
            "same and different are exchanged": float(
                oracle.pairs(first, second, ~same, _half_square, apart(margin)).mean()
            ),
            "the distance of the same is squared": costs(lambda d: d / 2, apart(margin)),
            "beyond the margin there is no loss: max(0, ...) is missing": costs(
                _half_square,
                lambda d, m=margin: (m - d * d) / 2 if definition == "song" else (m - d) ** 2 / 2,
            ),
            "the margin is given: it need not be 1": costs(_half_square, apart(1.0)),
            "the sum over the pairs was taken, not the mean": right.sum(),
            "the mean is over all pairs, also those that have no loss": right.sum()
            / max(int((right > 0).sum()), 1),
            "the margin itself stands in Song's definition, not its square": costs(
                _half_square,
                lambda d: max(0.0, margin**2 - d * d) / 2,  # noqa: B023
            )
            if definition == "song"
            else None,
            "different pairs are pulled together: they have no loss beyond the margin": costs(
                _half_square, _half_square
            ),
        }
        given["definition"] = definition
        options = {"margin": margin, "definition": definition}
        rows = Tensor(first), Tensor(second)
        got = call_twice(subject, *rows, same, **options)
        expect(got, right.mean(), given=given, symptoms=symptoms)

        def reduced(how: str, case: Any = (*rows, same), options: Any = options) -> Any:
            return call_twice(subject, *case, **options, reduction=how)

        check_reductions(reduced, right, given)


def check_reductions(loss: Any, right: NDArray, given: dict[str, Any]) -> None:
    """The losses by themselves, and their sum; ``loss("none")`` and ``loss("sum")``."""
    expect(loss("none"), right, given={**given, "reduction": "none"})
    sentence = "reduction='sum' adds the losses up"
    expect(loss("sum"), right.sum(), given={**given, "reduction": "sum"}, otherwise=sentence)


@pair_loss.check(2)
def hadsell(subject: Any, draw: Draw) -> None:
    """Hadsell's definition, which is the default: ½ [y d² + (1 − y) max(0, m − d)²]."""
    _check_pairs(subject, draw, "hadsell")
    first, second, same = Tensor(np.zeros((1, 1))), Tensor(np.full((1, 1), 0.5)), np.array([False])
    given = {"distance": 0.5, "margin": 1.0, "same": False}
    expect(call_twice(subject, first, second, same, margin=1.0), 0.125, given=given)


@pair_loss.check(2)
def song(subject: Any, draw: Draw) -> None:
    """Song's definition: ½ [y d² + (1 − y) max(0, m − d²)]."""
    _check_pairs(subject, draw, "song")


@pair_loss.check(2)
def slopes_of_pairs(subject: Any, draw: Draw) -> None:
    """The gradient is right by both sides, and finite for two equal rows."""
    for first, second, same, margin in _pairs(draw):
        for equal in (False, True):
            rows = {"first": first.copy(), "second": second.copy()}
            if equal:
                rows["second"][0] = first[0]
            for definition in ("hadsell", "song"):

                def loss(a: Any, b: Any, how: Any = (same, margin, definition)) -> Any:
                    return subject(a, b, how[0], margin=how[1], definition=how[2])

                def right(a: Any, b: Any, how: Any = (same, margin, definition)) -> float:
                    song, m = how[2] == "song", how[1]
                    return oracle.pairs(
                        a, b, how[0], _half_square,
                        lambda d: max(0.0, m - d * d if song else (m - d) ** 2 * (d < m)) / 2,
                    ).mean()  # fmt: skip

                hint = "what is the slope of a distance of 0? (ops.norm says 0)" if equal else ""
                check_gradients(loss, right, rows, hint=hint)


@pair_loss.check(1)
def types_and_errors(subject: Any, draw: Draw) -> None:
    """float32 stays float32; a margin that is not positive, and other shapes, are errors."""
    first, same = np.array([[3.0, 0.0]], np.float32), np.array([True])
    got = call_twice(subject, Tensor(first), Tensor(np.zeros_like(first)), same, margin=1.0)
    given = {"first": first, "second": np.zeros_like(first), "same": same, "margin": 1.0}
    expect(got, np.float32(4.5), given=given)
    for width in draw.cases(2, more=lambda g: int(g.integers(1, 5))):
        rows = [draw.normal(3, width, dtype=np.float32) for _ in range(2)]
        labels = np.array([True, False, True])
        right = oracle.pairs(
            rows[0], rows[1], [True, False, True], _half_square, lambda d: max(0.0, 1 - d) ** 2 / 2
        )
        got = call_twice(subject, *map(Tensor, rows), labels, margin=1.0)
        expect(got, np.float32(right.mean()), given=dict(zip(("first", "second"), rows)))
    two = Tensor(np.ones((2, 3)))
    for margin in (0.0, -1.0, math.inf, math.nan):
        expect_error(ValueError, subject, two, two, np.array([True, False]), margin=margin)
    expect_error(ValueError, subject, two, Tensor(np.ones((1, 3))), np.array([True]), margin=1.0)
    expect_error(ValueError, subject, two, two, np.array([True]), margin=1.0)
    expect_error(ValueError, subject, two, two, np.array([1, 2]), margin=1.0)
    options: dict[str, Any] = {"margin": 1.0, "definition": "other"}
    expect_error(ValueError, subject, two, two, np.array([True, False]), **options)
