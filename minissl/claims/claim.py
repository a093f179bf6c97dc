"""What a claim is: a sentence of a lecture, an experiment, and what must come out of it.

The expectation is written before the experiment runs, as an inequality with a margin. It is
*reproduced* when the mean difference over the seeds reaches the margin and the sign is right with
every single seed; otherwise the verdict says "not at this scale", and what was seen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, TypeVar

from minissl.options import Options

if TYPE_CHECKING:
    from minissl.claims.cache import Cache

Table = dict[str, dict[str, float]]  # row -> column -> value
Curves = dict[str, tuple[Any, Any]]  # name -> (x, y), lists or arrays of numbers


@dataclass(frozen=True)
class Setup:
    """What one run of an experiment is given.

    ``settings``: those of the chosen scale. ``device``: where the models are. ``note(text)``: says
    what is being done now (it stands beside the progress bar). ``cache``: where ``cache.shared``
    finds pretrained methods; None: all is trained here.
    """

    seed: int
    settings: Mapping[str, Any]
    device: str = "cpu"
    note: Callable[[str], None] = lambda text: None
    cache: Cache | None = None


T = TypeVar("T", bound=Options)


def chosen(kind: type[T], setup: Setup, **changes: Any) -> T:
    """Settings of a method: the library's defaults, then what the scale sets, then the changes.

    Raises ValueError for a change that is no setting of this kind, or a value out of bounds.
    """
    known = {one.name for one in fields(kind)}
    if unknown := sorted(changes.keys() - known):
        has = ", ".join(sorted(known))
        raise ValueError(f"{kind.__name__} has no setting {', '.join(unknown)}; it has {has}")
    of_scale = {name: value for name, value in setup.settings.items() if name in known}
    return kind(**(of_scale | changes))


@dataclass
class Measured:
    """What one seed gave: a table of numbers, and curves for the figure."""

    table: Table
    curves: Curves = field(default_factory=dict)


@dataclass(frozen=True)
class Cell:
    """One number of the table."""

    row: str
    column: str

    def __str__(self) -> str:
        return f"{self.column} of {self.row}"

    def of(self, table: Table) -> float:
        """Its value. Raises KeyError, with what there is, when the table has no such cell."""
        if self.row not in table or self.column not in table[self.row]:
            rows = {row: list(columns) for row, columns in table.items()}
            raise KeyError(f"the table has no {self.column!r} of {self.row!r}; it has {rows}")
        return table[self.row][self.column]


@dataclass(frozen=True)
class Expectation:
    """``larger`` − ``smaller`` ≥ ``margin``; each a cell of the table or a number."""

    larger: Cell | float
    smaller: Cell | float
    margin: float
    because: str = ""  # the lecture's reason, in a few words

    def __str__(self) -> str:
        text = self._inequality()
        return text + (f" ({self.because})" if self.because else "")

    def _inequality(self) -> str:
        larger, smaller, margin = self.larger, self.smaller, f"{self.margin:g}"
        if isinstance(larger, Cell) and isinstance(smaller, Cell):
            if larger.column == smaller.column:
                return f"{larger.column}: {larger.row} exceeds {smaller.row} by at least {margin}"
            if larger.row == smaller.row:
                columns = f"{larger.column} exceeds {smaller.column}"
                return f"{larger.row}: {columns} by at least {margin}"
            return f"{larger} exceeds {smaller} by at least {margin}"
        if isinstance(smaller, Cell):
            return f"{smaller} is at most {float(larger) - self.margin:g}"  # type: ignore[arg-type]
        return f"{larger} is at least {smaller + self.margin:g}"

    def differences(self, tables: Sequence[Table]) -> list[float]:
        """larger − smaller, for each seed."""
        return [_value(self.larger, table) - _value(self.smaller, table) for table in tables]

    def seen(self, tables: Sequence[Table]) -> list[float]:
        """What to show of each seed: the difference, or the one cell that a number bounds."""
        if isinstance(self.larger, Cell) and isinstance(self.smaller, Cell):
            return self.differences(tables)
        cell = self.larger if isinstance(self.larger, Cell) else self.smaller
        return [_value(cell, table) for table in tables]


def _value(side: Cell | float, table: Table) -> float:
    return float(side.of(table) if isinstance(side, Cell) else side)


def ahead(larger: str, smaller: str, column: str, margin: float, because: str = "") -> Expectation:
    """Within a column, the row ``larger`` exceeds the row ``smaller`` by the margin."""
    return Expectation(Cell(larger, column), Cell(smaller, column), margin, because)


@dataclass(frozen=True)
class Claim:
    """A claim of a lecture.

    ``statement``: the claim in one sentence. ``lecture``: "12, section 4". ``measure``: one run of
    the experiment, baselines included. ``expectations``: written before it is run. ``figure``:
    takes what each seed measured, and the settings, and returns a matplotlib figure.
    ``scales``: settings by name; ``"small"`` takes minutes on two cores, ``"full"`` is the larger
    run for a GPU, ``"quick"`` seconds (for tests; its verdict means nothing). ``settings``: the
    settings of methods that ``measure`` asks for with ``chosen``; ``own``: the names in the scales
    that the experiment itself reads. ``formats``: how a column is printed, ``".2f"`` if it is not
    named. ``rows``: what the rows are, for the corner of the table. ``about``: what a reader must
    know to judge. ``packages``: what it imports beside matplotlib that the library does without.

    Raises ValueError for a scale with a name that neither ``settings`` nor ``own`` has.
    """

    name: str
    title: str
    statement: str
    lecture: str
    measure: Callable[[Setup], Measured]
    expectations: Sequence[Expectation]
    figure: Callable[[Sequence[Measured], Mapping[str, Any]], Any]
    scales: Mapping[str, Mapping[str, Any]]
    settings: Sequence[type[Options]] = ()
    own: Sequence[str] = ()
    formats: Mapping[str, str] = field(default_factory=dict)
    rows: str = ""
    about: str = ""
    packages: Sequence[str] = ()

    def __post_init__(self) -> None:
        known = {*self.own, *(one.name for kind in self.settings for one in fields(kind))}
        for scale, settings in self.scales.items():
            if unknown := sorted(settings.keys() - known):
                raise ValueError(
                    f"claim {self.name}, scale {scale}: nobody reads {', '.join(unknown)}; there "
                    f"are {', '.join(sorted(known)) or 'no settings'}"
                )
