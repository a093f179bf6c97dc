"""Homework 1, the experiment: what the checker repeats of it, and what a person judges."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.homework.experiment import Experiment, Handed, Item
from minissl.homework.task import Draw, Wrong, call, expect

experiment = Experiment(
    "1.10",
    "minissl.homework.assignments.hw1_experiment:measure",
    "how small should the step be?",
    "lecture 02, section 6",
    writes=("difference", "errors", "summary", "measure", "draw"),
    measures=("step", "error", "usual", "mistake"),
    rubric=(
        Item(2, "Expected: for each setting a best step and its error, from the two errors of the "
                "lecture's section 6, written down before anything was run"),
        Item(1, "the plot: both axes logarithmic and named, every setting and seed to be seen, "
                "readable in print without colors"),
        Item(1, "the table: means and spread over the seeds, and they are those of results.json"),
        Item(2, "Measured: why the right arm is straight and how steep, why the left one is rough, "
                "and what float32 hides from a gradient check; where the guess missed, why"),
        Item(1, "Not shown: one thing that these numbers do not tell, and what would"),
    ),
)  # fmt: skip


# ---- differences, of cubes -----------------------------------------------------------------------


def _cube(x: NDArray) -> NDArray:
    return x * x * x


def _slopes_of_cubes(x: NDArray, h: float, kind: str) -> NDArray:
    """What the formula gives for x³, by algebra: no two nearly equal numbers are subtracted."""
    return 3 * x * x + h * h + (3 * x * h if kind == "forward" else 0)


@experiment.check(1)
def finite_differences(handed: Handed, draw: Draw) -> None:
    """difference, of cubes with a large step, where algebra says what comes out."""
    difference = handed.function("difference")
    for count in draw.cases(1, 3, more=lambda g: int(g.integers(2, 6))):
        x, h = draw.normal(count), float(draw.generator.uniform(0.25, 1))
        for kind in ("forward", "central"):
            right = _slopes_of_cubes(x, h, kind)
            other = _slopes_of_cubes(x, h, "central" if kind == "forward" else "forward")
            symptoms = {
                "this is the difference of the other kind": other,
                "this is the difference backward": _slopes_of_cubes(x, -h, "forward"),
                "the points are 2h apart: divide by 2h": 2 * right,
                "the points are h apart: divide by h": right / 2,
                "the difference is not divided by the step": h * right,
                "the sign is wrong: f(x + h) comes first": -right,
                "this is the formula of fourth order": 3 * x * x,
                "this is f′(x) itself: a difference is asked for": 3 * x * x,
            }
            given = {"f": "x³", "x": x, "h": h, "kind": kind}
            expect(call(difference, _cube, x, h, kind), right, given=given, symptoms=symptoms)


@experiment.check(1)
def in_the_dtype(handed: Handed, draw: Draw) -> None:
    """difference, in float32: the function is never given another dtype, nor is the answer."""
    difference = handed.function("difference")
    for dtype in (np.float32, np.float64):
        seen: set[str] = set()

        def noting(x: NDArray) -> NDArray:
            seen.add(str(x.dtype))  # noqa: B023
            return _cube(x)

        x = draw.normal(3, dtype=dtype)
        for kind in ("forward", "central"):
            given = {"f": "x³", "x": x, "h": 0.5, "kind": kind}
            got = call(difference, noting, x, 0.5, kind)
            if other := seen - {str(x.dtype)}:
                sentence = f"f was asked in {other.pop()}: stay in the dtype of x to see its errors"
                raise Wrong(sentence, given, sorted(seen), str(x.dtype))
            right = _slopes_of_cubes(x.astype(np.float64), 0.5, kind).astype(dtype)
            expect(got, right, given=given)
    small = draw.normal(4, dtype=np.float32) / 8 + 1
    got = call(difference, _cube, small, 1e-9, "central")
    if np.shape(got) == small.shape and np.any(got):
        sentence = "with h = 1e-9 float32 cannot tell x + h from x: the difference is 0"
        raise Wrong(sentence, {"f": "x³", "x": small, "h": 1e-9}, got, np.zeros_like(small))


# ---- errors and what they say --------------------------------------------------------------------


@experiment.check(1)
def relative_errors(handed: Handed, draw: Draw) -> None:
    """errors, of cubes: relative to the true slope in float64, a row for each step."""
    function = handed.function("errors")
    for kind in ("forward", "central"):
        x = draw.normal(4)
        x, steps = np.sign(x) * (np.abs(x) + 0.3), [0.5, 0.25, 0.125]
        true = 3 * x * x
        found = np.array([_slopes_of_cubes(x, h, kind) for h in steps])
        right = np.abs(found - true) / true
        symptoms = {
            "the error is not relative: divide by the slope": np.abs(found - true),
            "an error has no sign: take its absolute value": (found - true) / true,
            "it is relative to the difference: divide by the true slope": (
                np.abs(found - true) / np.abs(found)
            ),
            "the mean over the points was taken: an error for each is asked for": np.broadcast_to(
                right.mean(axis=1, keepdims=True), right.shape
            ),
            "the steps stand in the wrong order": right[::-1],
        }
        given = {"f": "x³", "f′": "3 x²", "x": x, "steps": steps, "kind": kind}
        got = call(function, _cube, lambda x: 3 * x * x, x, steps, kind)
        expect(got, right, given=given, symptoms=symptoms)
    x = (draw.normal(5) / 8 + 1).astype(np.float32)

    def slope(x: NDArray) -> NDArray:
        if x.dtype != np.float64:
            raise Wrong("the true slope is asked in float64", {"x": x}, x.dtype, "float64")
        return 3 * x * x

    got = call(function, _cube, slope, x, [2.0**-9], "central")
    expect(np.asarray(got).dtype, np.dtype(np.float64), given={"x": x}, otherwise="errors: float64")
    if not 1e-7 < np.max(got) < 1e-3:
        sentence = "in float32 the error is that of rounding and of h²: the points must be float32"
        raise Wrong(sentence, {"f": "x³", "x": x, "h": 2.0**-9}, got, "some 1e-5")


@experiment.check(1)
def four_numbers(handed: Handed, draw: Draw) -> None:
    """summary, of errors that are given: the best step, its errors, and those at the usual step."""
    function = handed.function("summary")
    for count in draw.cases(3, 4, more=lambda g: int(g.integers(3, 8))):
        steps = [1e-7, 1e-5, 1.1e-3, 1e-1]
        table = np.abs(draw.normal(4, count)) + 0.1
        table[:, 0] *= 9  # so that mean and median differ
        table = table[draw.generator.permutation(4)]
        medians = [sorted(row)[(count - 1) // 2] / 2 + sorted(row)[count // 2] / 2 for row in table]
        best = min(range(4), key=lambda i: medians[i])
        right = {
            "step": steps[best],
            "error": medians[best],
            "usual": medians[2],
            "mistake": 2 * float(max(table[best])),
        }
        means = table.mean(axis=1)
        worst = table.max(axis=1)
        symptoms = {
            "step": {
                "this is the number of the best step, not the step itself": float(best),
                "the step with the smallest mean: the median is asked for": steps[means.argmin()],
                "the step with the smallest largest error: the median is asked for": (
                    steps[worst.argmin()]
                ),
                "this is the worst step": steps[int(np.argmax(medians))],
            },
            "error": {"this is a mean: the median is asked for": float(means[best])},
            "usual": {"this is the error at the best step": medians[best]},
            "mistake": {
                "twice the median: the largest error of any point counts": 2 * medians[best],
                "this is the largest error: twice as much is sure to be seen": float(worst[best]),
                "the largest error of all steps: only the best step counts": 2 * float(worst.max()),
            },
        }
        given = {"steps": steps, "errors": table}
        got = _four(call(function, table, steps), given)
        for name, expected in right.items():
            shown = {**given, "number": name}
            expect(
                got[name],
                np.asarray(expected),
                given=shown,
                symptoms={s: np.asarray(v) for s, v in symptoms[name].items()},
                otherwise=f"{name!r} is wrong",
            )


def _four(got: Any, given: dict[str, Any]) -> dict[str, float]:
    """The numbers by name. Raises Wrong unless they are four finite ones."""
    if not isinstance(got, dict) or got.keys() != {*experiment.measures}:
        raise Wrong("it gives a dictionary of four numbers", given, got, experiment.measures)
    for name, number in got.items():
        if not isinstance(number, float | int) or not math.isfinite(number):
            raise Wrong(f"{name!r} is no finite number", given, got, "a finite number")
    return {name: float(number) for name, number in got.items()}


@experiment.check(1)
def measured_again(handed: Handed, draw: Draw) -> None:
    """measure: the same seed twice gives the same, another not; theory says where about."""
    measure, seed = handed.function("measure"), int(draw.generator.integers(10, 1000))
    for kind, dtype in (("forward", "float64"), ("central", "float64"), ("central", "float32")):
        given = {"seed": seed, "kind": kind, "dtype": dtype}
        first, again, other = (
            _four(call(measure, s, kind, dtype), given) for s in (seed, seed, seed + 1)
        )
        if first != again:
            raise Wrong("the same seed gave other numbers", given, again, first)
        if first == other:
            raise Wrong("another seed gave the same numbers: hand it on", given, other, first)
        epsilon = float(np.finfo(dtype).eps)
        step = epsilon ** (1 / 2 if kind == "forward" else 1 / 3)
        error = step if kind == "forward" else step**2
        for name, near in (("step", step), ("error", error)):
            if not near / 30 < first[name] < 30 * near:
                sentence = f"{name!r} is far from what the theory says: are kind and dtype used?"
                raise Wrong(sentence, given, first, f"{name} near {near:.0e}")


experiment.check_files(results=1, report=1)
