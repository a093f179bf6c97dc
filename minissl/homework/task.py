"""A homework task: a function of the library to write, and the checks it must pass.

A check is a function ``(subject, draw)``: ``subject`` is the function under test (the student's, or
the library's own when our tests run), ``draw`` gives cases, the smallest first. It compares with an
oracle that is never the code under test (float64 NumPy, a closed form, finite differences) by
``expect``, and the first case that fails is what the student sees.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from minissl.autograd.tensor import Tensor

if TYPE_CHECKING:
    from minissl.homework.experiment import Experiment

Case = TypeVar("Case")
# Of the largest expected element: another order of the same steps may differ by so much.
TOLERANCES = {"float64": 1e-9, "float32": 1e-5, "float16": 2e-3}
SMALLEST = 1e-5  # what is smaller counts as so large: what should be 0 is 0 but for rounding


CAUSES = 20  # errors behind an error that are looked at


class Wrong(AssertionError):
    """A case that shows a mistake. ``symptom``: one sentence; the rest is printed below it.

    ``difference``: how far apart the two are, for when they print alike.
    """

    def __init__(
        self,
        symptom: str,
        given: Mapping[str, Any],
        got: Any,
        expected: Any,
        difference: str = "",
    ):
        super().__init__(symptom)
        self.symptom, self.given, self.got, self.expected = symptom, given, got, expected
        self.difference = difference


@dataclass(frozen=True)
class Draw:
    """Cases for a check: fixed ones and, after them, random ones.

    ``generator``: seeded by ``--seed``; ``extra``: how many random cases (``--extra-shapes``).
    """

    generator: np.random.Generator
    extra: int = 3

    def normal(self, *shape: int, dtype: Any = np.float64) -> NDArray:
        """Independent standard normal numbers."""
        return self.generator.standard_normal(shape).astype(dtype)

    def cases(self, *fixed: Case, more: Callable[[np.random.Generator], Case]) -> Iterator[Case]:
        """The fixed cases, smallest first, then ``extra`` that ``more`` draws."""
        yield from fixed
        for _ in range(self.extra):
            yield more(self.generator)


@dataclass(frozen=True)
class Check:
    """One aspect of a task. ``about``: the sentence a student reads, the check's docstring."""

    name: str
    points: int
    run: Callable[[Any, Draw], None]

    @property
    def about(self) -> str:
        return (self.run.__doc__ or "").strip().split("\n")[0]


@dataclass
class Task:
    """One function to write.

    ``number``: "1.3". ``target``: "module:function", or "module:Class.method" (the student writes a
    subclass with that method, and checks are given the subclass). ``lecture``: where to read, as in
    "lecture 02, section 3".
    ``seconds``: the time limit of all its checks together. ``requires``: packages beyond the core.
    ``hides``: what the library's body uses and the starter does not import, because it would give
    the answer away or is not needed. ``allows``: what a student may call of the library or of
    other packages, beside what the starter imports (patterns, see ``guard.Guard``).
    """

    number: str
    target: str
    title: str
    lecture: str
    seconds: float = 30
    requires: tuple[str, ...] = ()
    hides: tuple[str, ...] = ()
    allows: tuple[str, ...] = ()
    checks: list[Check] = field(default_factory=list)

    @property
    def module(self) -> str:
        return self.target.split(":")[0]

    @property
    def name(self) -> str:
        """What a student's file must define: the function, or the class of the method."""
        return self.target.split(":")[1].split(".")[0]

    @property
    def label(self) -> str:
        """The function, or the method with its class: "Tokenizer.encode"."""
        return self.target.split(":")[1]

    @property
    def method(self) -> str | None:
        """The method's name, None for a function."""
        return self.label.partition(".")[2] or None

    @property
    def unwritten(self) -> str:
        """What a body says that is still to be written."""
        return f"hw{self.number} {self.label}: {self.read}"

    @property
    def read(self) -> str:
        """The command that shows where to read; it works wherever the library is installed."""
        place = r"(lecture \d+), section (\d+)"
        return re.sub(place, r"minissl \1 --section \2", self.lecture)

    @property
    def points(self) -> int:
        """What the checks are worth together."""
        return sum(check.points for check in self.checks)

    @property
    def by_hand(self) -> int:
        """Points beside these that a person gives: an experiment has some."""
        return 0

    @property
    def stem(self) -> str:
        """The name of the module that the student's file becomes: "hw1"."""
        return f"hw{self.number.partition('.')[0]}"

    def file_of(self, path: Path) -> Path:
        """The student's file for this task, ``path`` being that of ``hwN.py``."""
        return path

    def check(self, points: int) -> Callable[[Callable[[Any, Draw], None]], Any]:
        """Decorator: the function is a check of this task, worth so many points."""

        def add(run: Callable[[Any, Draw], None]) -> Callable[[Any, Draw], None]:
            self.checks.append(Check(run.__name__, points, run))
            return run

        return add

    def answer(self) -> Any:
        """The library's function or class: the answer key."""
        return getattr(import_module(self.module), self.name)


@dataclass(frozen=True)
class Assignment:
    """A homework: ``number`` 1, its title, and its tasks in the order they are solved.

    ``experiment``: what comes after them, in files of its own.
    """

    number: int
    title: str
    tasks: tuple[Task, ...]
    experiment: Experiment | None = None

    @property
    def parts(self) -> tuple[Task, ...]:
        """All that is checked: the tasks, and the experiment if there is one."""
        return (*self.tasks, self.experiment) if self.experiment else self.tasks

    @property
    def points(self) -> int:
        """Those of the checks and those that a person gives."""
        return sum(task.points + task.by_hand for task in self.parts)


def unwritten(error: BaseException | None) -> str | None:
    """What the starter's body says, if that is behind this error (Triton wraps what is raised)."""
    for _ in range(CAUSES):  # some make a circle of them
        if error is None:
            break
        if isinstance(error, NotImplementedError) and re.match(r"hw\d+\.\d+ ", str(error)):
            return str(error)
        error = error.__cause__ or error.__context__
    return None


def call(function: Callable[..., Any], /, *arguments: Any, **options: Any) -> Any:
    """Call it, and see that it leaves its arrays, lists and dicts alone; a crash becomes a case.

    Raises Wrong when it raises (that it is not written passes through) or changes an argument.
    """
    given = {**{f"argument {i + 1}": a for i, a in enumerate(arguments)}, **options}
    before = {name: _copy(value) for name, value in given.items()}
    try:
        result = function(*arguments, **options)
    except Exception as error:
        if unwritten(error) or isinstance(error, Wrong):
            raise
        message = f"it raised {type(error).__name__}: {error}"
        raise Wrong(message, before, type(error).__name__, "a result") from error
    for name, value in given.items():
        if not _unchanged(value, before[name]):
            now, then = _array(value), _array(before[name])
            raise Wrong(f"it changed its input ({name})", before, now, then)
    return result


def expect_error(
    kind: type[Exception], function: Callable[..., Any], /, *arguments: Any, **options: Any
) -> None:
    """Raise Wrong unless the call raises an exception of this kind."""
    given = {**{f"argument {i + 1}": a for i, a in enumerate(arguments)}, **options}
    try:
        result = function(*arguments, **options)
    except Exception as error:
        if unwritten(error):
            raise
        if isinstance(error, kind):
            return
        message = f"it raised {type(error).__name__}: {error}"
        raise Wrong(message, given, type(error).__name__, kind.__name__) from error
    raise Wrong(f"it should raise a {kind.__name__} here", given, result, kind.__name__)


def expect(
    got: Any,
    expected: Any,
    *,
    given: Mapping[str, Any],
    symptoms: Mapping[str, Any] | None = None,
    otherwise: str = "the values are wrong",
    tolerance: float | None = None,
) -> None:
    """Raise Wrong unless ``got`` is ``expected`` in shape, dtype and, nearly, in value.

    Tensors are compared as arrays. ``given``: the case, by name. ``symptoms``: sentence -> what a
    well-known mistake gives; the sentence is shown when the answer is just that.
    ``otherwise``: the sentence for any other value. ``tolerance``: relative to the largest expected
    element (or SMALLEST), None for what the dtype of ``expected`` makes sense of (``TOLERANCES``);
    not used for integers, strings and other things that must be equal.
    """
    got, expected = _array(got), _array(expected)
    if tolerance is None:
        tolerance = TOLERANCES.get(str(getattr(expected, "dtype", "")), 0.0)
    for sentence, value in (symptoms or {}).items():
        if _same(got, _array(value), tolerance) and not _same(got, expected, tolerance):
            raise Wrong(sentence, given, got, expected)
    if isinstance(expected, np.ndarray):
        if not isinstance(got, np.ndarray | np.generic | float | int):
            sentence = f"expected numbers of shape {expected.shape}, got {type(got).__name__}"
            raise Wrong(sentence, given, got, expected)
        got = np.asarray(got)
        if got.shape != expected.shape:
            sentence = f"the shape is {got.shape}, expected {expected.shape}"
            raise Wrong(sentence, given, got, expected)
        if got.dtype != expected.dtype:
            sentence = f"the dtype is {got.dtype}, expected {expected.dtype}"
            raise Wrong(sentence, given, got, expected)
        if not np.isfinite(got).all() and np.isfinite(expected).all():
            raise Wrong("there are NaNs or infinities in the answer", given, got, expected)
    elif type(got) is not type(expected):
        sentence = f"expected {type(expected).__name__}, got {type(got).__name__}"
        raise Wrong(sentence, given, got, expected)
    if not _same(got, expected, tolerance):
        raise Wrong(otherwise, given, got, expected, _difference(got, expected, tolerance))


def _difference(got: Any, expected: Any, tolerance: float) -> str:
    """The largest difference of two arrays, where it is, and what was allowed; "" for others."""
    if not isinstance(expected, np.ndarray) or expected.dtype.kind != "f" or not expected.size:
        return ""
    apart = np.abs(np.asarray(got, np.float64) - expected.astype(np.float64))
    place = np.unravel_index(np.argmax(np.nan_to_num(apart, nan=np.inf)), apart.shape)
    where = f" at {tuple(int(i) for i in place)}" if place else ""
    largest = np.abs(expected[np.isfinite(expected)]).max(initial=SMALLEST)
    return f"{apart[place]:.3g}{where}; {tolerance * largest:.3g} is allowed"


def _array(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.numpy()
    return np.asarray(value) if isinstance(value, float | np.generic) else value


def _copy(value: Any) -> Any:
    if isinstance(value, Tensor):
        return Tensor(value.numpy().copy())
    if type(value) in (list, tuple):
        return type(value)(_copy(v) for v in value)
    if type(value) is dict:
        return {k: _copy(v) for k, v in value.items()}
    return value.copy() if isinstance(value, np.ndarray) else value


def _unchanged(now: Any, then: Any) -> bool:
    """Whether an argument is what its copy is; of other objects nothing is known."""
    if type(now) in (list, tuple):
        return len(now) == len(then) and all(map(_unchanged, now, then))
    if type(now) is dict:
        return [*now] == [*then] and all(_unchanged(now[key], then[key]) for key in now)
    now, then = _array(now), _array(then)
    if isinstance(now, np.ndarray):
        equal_nan = now.dtype.kind == "f"
        return isinstance(then, np.ndarray) and np.array_equal(now, then, equal_nan=equal_nan)
    return not isinstance(now, str | int) or now == then


def _same(got: Any, expected: Any, tolerance: float) -> bool:
    """Equal; floating arrays up to the tolerance times the largest expected element."""
    if not isinstance(expected, np.ndarray):
        return bool(type(got) is type(expected) and got == expected)
    if not isinstance(got, np.ndarray | float | int) or np.shape(got) != expected.shape:
        return False
    if expected.dtype.kind != "f":
        return np.array_equal(got, expected)
    finite = np.abs(expected[np.isfinite(expected)])
    allowed = tolerance * max(float(finite.max(initial=0.0)), SMALLEST)
    return np.allclose(got, expected, rtol=0, atol=allowed, equal_nan=True)
