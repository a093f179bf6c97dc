"""Half precision (float16, bfloat16): computed on in float32, and rounded once, at the end.

A formula of several steps loses digits at each, and float16 ends at 65,504: the squares of a vector
(300, 400) are beyond that, and its length is not. GPUs do the same within a kernel.
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from minissl.autograd.arrays import Array, is_half, namespace, single
from minissl.autograd.tensor import Tensor

Function = Callable[..., tuple[Array, Any]]  # what ``differentiable`` takes


def rounded_once(function: Function, where: Callable[[Any], bool] = is_half) -> Function:
    """Below ``@differentiable``: output and gradients of half precision are rounded once.

    ``backward`` gives every gradient its input's dtype, so that here only g is made wider.
    """

    @functools.wraps(function)
    def rounded(*arguments: Any, **settings: Any) -> tuple[Array, Any]:
        first = arguments[0]
        if not where(first):
            return function(*arguments, **settings)
        output, vjps = function(*(single(a) if is_half(a) else a for a in arguments), **settings)
        output = namespace(first).astype(namespace(first).asarray(output), first.dtype)
        if callable(vjps):
            return output, _of_single(vjps)
        return output, tuple([None if vjp is None else _of_single(vjp) for vjp in vjps])

    return rounded


def _of_single(vjp: Callable[[Array], Any]) -> Callable[[Array], Any]:
    return lambda g: vjp(single(g))


def rounded_once_by_numpy(function: Function) -> Function:
    """The same on NumPy arrays only: for products, which torch itself adds up in float32."""
    return rounded_once(function, lambda a: isinstance(a, np.ndarray) and is_half(a))


def in_single(operation: Callable[..., Tensor], *inputs: Any, **settings: Any) -> Tensor:
    """``operation`` on these inputs in float32, its result in the dtype of the first of them."""
    tensors = [x if isinstance(x, Tensor) or x is None else Tensor(x) for x in inputs]
    return operation(*map(at_least_single, tensors), **settings).astype(inputs[0].dtype)


def at_least_single(x: Any) -> Any:
    """Tensors and arrays of half precision in float32, others (and None) as they are."""
    if not isinstance(x, Tensor):
        return single(x)
    return x.astype(namespace(x.array).float32) if is_half(x) else x
