"""What is measured and what its formula says; the slope of a curve between logarithmic axes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

TOLERANCE = 0.15  # that a measured slope may lie above its formula's
LAST = 3  # sizes at the end, which are judged by themselves: a factor of 4


class Law(NamedTuple):
    """A formula: for the reader, and as a number that grows as it says, in any unit."""

    formula: str
    count: Callable[[int], float]


CONSTANT = Law("1", lambda n: 1)
LINEAR = Law("n", lambda n: n)
SQUARE = Law("n²", lambda n: n * n)
SORTED = Law("n log n", lambda n: n * float(np.log2(n)))


@dataclass(frozen=True)
class Growth:
    """Something that runs at several sizes: ``build(size)`` returns what is measured."""

    what: str
    against: str  # what the size counts: the n of the formulas
    sizes: Sequence[int]
    build: Callable[[int], Callable[[], object]]
    time: Law = LINEAR
    memory: Law = LINEAR
    why: Mapping[str, str] = field(default_factory=dict)  # it is above a formula; by "time", ...

    @property
    def name(self) -> str:
        """As it is asked for: "attention, head size" is ``attention-head-size``."""
        return f"{self.what} {self.against}".lower().replace(",", "").replace(" ", "-")


def doublings(first: int, times: int = 6) -> list[int]:
    """``first`` and its doubles: six times, and the last is 64 times the first."""
    return [first << i for i in range(times + 1)]


def slope(sizes: Sequence[float], values: Sequence[float]) -> float:
    """Least squares of log value against log size: the exponent of a power law."""
    x = np.log(sizes) - np.log(sizes).mean()
    return float(x @ np.log(values) / (x @ x))


class Slopes(NamedTuple):
    """The exponents over all sizes and over the last ones, the formula's and the measured."""

    formula: float
    measured: float
    last_formula: float
    last_measured: float

    @property
    def above(self) -> float:
        """By how much the measurement is steeper than the formula, where it is so most.

        A constant (starting a function, a small array) makes the beginning flatter and can hide
        what grows too fast; at the end it no longer does. The last sizes alone miss what became
        steeper before. So both are looked at.
        """
        return max(self.measured - self.formula, self.last_measured - self.last_formula)

    @property
    def too_steep(self) -> bool:
        """More than ``TOLERANCE`` above the formula."""
        return self.above > TOLERANCE


def slopes(law: Law, sizes: Sequence[int], values: Sequence[float]) -> Slopes:
    """Of what was measured at these sizes, beside its law."""
    counts = [law.count(size) for size in sizes]
    last = slice(-LAST, None)
    return Slopes(
        slope(sizes, counts),
        slope(sizes, values),
        slope(sizes[last], counts[last]),
        slope(sizes[last], values[last]),
    )
