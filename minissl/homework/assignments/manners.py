"""What a function owes its caller, whatever it computes: it keeps nothing, changes nothing, and
gives back something of its own.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.autograd.tensor import Tensor
from minissl.homework.task import Wrong, call


def call_twice(function: Callable[..., Any], /, *arguments: Any, **options: Any) -> Any:
    """``call``, and once more: the same must come out, and nobody's things may be touched.

    Raises Wrong when a list, a dictionary or an array in one was changed; when the result is an
    argument, or shares its memory; when the global generators of NumPy or Python were drawn from;
    and when the second call, with generators as new as before, gives something else.
    """
    given = {**{f"argument {i + 1}": a for i, a in enumerate(arguments)}, **options}
    before, drawn = _kept(given), _global_state()
    again = copy.deepcopy({name: x for name, x in options.items() if _is_generator(x)})
    result = call(function, *arguments, **options)
    for name, value in given.items():
        if not _is_generator(value) and not alike(value, before[name]):
            raise Wrong(f"it changed its input ({name})", before, value, before[name])
    if drawn != _global_state():
        sentence = "it draws from a global generator: use the generator that is given, if any is"
        raise Wrong(sentence, before, "another state", "np.random as it was")
    for mine in _arrays(result):
        if any(np.shares_memory(mine, array) for array in _arrays(given)):
            sentence = "it gives back its input, or a view of it: who changes one changes the other"
            raise Wrong(sentence, before, mine, "an array of its own")
    first = _kept(result)
    second = call(function, *arguments, **{**options, **again})
    if not alike(first, second):
        sentence = "the same call once more gives something else: nothing is drawn here or kept "
        raise Wrong(f"{sentence}between calls", before, second, first)
    if not alike(first, result):
        sentence = "the second call has changed what the first one gave: make a new array each time"
        raise Wrong(sentence, before, result, first)
    return result


def _is_generator(value: Any) -> bool:
    return isinstance(value, np.random.Generator)


def _global_state() -> Any:
    _, keys, *rest = np.random.get_state()  # noqa: NPY002  (a student may have drawn from it)
    return np.asarray(keys).tobytes(), *rest, random.getstate()


def _kept(value: Any) -> Any:
    """A copy, so deep that no array in it is shared."""
    if isinstance(value, Tensor):
        return np.array(value.numpy())
    if isinstance(value, np.ndarray):
        return value.copy()
    if isinstance(value, dict):
        return {name: _kept(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_kept(item) for item in value]
    return set(value) if isinstance(value, set) else value


def _arrays(value: Any) -> Iterator[NDArray]:
    """All arrays in a value."""
    if isinstance(value, Tensor):
        yield value.numpy()
    elif isinstance(value, np.ndarray):
        yield value
    elif isinstance(value, Mapping | list | tuple):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _arrays(item)


def alike(one: Any, other: Any) -> bool:
    """Whether two values hold the same: Tensors and arrays by their numbers, NaN being NaN."""
    if isinstance(one, Tensor | np.ndarray) or isinstance(other, Tensor | np.ndarray):
        first, second = (
            np.asarray(x.numpy() if isinstance(x, Tensor) else x) for x in (one, other)
        )
        floating = {first.dtype.kind, second.dtype.kind} <= {"f"}
        return np.array_equal(first, second, equal_nan=floating)
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(alike(one[name], other[name]) for name in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(alike, one, other))
    return bool(one == other) or (one != one and other != other)
