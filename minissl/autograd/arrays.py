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


def filled(like: Array, shape: tuple[int, ...], value: float) -> Array:
    """A new array full of one value, in the library, place and dtype of another."""
    xp = namespace(like)
    extra = {} if isinstance(like.device, str) else {"device": like.device}
    return xp.full(shape, value, dtype=like.dtype, **extra)


class Placed:
    """A gradient of zeros with ``values`` at ``index``: what a slice sends to its array.

    Written out in full, the gradients of n slices would be n arrays of the size of all of them.
    """

    __slots__ = ("index", "values")

    def __init__(self, index: Any, values: Array):
        self.index, self.values = index, values

    def added_to(self, array: Array) -> Array:
        """The array itself, with the values added at their places."""
        array[self.index] += self.values
        return array


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
    found = tuple(a % ndim for a in axes)
    if len(set(found)) < len(found):
        raise ValueError(f"axes {axes} name an axis twice, of a tensor with {ndim} axes")
    return found


TOGETHER = 128  # so many float32 numbers in a row may be added up before digits are lost


def total(array: Array, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Array:
    """Σ over the axes, in the array's dtype, as good over millions of rows as over ten.

    A float32 that has reached 2²⁴ = 16,777,216 stays there, whatever ones are added to it, and one
    by one 300,000 times .1 is wrong in the third digit. So rows are added up in groups, and the
    groups' sums in float64. float16 is added up in float32, integers and masks as integers.
    """
    axes = normalized_axes(axis, array.ndim)
    if is_torch_array(array):
        return _torch_total(array, axes, keepdims)
    if array.dtype.kind != "f":
        return np.sum(array, axis=axes, keepdims=keepdims)
    wide = array.astype(np.float32) if array.dtype == np.float16 else array
    count, last = math.prod(array.shape[i] for i in axes), array.ndim - len(axes)
    if count <= TOGETHER or not wide.flags.c_contiguous:  # in whatever order the memory lies
        exact = None if count <= TOGETHER else np.float64
        c = np.sum(wide, axis=axes, keepdims=keepdims, dtype=exact)
    elif min(axes) == last:  # next to each other: NumPy adds them in pairs, pairs of pairs, ...
        c = np.sum(wide, axis=axes, keepdims=keepdims)
    elif max(axes) == len(axes) - 1:
        c = _total_of_rows(wide.reshape(count, -1))
        c = c.reshape((1,) * (keepdims * len(axes)) + array.shape[len(axes) :])
    else:
        c = np.sum(wide, axis=axes, keepdims=keepdims, dtype=np.float64)
    return c.astype(array.dtype, copy=False)


def _total_of_rows(rows: np.ndarray) -> np.ndarray:
    """The sum of all rows: groups by a product with ones, several times as fast as a sum."""
    count, width = rows.shape
    whole = count - count % TOGETHER
    groups = rows[:whole].reshape(whole // TOGETHER, TOGETHER, width)
    sums = np.matmul(np.ones((1, TOGETHER), rows.dtype), groups)[:, 0]
    sums = np.concatenate([sums, rows[whole:].sum(axis=0, keepdims=True, dtype=rows.dtype)])
    return np.asarray(np.sum(sums, axis=0, dtype=np.float64))


def _torch_total(array: Array, axes: tuple[int, ...], keepdims: bool) -> Array:
    """On the CPU by NumPy, which shares the memory; a GPU adds up many partial sums anyway."""
    if array.device.type != "cpu":
        floating = array.dtype if is_floating(array) else None
        return namespace(array).sum(array, axis=axes, keepdims=keepdims, dtype=floating)
    c = total(single(array).numpy(), axes, keepdims)
    answer = namespace(array).asarray(c)
    return answer.to(array.dtype) if is_floating(array) else answer


def is_half(array: Any) -> bool:
    """True for float16 and bfloat16, in which formulas of several steps lose their digits."""
    dtype = getattr(array, "dtype", None)
    return dtype is not None and dtype.itemsize == 2 and is_floating(array)


def single(array: Array) -> Array:
    """float16 and bfloat16 as float32; any other array as it is."""
    return namespace(array).astype(array, namespace(array).float32) if is_half(array) else array


def sign(array: Array) -> Array:
    """−1, 0 or 1 for each element, and NaN for NaN."""
    if is_torch_array(array):
        return array.sign().where(~array.isnan(), array)
    return np.sign(array)


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
        gradient = total(gradient, repeated)
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
    if values.ndim == 1:  # added up in float64
        sums = np.bincount(positions.astype(np.int64, copy=False), values, minlength=size)
        return sums.astype(values.dtype, copy=False)
    order = np.argsort(positions, kind="stable")
    places = positions[order]
    rank = np.arange(len(places)) - np.searchsorted(places, places)  # among those of its position
    rows, at = single(values[order]), np.arange(len(places))
    while rank.any():  # the second of each pair is added to the first, until one is left
        second = rank % 2 == 1
        rows[at[np.roll(second, -1)]] += rows[at[second]]
        at, rank = at[~second], rank[~second] // 2
    result = np.zeros((size, *values.shape[1:]), dtype=values.dtype)
    result[places[at]] = rows[at]
    return result


def _torch_scatter_add(size: int, positions: Array, values: Array) -> Array:
    """On a GPU by the gradient of torch's embedding: in float32, and in one order each time.

    Added one by one, and in bfloat16, the gradients of a frequent token would soon change nothing.
    """
    import torch

    if values.device.type == "cpu":  # NumPy shares the memory
        sums = scatter_add(size, positions.numpy(), single(values).numpy())
        return torch.from_numpy(sums).to(values.dtype)
    rows = values.reshape((values.shape[0], math.prod(values.shape[1:])))
    if not is_floating(values) or not rows.numel():
        return values.new_zeros((size, *values.shape[1:])).index_add_(0, positions, values)
    sums = torch.ops.aten.embedding_dense_backward(rows.contiguous(), positions, size, -1, False)
    return sums.reshape((size, *values.shape[1:]))


def int64_on_torch(indices: Array) -> Array:
    """torch compares within the dtype: in uint8 −100 is 156, and a number of 1000 classes is 232.

    NumPy compares the numbers, and its arrays stay as they are.
    """
    return indices.long() if is_torch_array(indices) else indices


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
