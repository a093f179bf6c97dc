"""Convolution and pooling over images, channels last. Lecture 12.

A convolution is a linear layer that is applied to every window of an image: cut out the windows
(``columns``), multiply them with the weight matrix. ``conv2d_composed`` says it in primitive
operations; ``conv2d`` computes the same on NumPy arrays with as little memory traffic as it can.
Sizes everywhere: ``out = (size + 2 padding - kernel) // stride + 1``; a rest at the right and lower
border that fills no window is not looked at, as in torch.
"""

import math
from typing import Any

import numpy as np

from minissl.autograd import operations as ops
from minissl.autograd.fused.chunks import SMALL_PRODUCT, for_each_chunk
from minissl.autograd.tensor import Tensor, differentiable


def conv2d(x: Any, weight: Any, bias: Any = None, *, stride: int = 1, padding: int = 0) -> Tensor:
    """y = Σ over the window of x · weight, plus bias: cross-correlation, as in every deep library.

    Shapes: x (batch, height, width, in_channels), weight (out_channels, kernel_height,
    kernel_width, in_channels), bias (out_channels,) or None; the result is (batch, out_height,
    out_width, out_channels). Torch's weights are (out, in, kernel_height, kernel_width): move the
    axis. ``padding`` zeros are put around the image first. (LeCun et al. 1998.)

    Raises ValueError when shapes do not fit or the padded image is smaller than the window.
    """
    _check(x, weight, bias, stride, padding)
    if not all(isinstance(_array(t), np.ndarray) for t in (x, weight)):
        return conv2d_composed(x, weight, bias, stride=stride, padding=padding)
    if bias is None:
        bias = np.zeros(weight.shape[0], _array(weight).dtype)
    return _conv2d(x, weight, bias, stride=stride, padding=padding)


def conv2d_composed(
    x: Any, weight: Any, bias: Any = None, *, stride: int = 1, padding: int = 0
) -> Tensor:
    """``conv2d`` as a composition of primitives: pad, getitem, concatenate, linear."""
    _check(x, weight, bias, stride, padding)
    out_channels, kernel_height, kernel_width, _ = weight.shape
    columns = ops.concatenate(_windows(x, (kernel_height, kernel_width), stride, padding), axis=-1)
    return ops.linear(columns, ops.reshape(weight, (out_channels, -1)), bias)


def max_pool2d(x: Any, kernel: int, *, stride: int | None = None, padding: int = 0) -> Tensor:
    """The largest value of every window; ``stride`` is the window's size if not given.

    Shapes: x (batch, height, width, channels) -> (batch, out_height, out_width, channels). The
    border never wins. Ties share the gradient equally (torch gives all of it to the first).
    """
    windows = _windows(x, (kernel, kernel), stride or kernel, padding, value=-np.inf)
    return ops.max(ops.stack(windows), axis=0)


def avg_pool2d(x: Any, kernel: int, *, stride: int | None = None, padding: int = 0) -> Tensor:
    """The mean of every window, zeros of the border included; ``stride`` defaults to ``kernel``.

    Shapes: x (batch, height, width, channels) -> (batch, out_height, out_width, channels).
    """
    windows = _windows(x, (kernel, kernel), stride or kernel, padding)
    return ops.mean(ops.stack(windows), axis=0)


def _windows(
    x: Any, kernel: tuple[int, int], stride: int, padding: int, value: float = 0.0
) -> list[Tensor]:
    """For each place in the window, what all windows hold there: (batch, out_h, out_w, n)."""
    height, width = (_out_size(x.shape[i + 1], kernel[i], stride, padding) for i in (0, 1))
    around = (padding, padding)
    x = ops.pad(x, widths=((0, 0), around, around, (0, 0)), value=value) if padding else x
    return [
        ops.getitem(x, index=(slice(None), _every(i, stride, height), _every(j, stride, width)))
        for i in range(kernel[0])
        for j in range(kernel[1])
    ]


def _every(start: int, step: int, count: int) -> slice:
    """The slice of ``count`` places from ``start``, ``step`` apart."""
    return slice(start, start + step * (count - 1) + 1, step)


def _out_size(size: int, kernel: int, stride: int, padding: int) -> int:
    out = (size + 2 * padding - kernel) // stride + 1
    if out < 1:
        raise ValueError(
            f"a window of {kernel} does not fit into an image side of {size} with padding "
            f"{padding}: use larger images, more padding or a smaller kernel"
        )
    return out


# ---- the fast way, on NumPy arrays --------------------------------------------------------------


@differentiable
def _conv2d(x, weight, bias, /, stride, padding):
    """Y = C Wᵀ + b for the columns C of x.

    ∂L/∂W = Gᵀ C,  ∂L/∂b = Σ G,  ∂L/∂x = G convolved with the flipped W.
    The columns are (kernel / stride)² times as large as the image, so they are not kept: making
    them again on the way back, in the cache, costs less than fetching them from memory.
    """
    out_channels, *kernel, channels = weight.shape
    before = (padding, padding)
    size = tuple(_out_size(n, k, stride, padding) for n, k in zip(x.shape[1:3], kernel))
    y = np.empty((len(x), *size, out_channels), x.dtype)
    _convolve(x, weight, bias, stride, before, y)

    def vjp_x(g):
        gradient = np.zeros_like(x)
        for row, taps_i, before_i in _phases(kernel[0], stride, padding):
            for column, taps_j, before_j in _phases(kernel[1], stride, padding):
                flipped = weight[:, taps_i][:, :, taps_j].transpose(3, 1, 2, 0)
                every = gradient[:, row::stride, column::stride]
                _convolve(g, flipped, None, 1, (before_i, before_j), every)
        return gradient

    def vjp_weight(g):
        parts = []  # list.append is safe from several threads; the sum below is in order

        def work(number, images, columns):
            taps = columns.reshape(len(columns), -1, channels).transpose(1, 0, 2)
            rows = g[images].reshape(-1, out_channels)
            parts.append((number, rows.T @ taps))  # (taps, out_channels, channels)

        _for_each_columns(x, kernel, stride, before, size, work)
        total = np.zeros((math.prod(kernel), out_channels, channels), x.dtype)
        for _, part in sorted(parts, key=lambda part: part[0]):
            total += part
        return total.transpose(1, 0, 2).reshape(weight.shape)

    def vjp_bias(g):
        rows = g.reshape(-1, out_channels)
        return np.ones(len(rows), rows.dtype) @ rows  # several times as fast as a sum

    return y, (vjp_x, vjp_weight, vjp_bias)


def _phases(kernel, stride, padding):
    """Split the way back into convolutions of stride 1; one axis. Yields (first, taps, before).

    Element ``p`` of the padded image met the window's taps i with (p - i) divisible by the stride,
    in output (p - i) / stride. So every stride-th element, from ``first`` on, meets the same taps,
    and its gradient is the window over g that ends at (p - taps[0]) / stride, with the taps
    in reverse order; ``before`` is how far the first of these windows begins before g.
    """
    for phase in range(min(stride, kernel)):
        first = (phase - padding) % stride
        taps = range(phase, kernel, stride)
        before = len(taps) - 1 - (first + padding - phase) // stride
        yield first, list(reversed(taps)), before


def _convolve(x, weight, bias, stride, before, y):
    """Write into y (batch, out_height, out_width, out_channels), which may be a strided view."""
    out_channels, *kernel, _ = weight.shape
    matrix = weight.reshape(out_channels, -1).T.copy()
    bias = np.zeros(out_channels, y.dtype) if bias is None else bias

    def work(_, images, columns):
        product = _in_small_products(columns, matrix)
        np.add(product.reshape(y[images].shape), bias, out=y[images])

    _for_each_columns(x, kernel, stride, before, y.shape[1:3], work)


def _in_small_products(a, b):
    """a @ b as a stack of products small enough that BLAS computes each at once in this thread.

    A large product would wake the threads of BLAS, while ours already keep all cores busy.
    """
    size = max(8, SMALL_PRODUCT // max(1, b.size) // 8 * 8)
    whole = len(a) // size * size
    product = np.empty((len(a), b.shape[1]), a.dtype)
    stack = (whole // size, size, -1)
    if whole:
        np.matmul(a[:whole].reshape(stack), b, out=product[:whole].reshape(stack))
    np.matmul(a[whole:], b, out=product[whole:])
    return product


def _for_each_columns(x, kernel, stride, before, size, work):
    """Call ``work(number, images, columns)`` for a few images at a time, on all cores.

    ``columns`` holds every window of these images as a row: (images * out_height * out_width,
    kernel_height * kernel_width * channels). ``before``: how many zeros stand above and to the left
    of the image (a negative number cuts rows off); as many follow as the last window needs.
    """
    channels = x.shape[3]
    reach = [(n - 1) * stride + k for n, k in zip(size, kernel)]
    inside = [slice(max(0, z), z + n) for z, n in zip(before, x.shape[1:3])]
    visible = [slice(max(0, -z), max(0, r - z)) for z, r in zip(before, reach)]
    places, width = math.prod(size), math.prod(kernel) * channels

    def make(number, images):
        shown = x[(images, *visible)]
        framed = np.zeros((len(shown), *reach, channels), x.dtype)
        framed[(slice(None), *inside)] = shown
        b, h, w, c = framed.strides
        windows = np.lib.stride_tricks.as_strided(
            framed, (len(shown), *size, *kernel, channels), (b, h * stride, w * stride, h, w, c)
        )
        work(number, images, windows.reshape(len(shown) * places, width))

    for_each_chunk(make, np.broadcast_to(np.empty((), x.dtype), (len(x), places * width)))


def _array(value: Any) -> Any:
    return value.array if isinstance(value, Tensor) else value


def _check(x, weight, bias, stride, padding):
    if len(x.shape) != 4 or len(weight.shape) != 4 or x.shape[3] != weight.shape[3]:
        raise ValueError(
            f"conv2d: the images have shape {tuple(x.shape)}, the weight {tuple(weight.shape)}; "
            "expected (batch, height, width, in_channels) and (out_channels, kernel_height, "
            "kernel_width, in_channels) with the same in_channels"
        )
    if bias is not None and tuple(bias.shape) != (weight.shape[0],):
        raise ValueError(
            f"conv2d: the bias has shape {tuple(bias.shape)}, expected ({weight.shape[0]},)"
        )
    if stride < 1 or padding < 0:
        raise ValueError(f"conv2d: got stride {stride}, padding {padding}; expected ≥ 1 and ≥ 0")
