"""Finite differences, the oracle of every gradient that a student writes by hand."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.autograd import operations as ops
from minissl.autograd.tensor import Tensor
from minissl.homework.task import Wrong, call, expect


def differences(function: Callable[[NDArray], Any], x: NDArray) -> NDArray:
    """∂ function / ∂x by central differences, element by element."""
    gradient = np.empty_like(x)
    for at in np.ndindex(x.shape):
        step = np.zeros_like(x)
        step[at] = 1e-5
        gradient[at] = (function(x + step) - function(x - step)) / 2e-5
    return gradient


def check_gradients(
    function: Callable[..., Any],
    oracle: Callable[..., Any],
    given: Mapping[str, NDArray],
    *,
    symptoms: Mapping[str, Mapping[str, NDArray]] | None = None,
    hint: str = "",
    tolerance: float = 1e-6,
) -> None:
    """Raise Wrong unless the gradients of ``function(*given)`` are those of the oracle.

    ``given``: float64 arrays by name, in the order of the arguments. Of several values a weighted
    sum is looked at. ``symptoms``: for a name, sentence -> what a well-known mistake gives.
    ``hint``: what to look at, should a gradient be wrong. ``tolerance``: of the largest slope or 1,
    whichever is larger.
    """
    tensors = {name: Tensor(array, requires_grad=True) for name, array in given.items()}
    value = call(function, *tensors.values())
    if not isinstance(value, Tensor):
        sentence = f"expected a Tensor, got {type(value).__name__}: a loss needs a gradient"
        raise Wrong(sentence, given, value, "a Tensor")
    for name, tensor in tensors.items():
        if tensor.grad is not None:
            sentence = f"it has set the gradient of {name}: that is for backward() to do"
            raise Wrong(sentence, given, tensor.grad, None)
    weights = np.cos(np.arange(value.size)).reshape(value.shape)
    try:
        ops.sum(value * weights).backward()
    except Exception as error:
        sentence = f"there is no gradient: {type(error).__name__}: {error}"
        raise Wrong(sentence, given, type(error).__name__, "a gradient") from error
    for name, array in given.items():

        def weighted(x: NDArray, name: str = name) -> float:
            arrays = (x if n == name else a for n, a in given.items())
            return float(np.sum(oracle(*arrays) * weights))

        right, got = differences(weighted, array), tensors[name].grad
        if got is None:
            sentence = f"no gradient reaches {name}: did it leave the engine (.array, .detach())?"
            raise Wrong(sentence, given, None, right)
        allowed = tolerance * max(1.0, float(np.abs(right).max(initial=0.0)))
        if got.shape == right.shape and np.allclose(got, right, rtol=0, atol=allowed):
            continue
        wrong = (symptoms or {}).get(name)
        sentence = f"the gradient by {name} is wrong{hint and f': {hint}'}"
        expect(got, right, given=given, symptoms=wrong, otherwise=sentence, tolerance=1e-6)
