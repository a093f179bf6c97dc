"""What stands in brackets: one meaning on NumPy and on torch arrays, which is NumPy's.

Torch knows no steps backwards, reads uint8 as a mask, takes no int32, and puts the axes elsewhere
when an int stands beside an array: ``a[0, :, [1, 2]]`` is (2, 3) in NumPy and (3, 2) in torch.
"""

import math
from typing import Any

import numpy as np

from minissl.autograd.arrays import Array, dtype_name, is_array, is_torch_array, namespace
from minissl.autograd.devices import device_of, move


def readable_index(index: Any, array: Array) -> Any:
    """The index with Tensors and lists as arrays of the library, and NumPy's numbers as ints.

    Raises IndexError for arrays that are neither integers nor masks.
    """
    if isinstance(index, tuple):
        return tuple(readable_index(item, array) for item in index)
    index = getattr(index, "array", index)  # of a Tensor
    if isinstance(index, np.integer | np.bool_):
        return index.item()
    if isinstance(index, list):
        index = np.asarray(index, None if np.size(index) else np.int64)
    if not is_array(index):
        return index
    if dtype_name(index) != "bool" and not namespace(index).isdtype(index.dtype, "integral"):
        raise IndexError(f"an index must be integers or a mask, got {dtype_name(index)}")
    if not is_torch_array(array):
        return index.numpy(force=True) if is_torch_array(index) else index
    if not is_torch_array(index):
        index = move(index if index.dtype == bool else index.astype(np.int64), device_of(array))
    return index if dtype_name(index) == "bool" else index.long()


def is_view(index: Any, array: Array) -> bool:
    """True for ints, slices, ``...`` and None, but not where torch would have to go backwards."""
    items, only_forwards = _items(index), is_torch_array(array)
    return all(
        (isinstance(i, int | slice | type(...) | None) and not isinstance(i, bool))
        and not (only_forwards and _backwards(i))
        for i in items
    )


def means_the_same_to_torch(index: Any) -> bool:
    """False where torch would refuse, or put the axes elsewhere than NumPy."""
    items = _items(index)
    arrays = [i for i in items if is_array(i)]
    return bool(arrays) and all(
        i.ndim > 0 if is_array(i) else not isinstance(i, int) and not _backwards(i) for i in items
    )


def numbered_like(array: Array, shape: tuple[int, ...], index: Any) -> Array:
    """The numbers (in C order) of the elements that NumPy would pick, where ``array`` lives."""
    by_numpy = tuple(i.numpy(force=True) if is_torch_array(i) else i for i in _items(index))
    picked = np.asarray(np.arange(math.prod(shape)).reshape(shape)[by_numpy])
    return move(picked, device_of(array))


def _items(index: Any) -> tuple[Any, ...]:
    return index if isinstance(index, tuple) else (index,)


def _backwards(item: Any) -> bool:
    return isinstance(item, slice) and item.step is not None and item.step < 0
