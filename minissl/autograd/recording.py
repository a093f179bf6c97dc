"""Whether operations remember how they were made: ``no_grad()`` and ``recording()``. Lecture 02."""

import functools
import inspect
from collections.abc import Callable
from contextvars import ContextVar, Token
from types import TracebackType
from typing import TypeVar, cast

_recording: ContextVar[bool] = ContextVar("recording", default=True)


_Function = TypeVar("_Function", bound=Callable)


class recording:
    """Within this block (or decorated function) operations remember how they were made, or not.

    Raises TypeError for generators and async functions, which stop in the middle: their caller,
    who goes on meanwhile, would be switched too, or the switch would be back before they begin.
    """

    def __init__(self, on: bool = True):
        self._on = on
        self._before: list[Token[bool]] = []

    def __enter__(self) -> None:
        self._before.append(_recording.set(self._on))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        _recording.reset(self._before.pop())

    def __call__(self, function: _Function) -> _Function:
        for stops in (
            inspect.isgeneratorfunction,
            inspect.iscoroutinefunction,
            inspect.isasyncgenfunction,
        ):
            if stops(function):
                raise TypeError(
                    f"no_grad() cannot decorate '{function.__name__}', which is a generator or "
                    "async: it would end before the first step. Write `with no_grad():` inside, "
                    "around what computes, and not around a yield or await"
                )

        @functools.wraps(function)
        def switched(*arguments, **settings):
            with recording(self._on):
                return function(*arguments, **settings)

        return cast(_Function, switched)


def no_grad() -> recording:
    """Within this block operations compute but remember nothing: evaluation without a graph.

    As a decorator, ``@no_grad()``, the same for every call of a function.
    """
    return recording(False)


def is_recording() -> bool:
    """False inside ``no_grad()``."""
    return _recording.get()
