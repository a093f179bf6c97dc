"""Two calls that are alike in shape: a function that keeps nothing answers each by itself."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from minissl.autograd.tensor import Tensor
from minissl.homework.task import Wrong, call

REMEMBERED = (
    "it gives the answer of an earlier call with the same shape: keep nothing between calls"
)


def asked_again(
    subject: Callable[..., Any],
    first: tuple[Any, ...],
    second: tuple[Any, ...],
    **settings: Any,
) -> None:
    """Wrong if the second call gives what the first gave. Their right answers must differ."""
    before = [array.copy() for array in _arrays(call(subject, *first, **settings))]
    now = _arrays(call(subject, *second, **settings))
    any_numbers = any(array.size for array in before)
    if any_numbers and len(before) == len(now) and all(map(np.array_equal, before, now)):
        given: Mapping[str, Any] = {
            **{f"first call, argument {i + 1}": value for i, value in enumerate(first)},
            **{f"second call, argument {i + 1}": value for i, value in enumerate(second)},
            **settings,
        }
        raise Wrong(REMEMBERED, given, now[0], "another answer than that of the first call")


def _arrays(answer: Any) -> list[np.ndarray]:
    """What is in an answer: an array, a Tensor, or a tuple of them."""
    parts = answer if isinstance(answer, tuple | list) else [answer]
    parts = [part.numpy() if isinstance(part, Tensor) else part for part in parts]
    return [part for part in parts if isinstance(part, np.ndarray)]
