"""What an operation may be given: arrays of one library and one floating dtype, and numbers.

Numbers adopt the dtype of the arrays beside them; arrays are never promoted silently, because a
single float64 in a float32 network doubles its memory and halves its speed unnoticed.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from minissl.autograd.arrays import (
    Array,
    dtype_name,
    is_array,
    is_floating,
    is_torch_array,
    kind,
    namespace,
)
from minissl.autograd.devices import beside, device_of, move


def array_of(data: Any) -> Array:
    """NumPy and torch arrays as they are; numbers and nested lists as NumPy, floats in float32."""
    if isinstance(data, np.ndarray):
        array = data
    elif is_array(data):
        _refuse_history([data])
        return data
    else:
        array = np.asarray(data)
        if array.dtype == np.float64 and not isinstance(data, np.generic):
            array = array.astype(np.float32)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"expected numbers, got {type(data).__name__} (dtype {array.dtype})")
    return array


def constant(operation: str, name: str, data: Any, like: Array) -> Array:
    """Numbers that are not learned, as an array of the library, place and dtype of another.

    Raises TypeError for a Tensor that needs a gradient: it would get none, without a word.
    """
    if getattr(data, "requires_grad", False):
        raise TypeError(
            f"{operation}: {name} is not learned, and this tensor needs a gradient: "
            "pass tensor.detach()"
        )
    array = move(array_of(getattr(data, "array", data)), device_of(like))
    return namespace(array).astype(array, like.dtype, copy=False)


def _refuse_history(values: Sequence[Any]) -> None:
    """Raise TypeError for torch tensors through which torch's autograd would have to learn."""
    if any(is_torch_array(value) and value.requires_grad for value in values):
        raise TypeError(
            "got a torch tensor with requires_grad, and torch's autograd cannot see into minissl: "
            "nothing before this tensor would learn. For a loss inside a torch training loop use "
            "minissl.interop.torch_loss(loss)(tensor, ...); pass tensor.detach() where nothing is "
            "to learn"
        )


def matched(values: Sequence[Any], operation: str, plain: Sequence[Any] = ()) -> Sequence[Array]:
    """The arrays of all inputs: numbers take the dtype of the arrays; arrays must agree.

    Integer and boolean arrays (indices, masks) may stand beside floating ones of the same library.
    ``plain``: the inputs as they were given. A NumPy array among them (a batch, not a Tensor's
    array) is brought to the device of the others.
    """
    first: Any = values[0] if values else None
    if is_torch_array(first):
        _refuse_history(values)
        same = (type(v) is type(first) and v.dtype == first.dtype for v in values)
        if all(same) and len({v.device for v in values}) == 1:
            return values
        return _adapted(values, operation, plain)
    dtype, numbers = None, False
    for value in values:  # nearly always all is well, and this loop is all that happens
        if type(value) is np.ndarray:
            if value.dtype.kind == "f":
                if dtype is not None and value.dtype != dtype:
                    return _adapted(values, operation, plain)
                dtype = value.dtype
        elif type(value) is float or type(value) is int:
            numbers = True
        else:
            return _adapted(values, operation, plain)
    if not numbers:
        return values
    if dtype is None:
        return _adapted(values, operation, plain)
    return [v if type(v) is np.ndarray else np.array(v, dtype) for v in values]


def _adapted(values: Sequence[Any], operation: str, plain: Sequence[Any]) -> list[Array]:
    """``matched`` when there are numbers, mixed dtypes or torch arrays."""
    _refuse_history(values)
    elsewhere = next((value for value in values if is_torch_array(value)), None)
    if elsewhere is not None:
        given = {id(value) for value in plain}
        values = [beside(v, elsewhere) if id(v) in given else v for v in values]
    like = None
    for value in values:
        if is_array(value) and (like is None or (is_floating(value) and not is_floating(like))):
            like = value
    if like is None:
        return [_number_like(value, np.empty((), np.float32), operation) for value in values]
    arrays = []
    for value in values:
        if not is_array(value):
            value = _number_like(value, like, operation)
        elif value is not like and kind(value) != kind(like):
            raise TypeError(
                f"{operation}: one array lives in {kind(like)}, another in {kind(value)}: "
                "move them to the same place first"
            )
        elif value.dtype != like.dtype and is_floating(value):
            raise TypeError(
                f"{operation}: got {dtype_name(like)} and {dtype_name(value)}; "
                "tensors are never promoted silently: convert one with .astype(dtype)"
            )
        arrays.append(value)
    return arrays


def refuse_promotion(arrays: Sequence[Array], output: Array, operation: str) -> None:
    """Raise if integers made a floating result wider: float32 * int64 is float64 in NumPy."""
    for array in arrays:
        if array.dtype != output.dtype and is_floating(array) and is_floating(output):
            others = sorted({dtype_name(a) for a in arrays if a.dtype != array.dtype})
            raise TypeError(
                f"{operation}: {dtype_name(array)} with {', '.join(others) or 'itself'} would give "
                f"{dtype_name(output)}: convert with .astype(dtype) first"
            )


def _number_like(value: Any, like: Array, operation: str) -> Array:
    """A Python or NumPy number (or list) as an array of the dtype and library of ``like``.

    Beside a mask a number keeps its own kind: ``where(mask, 1.0, 0.0)`` is float32.
    """
    if value is None or isinstance(value, str):
        raise TypeError(f"{operation}: expected a Tensor, an array or a number, got {value!r}")
    values = np.asarray(value)
    if values.dtype.kind not in "fiub":
        raise TypeError(f"{operation}: expected numbers, got {type(value).__name__}")
    like_name = dtype_name(like)
    if values.dtype.kind == "f" and not is_floating(like) and like_name != "bool":
        raise TypeError(
            f"{operation}: a {like_name} tensor meets the float {value!r}: "
            "convert the tensor with .astype(dtype) first"
        )
    xp = namespace(like)
    dtype = like.dtype
    if values.dtype.kind == "b" or like_name == "bool":
        dtype = {"b": xp.bool, "f": xp.float32}.get(values.dtype.kind, xp.int64)
    if isinstance(like, np.ndarray):
        return np.asarray(values.tolist(), dtype)  # an integer that does not fit raises
    if values.ndim == 0:  # filled on the device: a copy from here would wait for the GPU
        return xp.full((), values.item(), dtype=dtype, device=like.device)
    return xp.asarray(values.tolist(), dtype=dtype, device=like.device)
