"""Where the weights start. Lectures 02 and 06."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np

# How many numbers may still be drawn, where somebody counts: see ``at_most``.
_LEFT: ContextVar[list[int] | None] = ContextVar("left", default=None)


@contextmanager
def at_most(count: int, where: str) -> Iterator[None]:
    """In this block no more numbers are drawn than a file has: ValueError before the memory.

    A damaged configuration can describe a model of any size. ``where``: the file, for the error.
    Twice as many and a million are allowed, since a part can be drawn that is then shared.
    """
    token = _LEFT.set([2 * count + 1_000_000])
    try:
        yield
    except OverdrawnError:
        raise ValueError(
            f"{where} describes a model that is larger than its weights, which are {count:,} "
            "numbers: one of the two is damaged, or of another model"
        ) from None
    finally:
        _LEFT.reset(token)


class OverdrawnError(ValueError):
    """More numbers were asked for than a file has."""


def _count(shape: tuple[int, ...]) -> None:
    if (left := _LEFT.get()) is not None:
        left[0] -= math.prod(shape)
        if left[0] < 0:
            raise OverdrawnError(f"no room for {shape}")


def uniform_fan_in(
    shape: tuple[int, ...], fan_in: int, generator: np.random.Generator
) -> np.ndarray:
    """Uniform in ±1/√fan_in, float32: torch's start for Linear and convolution layers.

    ``fan_in``: how many inputs each output adds up. The more there are, the smaller each weight, so
    that the sum keeps its size.
    """
    _count(shape)
    bound = 1 / math.sqrt(max(fan_in, 1))
    return generator.uniform(-bound, bound, shape).astype(np.float32)


def normal(shape: tuple[int, ...], std: float, generator: np.random.Generator) -> np.ndarray:
    """Normal with mean 0 and the given standard deviation, float32 (GPT and BERT: std 0.02)."""
    _count(shape)
    return generator.standard_normal(shape, dtype=np.float32) * np.float32(std)
