"""The few array helpers that the Python Array API standard leaves open.

Every primitive operation is written once against the standard and runs on NumPy arrays and on torch
tensors used as plain memory (torch's own autograd stays off). What the standard does not define
(``erf``, adding into repeated positions) has its NumPy and its torch line here, and nowhere else.
"""

import functools
import math
import sys
from collections.abc import Sequence
from typing import Any

import array_api_compat
import numpy as np

Array = Any  # numpy.ndarray or torch.Tensor: whatever has the methods of the Array API standard


def namespace(array: Array) -> Any:
    """The Array API functions (``exp``, ``sum``, ...) that work on this array."""
    kind: Any = type(array)
    if kind not in _NAMESPACES:
        _NAMESPACES[kind] = array_api_compat.array_namespace(array)
    return _NAMESPACES[kind]


_NAMESPACES: dict[Any, Any] = {}  # asked for once: finding one takes as long as an addition


def is_torch_array(value: object) -> bool:
    """True for torch tensors. A step asks a thousand times, hence once for each type."""
    kind: Any = type(value)
    return _is_torch_type(kind)


@functools.cache
def _is_torch_type(kind: type) -> bool:
    torch = sys.modules.get("torch")  # where it is not imported, nothing is of it
    return torch is not None and issubclass(kind, torch.Tensor)


def is_array(value: object) -> bool:
    """True for NumPy arrays and torch tensors, False for numbers, lists and our own Tensor."""
    return isinstance(value, np.ndarray) or is_torch_array(value)


def dtype_name(array: Array) -> str:
    """``"float32"`` for both ``numpy.float32`` and ``torch.float32``."""
    return str(array.dtype).removeprefix("torch.")


def is_floating(array: Array) -> bool:
    """True when the array can carry a gradient."""
    dtype = array.dtype
    return dtype.kind == "f" if isinstance(dtype, np.dtype) else dtype.is_floating_point


def require_floating(operation: str, *arrays: Array) -> None:
    """Raise TypeError unless every array (or Tensor) has a floating dtype."""
    for array in arrays:
        if hasattr(array, "dtype") and not is_floating(array):
            raise TypeError(
                f"{operation}: expected floating arrays, got {dtype_name(array)}: "
                "convert with .astype(dtype) first"
            )


def converted(arrays: Sequence[Array], dtype: str) -> list[Array]:
    """Copies of arrays of one library in another dtype: on a GPU few launches, not one for each."""
    if not arrays or not is_torch_array(arrays[0]):
        return [array.astype(dtype) for array in arrays]
    import torch

    copies = [torch.empty_like(array, dtype=getattr(torch, dtype)) for array in arrays]
    torch._foreach_copy_(copies, list(arrays))
    return copies


def kind(array: Array) -> str:
    """Library and device in words, to compare and to name: ``"numpy"``, ``"torch cuda:0"``."""
    return f"torch {array.device}" if is_torch_array(array) else "numpy"


def memory(array: Array) -> int:
    """A number for the memory behind an array: views of one array have the same."""
    if is_torch_array(array):
        return array.untyped_storage().data_ptr()
    while isinstance(array.base, np.ndarray):
        array = array.base
    return id(array)


def is_repeated(array: Array) -> bool:
    """True for a broadcast view, where one place in memory stands for several elements."""
    return 0 in (array.stride() if is_torch_array(array) else array.strides)


def normalized_axes(axis: int | tuple[int, ...] | None, ndim: int) -> tuple[int, ...]:
    """The axes (None: all) as non-negative ints; IndexError for one that is not there."""
    if axis is None:
        return tuple(range(ndim))
    axes = axis if isinstance(axis, tuple) else (axis,)
    for a in axes:
        if not -ndim <= a < ndim:
            raise IndexError(f"axis {a} is out of range for a tensor with {ndim} axes")
    return tuple(a % ndim for a in axes)


def unbroadcast(gradient: Array, shape: tuple[int, ...]) -> Array:
    """Undo broadcasting: sum ``gradient`` over every axis along which ``shape`` was repeated.

    If ``b = broadcast(a)`` then each element of ``a`` was used several times, and the gradients of
    all its uses add up. Example: a gradient of shape (2, 3) for an input of shape (3,) or (1, 3) is
    summed over its first axis.
    """
    extra = gradient.ndim - len(shape)
    repeated = tuple(
        axis
        for axis, size in enumerate(gradient.shape)
        if axis < extra or (shape[axis - extra] == 1 and size != 1)
    )
    if repeated:
        gradient = namespace(gradient).sum(gradient, axis=repeated, dtype=gradient.dtype)
    return gradient.reshape(shape)


def erf(x: Array) -> Array:
    """The error function ``2/√π ∫₀ˣ exp(−t²) dt``, elementwise."""
    if is_torch_array(x):
        return x.erf()
    from scipy.special import erf as scipy_erf

    return scipy_erf(x).astype(x.dtype, copy=False)  # SciPy answers float16 in float32


def scatter_add(size: int, positions: Array, values: Array) -> Array:
    """Zeros of shape (size, ...) with ``values[i]`` added at row ``positions[i]``; repeats add up.

    Shapes: positions (count,) integers in [0, size); values (count, ...). The gradient of looking
    something up is adding it back, and a row that was looked up twice gets both gradients.
    """
    if is_torch_array(values):
        return _torch_scatter_add(size, positions, values)
    result = np.zeros((size, *values.shape[1:]), dtype=values.dtype)
    if values.ndim == 1:
        np.add.at(result, positions, values)
        return result
    # np.add.at is slow on rows: sort the rows by position, then sum each run of equal positions.
    order = np.argsort(positions, kind="stable")
    sorted_positions = positions[order]
    starts = np.flatnonzero(np.diff(sorted_positions, prepend=-1))
    result[sorted_positions[starts]] = np.add.reduceat(values[order], starts, axis=0)
    return result


def _torch_scatter_add(size: int, positions: Array, values: Array) -> Array:
    """By the gradient of torch's embedding: sums in float32, and, unlike index_add_, in one order.

    In bfloat16 the gradients of a frequent token, added one by one, would soon change nothing.
    """
    import torch

    rows = values.reshape((values.shape[0], math.prod(values.shape[1:])))
    if not is_floating(values) or not rows.numel():
        return values.new_zeros((size, *values.shape[1:])).index_add_(0, positions, values)
    total = torch.ops.aten.embedding_dense_backward(rows.contiguous(), positions, size, -1, False)
    return total.reshape((size, *values.shape[1:]))


def require_indices(operation: str, indices: Array, size: int, ignored: int | None = None) -> None:
    """Raise IndexError for an index outside of 0 to ``size`` − 1 that is not ``ignored`` either.

    On a GPU nobody waits for the answer: as in torch, a wrong index stops the program with this
    message at the next moment when the computer asks the GPU for something.
    """
    xp = namespace(indices)
    outside = (indices < 0) | (indices >= size)
    if ignored is not None:
        outside &= indices != ignored
    expected = f"expected 0 to {size - 1}" + ("" if ignored is None else f", or {ignored}")
    if is_torch_array(indices) and indices.device.type != "cpu":
        import torch

        torch._assert_async(~outside.any(), f"{operation}: an index is out of range, {expected}")
    elif bool(xp.any(outside)):
        found = int(indices[outside].reshape(-1)[0])
        raise IndexError(f"{operation}: index {found} is out of range, {expected}")
