"""Operations that move elements and compute nothing: their gradients move them back. Lecture 02."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from minissl.autograd.arrays import (
    Array,
    Placed,
    dtype_name,
    filled,
    int64_on_torch,
    is_array,
    is_floating,
    is_torch_array,
    namespace,
    normalized_axes,
    require_indices,
    scatter_add,
)
from minissl.autograd.indices import (
    is_view,
    means_the_same_to_torch,
    numbered_like,
    readable_index,
)
from minissl.autograd.rows import Rows
from minissl.autograd.tensor import Tensor, as_array, differentiable


@differentiable
def reshape(a, /, shape):
    """Same elements in C order, another shape (one size may be −1);  ∂L/∂a = g, reshaped back."""
    original = a.shape
    try:
        c = namespace(a).reshape(a, shape)
    except (ValueError, RuntimeError):
        raise ValueError(
            f"reshape: {math.prod(original)} elements of shape {tuple(original)} do not fill "
            f"shape {tuple(shape)}"
        ) from None
    return c, (lambda g: g.reshape(original),)


@differentiable
def permute_dims(a, /, axes):
    """Axis i of the result is axis axes[i] of a;  ∂L/∂a = g under the inverse permutation."""
    if sorted(axis % a.ndim for axis in axes) != list(range(a.ndim)):
        raise ValueError(f"permute_dims: {tuple(axes)} is no permutation of {a.ndim} axes")
    xp = namespace(a)
    inverse = sorted(range(a.ndim), key=lambda i: axes[i] % a.ndim)
    return xp.permute_dims(a, tuple(axes)), (lambda g: xp.permute_dims(g, tuple(inverse)),)


@differentiable
def matrix_transpose(a, /):
    """The last two axes exchanged;  ∂L/∂a = gᵀ."""
    xp = namespace(a)
    return xp.matrix_transpose(a), (lambda g: xp.matrix_transpose(g),)


@differentiable
def expand_dims(a, /, axis):
    """A new axis of size 1;  ∂L/∂a = g without it."""
    original = a.shape
    return namespace(a).expand_dims(a, axis=axis), (lambda g: g.reshape(original),)


@differentiable
def squeeze(a, /, axis):
    """Without the axis (or axes), which must have size 1;  ∂L/∂a = g with it."""
    original = a.shape
    return namespace(a).squeeze(a, axis=axis), (lambda g: g.reshape(original),)


@differentiable
def broadcast_to(a, /, shape):
    """a repeated along new and size-1 axes;  ∂L/∂a = g summed over them (as ``backward`` does)."""
    old, new = tuple(a.shape), tuple(shape)
    fits = all(n in (1, m) for n, m in zip(reversed(old), reversed(new)))
    if len(old) > len(new) or not fits or any(m < 0 for m in new):
        raise ValueError(f"broadcast_to: shape {old} does not broadcast to {new}")
    return namespace(a).broadcast_to(a, tuple(shape)), (lambda g: g,)


def concatenate(tensors: Sequence[Any], axis: int = 0) -> Tensor:
    """Join tensors along an axis they have; all other sizes must agree."""
    if not tensors:
        raise ValueError("concatenate: got no tensors")
    return _concatenate(*tensors, axis=axis)


@differentiable
def _concatenate(*arrays, axis):
    """c = [a₁ a₂ ...];  ∂L/∂aᵢ = the piece of g where aᵢ stands."""
    (axis,) = normalized_axes(axis, arrays[0].ndim)
    others = [(x.ndim, *x.shape[:axis], *x.shape[axis + 1 :]) for x in arrays]
    if any(other != others[0] for other in others):
        raise ValueError(
            f"concatenate along axis {axis}: all other sizes must agree, got "
            f"{[tuple(x.shape) for x in arrays]}"
        )
    vjps, start = [], 0
    for array in arrays:
        piece = (slice(None),) * axis + (slice(start, start + array.shape[axis]),)
        vjps.append(lambda g, piece=piece: g[piece])
        start += array.shape[axis]
    return namespace(arrays[0]).concat(arrays, axis=axis), tuple(vjps)


def stack(tensors: Sequence[Any], axis: int = 0) -> Tensor:
    """Join tensors of one shape along a new axis."""
    return concatenate([expand_dims(t, axis=axis) for t in tensors], axis=axis)


def split(tensor: Tensor, sections: int | Sequence[int], axis: int = 0) -> list[Tensor]:
    """Cut a tensor along an axis into equal parts (an int) or into parts of these sizes."""
    size = tensor.shape[axis]
    if isinstance(sections, int):
        if sections < 1 or size % sections:
            raise ValueError(f"split: {size} elements do not make {sections} equal parts")
        sections = [size // sections] * sections
    if sum(sections) != size:
        raise ValueError(f"split: parts {list(sections)} add up to {sum(sections)}, not to {size}")
    before = (slice(None),) * (axis % tensor.ndim)
    ends = [sum(sections[: i + 1]) for i in range(len(sections))]
    return [tensor[(*before, slice(end - n, end))] for n, end in zip(sections, ends)]


@differentiable
def pad(a, /, widths, value=0.0):
    """``value`` around a: widths[i] = (before, after) on axis i;  ∂L/∂a = g without the border."""
    if len(widths) != a.ndim or any(w < 0 for pair in widths for w in pair):
        raise ValueError(f"pad: {a.ndim} axes need as many pairs of widths ≥ 0, got {widths}")
    inside = tuple(slice(before, before + n) for (before, _), n in zip(widths, a.shape))
    shape = tuple(before + n + after for (before, after), n in zip(widths, a.shape))
    c = filled(a, shape, value)
    c[inside] = a
    return c, (lambda g: g[inside],)


@differentiable
def getitem(a, /, index):
    """c = a[index] for ints, slices, ..., None, masks and integer arrays;  ∂L/∂a = g added back.

    An element picked twice gets both gradients.
    """
    index, shape = readable_index(index, a), tuple(a.shape)
    if is_view(index, a):  # every element is picked at most once
        return a[index], (lambda g: Placed(index, g),)
    if is_torch_array(a) and not means_the_same_to_torch(index):
        positions = numbered_like(a, shape, index)
        c = a.reshape(-1)[positions]
    else:
        positions, c = None, a[index]

    def vjp(g):  # to where each picked element came from
        origin = _positions(g, shape)[index] if positions is None else positions
        size = math.prod(shape)
        return scatter_add(size, origin.reshape(-1), g.reshape(-1)).reshape(shape)

    return c, (vjp,)


def _positions(like: Array, shape: tuple[int, ...]) -> Array:
    """The number of each element in C order, in the given shape, where ``like`` lives."""
    xp = namespace(like)
    extra = {} if isinstance(like.device, str) else {"device": like.device}
    return xp.arange(math.prod(shape), **extra).reshape(shape)


def take(a: Any, indices: Any, axis: int = 0, *, sparse: bool = False) -> Tensor:
    """Rows of a along ``axis``, looked up; one that is taken twice gets both gradients.

    Shapes: a (..., n, ...), indices: integers in [0, n) of any shape, which replaces the axis n.
    This is an embedding: the same as one_hot(indices) @ a, without the multiplication by zeros.
    ``sparse``: a leaf gets as its gradient the rows that were taken, as ``Rows``, and no zeros for
    the others (along axis 0 only).
    Raises IndexError for an index out of range, TypeError for indices that are no integers.
    """
    if sparse and axis != 0:
        raise ValueError(f"take: sparse gradients are of rows, along axis 0, got axis {axis}")
    return _take(a, _integers(indices, a), axis=axis, sparse=sparse)


@differentiable
def _take(a, indices, /, axis, sparse):
    """c = a[indices];  ∂L/∂a = g added back at those rows."""
    xp = namespace(a)
    (axis,) = normalized_axes(axis, a.ndim)
    shape, n, flat = tuple(a.shape), a.shape[axis], indices.reshape(-1)
    require_indices("take", flat, n)
    before, after = tuple(a.shape[:axis]), tuple(a.shape[axis + 1 :])
    c = xp.take(a, flat, axis=axis).reshape((*before, *indices.shape, *after))

    def vjp(g):
        rows = xp.moveaxis(g.reshape((*before, flat.shape[0], *after)), axis, 0)
        if sparse:
            return Rows.added_up(shape, flat, rows)
        return xp.moveaxis(scatter_add(n, flat, rows), 0, axis)

    return c, (vjp, None)


def take_along_axis(a: Any, indices: Any, axis: int = -1) -> Tensor:
    """c[i, j] = a[i, indices[i, j]] (for axis 1): one lookup per row.

    Shapes: a and indices agree (or broadcast) on every axis but ``axis``. Raises IndexError for an
    index out of range, TypeError for indices that are no integers.
    """
    return _take_along_axis(a, _integers(indices, a), axis=axis)


def _integers(indices: Any, beside: Any) -> Any:
    """Check that indices are integers; a list of them becomes an array beside the other array."""
    if isinstance(indices, Tensor) or is_array(indices):
        array = as_array(indices)
    else:
        array = np.asarray(indices, dtype=None if np.size(indices) else np.int64)
        like = as_array(beside)
        array = array if isinstance(like, np.ndarray) else namespace(like).asarray(array)
    if is_floating(array) or dtype_name(array) == "bool":
        raise TypeError(f"expected integers as indices, got {dtype_name(array)}")
    return int64_on_torch(array)  # torch looks up by no others


@differentiable
def _take_along_axis(a, indices, /, axis):
    """c[i, j] = a[i, indices[i, j]];  ∂L/∂a = g added back."""
    xp = namespace(a)
    shape = tuple(a.shape)
    (axis,) = normalized_axes(axis, a.ndim)
    fits = [
        i == axis or n == m or 1 in (n, m) for i, (n, m) in enumerate(zip(shape, indices.shape))
    ]
    if a.ndim != indices.ndim or not all(fits):
        raise ValueError(
            f"take_along_axis: indices of shape {tuple(indices.shape)} do not fit an array of "
            f"shape {shape}: all axes but {axis} must agree, or be 1"
        )
    require_indices("take_along_axis", indices, shape[axis])
    c = xp.take_along_axis(a, indices, axis=axis)

    def vjp(g):
        positions = xp.take_along_axis(_positions(g, shape), indices, axis=axis)
        return scatter_add(math.prod(shape), positions.reshape(-1), g.reshape(-1)).reshape(shape)

    return c, (vjp, None)
