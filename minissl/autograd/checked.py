"""``checked()``: find the array that was written between forward and backward. Lecture 02.

A rule keeps the arrays that it needs, not copies of them. Who writes into one of them before
``backward()`` gets the gradient of a function that was never computed, without a word.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

from minissl.autograd.arrays import (
    Array,
    Placed,
    is_array,
    is_floating,
    is_torch_array,
    memory,
    namespace,
)
from minissl.autograd.rows import Rows

_checked: ContextVar[bool] = ContextVar("checked", default=False)


@contextmanager
def checked(on: bool = True) -> Iterator[None]:
    """Within this block every operation is watched: slow, and for finding mistakes.

    What is noticed, with the name of the operation, also when ``backward()`` comes after the block:

    - RuntimeError when an array that a rule needs was written between forward and backward;
    - FloatingPointError when an operation makes NaN or +∞ of finite arrays (−∞ is how masks are
      written), or a rule does of a finite gradient.

    It costs a checksum of every array that is kept, once in each direction, and keeps the arrays
    alive. Lecture 02, section 8.
    """
    token = _checked.set(on)
    try:
        yield
    finally:
        _checked.reset(token)


def is_checked() -> bool:
    """True inside ``checked()``."""
    return _checked.get()


class Watched:
    """The arrays that the rules of one operation need, and what was in them."""

    def __init__(self, inputs: Sequence[Array], output: Array, rules: Any):
        kept = {memory(array): array for array in held(rules)}
        named = [*((f"input {i}", a) for i, a in enumerate(inputs)), ("output", output)]
        watched = [(name, array) for name, array in named if memory(array) in kept]
        known = {memory(array) for _, array in named}
        watched += [("an index or target", a) for place, a in kept.items() if place not in known]
        self.arrays = [(name, array, checksum(array)) for name, array in watched]
        self.finite = all(is_finite(a) for a in inputs)

    def require_unchanged(self, operation: str) -> None:
        """Raise RuntimeError when one of the arrays is no longer what it was."""
        for name, array, before in self.arrays:
            if checksum(array) != before:
                raise RuntimeError(
                    f"{name} of '{operation}', of shape {tuple(array.shape)}, was written between "
                    "forward and backward(), and the rule needs the old values. Put a new array "
                    "there (x.array = x.array * 2, not x.array *= 2), or write after backward()"
                )

    def finite_ones(
        self, operation: str, arrived: Array, sent: Iterator[tuple[Any, Array]]
    ) -> Iterator[tuple[Any, Array]]:
        """Hand on (parent, gradient); FloatingPointError where a finite one became something else.

        Looked at before it is handed on: a rule may overwrite what it was given.
        """
        finite = self.finite and is_finite(arrived)
        for parent, contribution in sent:
            values = (
                contribution.values if isinstance(contribution, Placed | Rows) else contribution
            )
            if finite and not is_finite(values):
                raise FloatingPointError(
                    f"the gradient that '{operation}' sends back is not finite, though its inputs "
                    "and the gradient that reached it are: its slope is infinite there, or too "
                    "large"
                )
            yield parent, contribution


def require_finite_output(operation: str, inputs: Sequence[Array], output: Array) -> None:
    """Raise FloatingPointError when finite inputs gave NaN or +∞."""
    if not is_finite(output, masked=True) and all(is_finite(a) for a in inputs):
        raise FloatingPointError(
            f"'{operation}' made NaN or infinity of finite inputs of the shapes "
            f"{[tuple(a.shape) for a in inputs]}"
        )


def held(rules: Any) -> Iterator[Array]:
    """Every array that functions reach through the names they closed over."""
    waiting, seen = [rules], set()
    while waiting:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        array = getattr(value, "array", value)  # of a Tensor
        if is_array(array):
            yield array
        elif isinstance(value, tuple | list | dict):
            waiting += value.values() if isinstance(value, dict) else value
        elif callable(value):
            cells = getattr(value, "__closure__", None) or ()
            waiting += [cell.cell_contents for cell in cells]
            waiting += getattr(value, "__defaults__", None) or ()


def checksum(array: Array) -> int:
    """A number for what is in an array: another content has, nearly certainly, another one."""
    if is_torch_array(array):
        import torch

        if not array.numel():
            return 0  # torch does not see it as bytes
        array = array.detach().contiguous().reshape(-1).view(torch.uint8).numpy(force=True)
    return zlib.crc32(np.ascontiguousarray(array).data)


def is_finite(array: Array, masked: bool = False) -> bool:
    """True without NaN and infinities (``masked``: but for −∞)."""
    if not is_floating(array):
        return True
    xp = namespace(array)
    fine = xp.isfinite(array)
    return bool(xp.all(fine | (array == -xp.inf) if masked else fine))
