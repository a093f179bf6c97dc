"""Homework 4, the spread of directions and the gradient by hand. Lecture 12."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.homework.assignments import hw4_oracle as oracle
from minissl.homework.assignments.differences import differences
from minissl.homework.task import Draw, Task, Wrong, call, expect


class PlainTask(Task):
    """A function in a file that needs NumPy alone, though the package around it needs more."""

    def answer(self) -> Any:
        """The library's function, from its file."""
        return getattr(_alone(self.module), self.name)


@cache
def _alone(name: str) -> ModuleType:
    """The module of this name, made from its file; the package around it is not imported."""
    package, *inside = name.split(".")
    found = importlib.util.find_spec(package)
    folders = (found and found.submodule_search_locations) or []
    for file in (Path(folder, *inside).with_suffix(".py") for folder in folders):
        spec = importlib.util.spec_from_file_location(name, file)
        if file.is_file() and spec is not None and spec.loader is not None:
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            return module
    raise ValueError(f"there is no module {name}")


z_std = Task(
    "4.4",
    "minissl.training.diagnostics:z_std",
    "is it collapsed?",
    "lecture 12, section 2",
    hides=("_unit_rows",),
)
gradients = PlainTask(
    "4.5",
    "minissl_kernels.contrastive.reference:backward",
    "the gradient by hand",
    "lecture 12, section 4",
)


# ---- 4.4 is it collapsed? ------------------------------------------------------------------------


def _spread(x: NDArray) -> float:
    return float(oracle.unit(x).std(axis=0).mean() * np.sqrt(x.shape[1]))


@z_std.check(5)
def spread_of_directions(z_std: Any, draw: Draw) -> None:
    """Rows to length 1, the standard deviation of each column, their mean, times √width."""
    shapes = draw.cases(
        (2, 3), (3, 5), (6, 2), (5, 1), more=lambda g: (*g.integers(3, 9, 2).tolist(),)
    )
    for shape in shapes:
        x = draw.normal(*shape) + 0.5
        expect(call(z_std, x), _spread(x), given={"features": x}, symptoms=oracle.wrong_spreads(x))
    rows = draw.generator.integers(1, 9, (3, 2)).tolist()
    expect(call(z_std, rows), _spread(np.array(rows)), given={"features (a list)": rows})


@z_std.check(3)
def collapsed_and_spread(z_std: Any, draw: Draw) -> None:
    """0 for a collapsed encoder whatever the lengths, about 1 for random directions, no NaN."""
    collapsed = np.outer(draw.generator.uniform(1, 5, 3), draw.normal(3))
    if not abs(got := call(z_std, collapsed)) < 1e-6:
        raise Wrong("all rows have one direction: collapsed", {"features": collapsed}, got, 0.0)
    zeros = draw.normal(4, 3)
    zeros[int(draw.generator.integers(4))] = 0
    expect(
        call(z_std, zeros),
        _spread(zeros),
        given={"features": zeros},
        symptoms={"the rows of zeros were left out": _spread(zeros[zeros.any(axis=1)])},
    )
    even = draw.normal(2000, 16)
    if not 0.97 < (got := call(z_std, even)) < 1.03:
        raise Wrong("random directions should have about 1", {"features": even}, got, "about 1")


# ---- 4.5 the gradient by hand --------------------------------------------------------------------

Case = tuple[NDArray, NDArray, NDArray, NDArray, float]


def _difference(query: NDArray, key: NDArray, positives: NDArray, temperature: float) -> NDArray:
    logits = query @ key.T / temperature
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    return p - np.eye(len(key))[positives]


def _cases(draw: Draw) -> Iterator[Case]:
    """upstream, query, key, the positives' columns, and the temperature."""

    def more(generator: np.random.Generator) -> tuple[int, int, int, str]:
        rows, columns, width = generator.integers(2, 8, 3).tolist()
        return rows, columns, width, "float64"

    fixed = ((1, 2, 1, "float64"), (3, 4, 2, "float64"), (3, 3, 3, "float64"), (2, 3, 2, "float32"))
    for rows, columns, width, dtype in draw.cases(*fixed, more=more):
        upstream, query, key = (
            draw.normal(*shape, dtype=dtype) for shape in ((rows,), (rows, width), (columns, width))
        )
        positives = draw.generator.integers(0, columns, rows)
        yield upstream, query, key, positives, float(draw.generator.uniform(0.3, 0.8))


def _wrong_gradients(case: Case, difference: NDArray, right: list[Any]) -> list[dict[str, Any]]:
    """What well-known mistakes give, of the query, the key and the temperature."""
    w, query, key, _, temperature = case
    logits = w[:, None] * difference
    of_temperature = right[2]
    forgotten, upstream = "the temperature was forgotten", "the upstream gradient was forgotten"
    wrong: list[dict[str, Any]] = [
        {forgotten: logits @ key, upstream: difference @ key / temperature},
        {forgotten: logits.T @ query, upstream: difference.T @ query / temperature},
        {
            "the sign is wrong: a larger temperature makes logits smaller": -of_temperature,
            "one factor 1/temperature is missing": of_temperature * temperature,
            "one factor 1/temperature too many": of_temperature / temperature,
            upstream: -(query * (difference @ key)).sum() / temperature**2,
        },
    ]
    for which in (0, 1):
        wrong[which]["it was multiplied by the temperature, not divided"] = (
            right[which] * temperature**2
        )
        wrong[which]["the gradients of query and key are exchanged"] = right[1 - which]
        signs = np.sign(logits)
        wrong[which]["only the sign of G was used"] = (
            signs @ key if which == 0 else signs.T @ query
        ) / temperature
    if len(w) == len(key):
        mixed = w * difference
        by_columns = "w belongs to rows, not to columns: w[:, None]"
        wrong[0][by_columns] = mixed @ key / temperature
        wrong[1][by_columns] = mixed.T @ query / temperature
    return wrong


def _right_gradients(case: Case) -> list[Any]:
    """Those of the query, the key and the temperature, by finite differences of the loss."""
    w, query, key, positives, temperature = case
    q, k = query.astype(np.float64), key.astype(np.float64)

    def loss(q: NDArray, k: NDArray, t: Any) -> float:
        return float(np.sum(w * oracle.losses(q @ k.T / t, positives)))

    return [
        differences(lambda x: loss(x, k, temperature), q),
        differences(lambda x: loss(q, x, temperature), k),
        differences(lambda x: loss(q, k, x.item()), np.array(temperature)).item(),
    ]


def _check_gradient(backward: Any, draw: Draw, which: int) -> None:
    for case in _cases(draw):
        w, query, key, positives, temperature = case
        wide_query, wide_key = query.astype(np.float64), key.astype(np.float64)
        difference = _difference(wide_query, wide_key, positives, temperature).astype(w.dtype)
        given = {
            "upstream": w, "difference": difference, "query": query, "key": key,
            "temperature": temperature,
        }  # fmt: skip
        got = call(backward, w, difference, query, key, temperature)
        if not isinstance(got, tuple | list) or len(got) != 3:
            raise Wrong("expected three gradients: query, key, temperature", given, got, "a tuple")
        right = _right_gradients(case)
        wrong = _wrong_gradients(case, difference, right)[which]
        expect(got[which], right[which], given=given, symptoms=wrong, tolerance=1e-5)
        if w.dtype == np.float64:  # finite differences are right to 1e-8, not to the last digits
            narrow = "it computes in float32: what came in float64 wants float64 throughout"
            exact = _exact(case, difference)[which]
            expect(got[which], exact, given=given, otherwise=narrow, tolerance=1e-10)


def _exact(case: Case, difference: NDArray) -> list[Any]:
    """The three gradients by their formulas, for the digits that differences do not have."""
    w, query, key, _, temperature = case
    logits = w[:, None] * difference
    by_query = logits @ key / temperature
    by_temperature = -float((query * by_query).sum()) / temperature
    return [by_query, logits.T @ query / temperature, by_temperature]


@gradients.check(5)
def gradient_of_the_query(backward: Any, draw: Draw) -> None:
    """∂L/∂Q agrees with finite differences of the loss, in float64 whatever comes in."""
    _check_gradient(backward, draw, 0)


@gradients.check(5)
def gradient_of_the_key(backward: Any, draw: Draw) -> None:
    """∂L/∂K agrees with finite differences of the loss, in float64 whatever comes in."""
    _check_gradient(backward, draw, 1)


@gradients.check(3)
def gradient_of_the_temperature(backward: Any, draw: Draw) -> None:
    """∂L/∂τ, one number, agrees with finite differences of the loss."""
    _check_gradient(backward, draw, 2)
