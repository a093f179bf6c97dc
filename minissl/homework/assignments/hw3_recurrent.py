"""Homework 3, a network that reads step by step: tasks 3.9 to 3.11."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.homework.assignments import hw3_recurrent_oracle as oracle
from minissl.homework.assignments.again import asked_again
from minissl.homework.assignments.differences import differences
from minissl.homework.task import Draw, Task, Wrong, call, expect, expect_error

CELLS = "minissl.autograd.cells"
ONE_FOR_ALL = "the gates of the first example are used for all: each example has its own gates"
Sizes = tuple[int, int]  # batch, hidden


def _sizes(generator: np.random.Generator) -> Sizes:
    batch, hidden = generator.integers(1, 5, 2).tolist()
    return batch, hidden


def _pair(got: Any, given: dict[str, Any], what: str) -> tuple[Any, Any]:
    """Two arrays, or Wrong."""
    if not isinstance(got, tuple) or len(got) != 2:
        raise Wrong(f"expected two arrays: {what}", given, got, "two arrays")
    return got


# ---- 3.9 lstm_cell -------------------------------------------------------------------------------

lstm_cell = Task(
    "3.9",
    f"{CELLS}:lstm_cell",
    "a step of an LSTM",
    "lecture 05, section 7",
    hides=("namespace", "quarters"),
)


def _check_cell(subject: Any, gates: NDArray, c: NDArray, tolerance: float = 1e-9) -> None:
    given = {"gates": gates, "c": c}
    h, cell = _pair(call(subject, gates, c), given, "h and c after the step")
    right = [a.astype(gates.dtype) for a in oracle.cell(gates, c)]
    wrong = {s: oracle.cell(gates, c, **how) for s, how in oracle.CELL_MISTAKES.items()}
    if len(gates) > 1:
        wrong[ONE_FOR_ALL] = oracle.cell(np.repeat(gates[:1], len(gates), axis=0), c)
    exchanged = {"h and c are exchanged: h comes first": (right[1], right[0])}
    of_c = {s: both[1].astype(gates.dtype) for s, both in (wrong | exchanged).items()}
    of_h = {s: both[0].astype(gates.dtype) for s, both in wrong.items()}
    expect(cell, right[1], given=given, symptoms=of_c, otherwise="c is wrong", tolerance=tolerance)
    expect(h, right[0], given=given, symptoms=of_h, otherwise="h is wrong", tolerance=tolerance)


@lstm_cell.check(3)
def both_states(subject: Any, draw: Draw) -> None:
    """c ← f c + i g and h ← o tanh(c), each example by itself."""
    asked_again(subject, (np.ones((1, 4)), np.ones((1, 1))), (np.ones((1, 4)), np.zeros((1, 1))))
    for batch, hidden in draw.cases((1, 1), (1, 2), (2, 1), (3, 4), more=_sizes):
        _check_cell(subject, 2 * draw.normal(batch, 4 * hidden), draw.normal(batch, hidden))


@lstm_cell.check(1)
def open_and_closed(subject: Any, draw: Draw) -> None:
    """Gates of ±1000 are open or closed, without overflow; float32 stays float32."""
    for size in draw.cases(1000.0, 30.0, more=lambda g: float(g.uniform(20, 2000))):
        c = draw.normal(2, 1, dtype=np.float32)
        gates = np.array([[-1, 1, 0.5, 1], [1, -1, -1, -1]], np.float32) * np.float32(size)
        _check_cell(subject, gates, c, tolerance=1e-6)


# ---- 3.10 lstm_cell_back -------------------------------------------------------------------------

lstm_cell_back = Task(
    "3.10",
    f"{CELLS}:lstm_cell_back",
    "the way back through it",
    "lecture 05, section 7",
    hides=("namespace", "quarters", "sigmoid_slope", "tanh_slope"),
)


def _way_back(subject: Any, draw: Draw, parts: slice | None) -> None:
    """``parts``: which of the four gates, by number; None: the cell before."""
    ones, one = np.ones((1, 4)), np.ones((1, 1))
    asked_again(subject, (ones, one, one, one), (ones, one, -one, -one))
    for batch, hidden in draw.cases((1, 1), (1, 2), (3, 2), more=_sizes):
        gates, c = draw.normal(batch, 4 * hidden), draw.normal(batch, hidden)
        dh, dc = draw.normal(batch, hidden), draw.normal(batch, hidden)
        given = {"gates": gates, "c": c, "dh": dh, "dc": dc}
        what = "the gradients of the gates and of the cell before"
        got = _pair(call(subject, gates, c, dh, dc), given, what)
        which = 1 if parts is None else 0
        at = slice(None)
        if parts is not None:
            at = slice(parts.start * hidden, parts.stop * hidden)

        def loss(x: NDArray, gates: NDArray = gates, c: NDArray = c) -> float:
            h, cell = oracle.cell(gates, x) if parts is None else oracle.cell(x, c)
            return float((dh * h + dc * cell).sum())  # noqa: B023

        right = differences(loss, c if parts is None else gates)[:, at]
        symptoms = {
            s: oracle.cell_back(gates, c, dh, dc, how)[which][:, at]
            for s, how in oracle.BACK_MISTAKES.items()
        }
        found = got[which]
        if not isinstance(found, np.ndarray) or found.shape != (gates, c)[which].shape:
            shapes = [np.shape(a) for a in got]
            expected = [gates.shape, c.shape]
            raise Wrong("a gradient has the shape of what it belongs to", given, shapes, expected)
        name = "the cell before" if parts is None else "/".join("ifgo"[parts])
        otherwise = f"the gradient of {name} is wrong: finite differences of h and c say another"
        expect(
            found[:, at], right, given=given, symptoms=symptoms, otherwise=otherwise, tolerance=1e-6
        )


@lstm_cell_back.check(1)
def output_gate(subject: Any, draw: Draw) -> None:
    """The last quarter, o: only h depends on it."""
    _way_back(subject, draw, slice(3, 4))


@lstm_cell_back.check(3)
def gates_of_the_cell(subject: Any, draw: Draw) -> None:
    """The quarters i, f and g: they act through the new c, which is used twice."""
    _way_back(subject, draw, slice(0, 3))
    for closed in draw.cases(-31.0, more=lambda g: float(g.uniform(-32, -30))):
        gates = np.concatenate([[[closed]], draw.normal(1, 3)], axis=1)
        c, dh, dc = (draw.normal(1, 1) for _ in range(3))
        given = {"gates": gates, "c": c, "dh": dh, "dc": dc}
        found = _pair(call(subject, gates, c, dh, dc), given, "two gradients")[0][:, :1]
        right = oracle.cell_back(gates, c, dh, dc)[0][:, :1]
        otherwise = "the slope of a gate that is nearly closed is lost in rounding: use its formula"
        ones = np.ones_like(right)
        expect(found / right, ones, given=given, otherwise=otherwise, tolerance=0.02)


@lstm_cell_back.check(2)
def cell_before(subject: Any, draw: Draw) -> None:
    """What goes on to the step before: f times all that has arrived at the new c."""
    _way_back(subject, draw, None)


@lstm_cell_back.check(1)
def saturated(subject: Any, draw: Draw) -> None:
    """Gates of ±1000 have slope 0, not NaN; float32 stays float32."""
    for size in draw.cases(1000.0, more=lambda g: float(g.uniform(100, 2000))):
        gates = np.array([[-1, 1, 1, 1], [1, -1, -1, -1]], np.float32) * np.float32(size)
        c, dh, dc = (draw.normal(2, 1, dtype=np.float32) for _ in range(3))
        given = {"gates": gates, "c": c, "dh": dh, "dc": dc}
        got = _pair(call(subject, gates, c, dh, dc), given, "two gradients")
        new = oracle.cell(gates, c)[1]
        back = np.array([[1.0], [0.0]]) * (dc + dh * (1 - np.tanh(new) ** 2))
        expect(got[0], np.zeros_like(gates), given=given, otherwise="saturated gates have slope 0")
        expect(got[1], back.astype(np.float32), given=given, tolerance=1e-5)


# ---- 3.11 consecutive_windows --------------------------------------------------------------------

windows = Task(
    "3.11",
    "minissl.data.streams:consecutive_windows",
    "truncated windows",
    "lecture 05, section 9",
)
Case = tuple[int, int, int, int]  # tokens of the stream, lanes, length, number


def _check_windows(subject: Any, draw: Draw, case: Case, dtype: Any = np.uint16) -> None:
    size, lanes, length, number = case
    stream = draw.generator.permutation(size).astype(dtype)
    given = {"stream": stream, "lanes": lanes, "length": length, "number": number}
    right = oracle.windows(stream, lanes, length, number)
    symptoms = {}
    for sentence, how in oracle.WINDOW_MISTAKES.items():
        try:
            symptoms[sentence] = how(stream, lanes, length, number)
        except (ValueError, IndexError):
            continue  # this mistake has no answer here
    got = call(subject, stream, lanes, length, number)
    expect(got, right, given=given, symptoms=symptoms, otherwise="these are other windows")


def _inside(generator: np.random.Generator) -> Case:
    """A window that does not come to the end of its stream."""
    lanes, length, number = generator.integers(1, 4, 3).tolist()
    return (
        lanes * ((number + 1) * length + int(generator.integers(1, 4))) + 2,
        lanes,
        length,
        number,
    )


@windows.check(2)
def one_after_the_other(subject: Any, draw: Draw) -> None:
    """Lane i begins at i · len // lanes, and each window with the last token of the one before."""
    asked_again(subject, (np.array([1, 2, 3]), 1, 2, 0), (np.array([4, 5, 6]), 1, 2, 0))
    fixed: list[Case] = [(4, 1, 2, 0), (8, 2, 2, 0), (8, 1, 2, 1), (11, 2, 2, 1), (20, 3, 2, 2)]
    for case in draw.cases(*fixed, more=_inside):
        _check_windows(subject, draw, case)


@windows.check(1)
def round_and_round(subject: Any, draw: Draw) -> None:
    """The stream is a circle: after its last token comes its first, in window 1000 too."""
    fixed: list[Case] = [(4, 1, 3, 1), (5, 1, 2, 2), (7, 2, 3, 2), (7, 3, 2, 1000)]
    _check_windows(subject, draw, (200, 2, 3, 90), np.uint8)

    def more(generator: np.random.Generator) -> Case:
        size, lanes = int(generator.integers(4, 12)), int(generator.integers(1, 4))
        return size, lanes, int(generator.integers(1, 4)), int(generator.integers(3, 99))

    for case in draw.cases(*fixed, more=more):
        _check_windows(subject, draw, case)


@windows.check(1)
def refusals(subject: Any, draw: Draw) -> None:
    """ValueError for no lane or token, a number below 0, and a stream shorter than a window."""
    refused: list[Case] = [(9, 0, 2, 0), (9, 2, 0, 0), (3, 4, 1, 0), (4, 2, 4, 0), (9, 2, 2, -1)]
    for size, lanes, length, number in draw.cases(
        *refused, more=lambda g: (3, 1, int(g.integers(3, 99)), 0)
    ):
        expect_error(ValueError, subject, draw.generator.permutation(size), lanes, length, number)
