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
from minissl.autograd.arrays import is_half, namespace, sign, total
from minissl.autograd.devices import beside
from minissl.autograd.fused import gpu
from minissl.autograd.half import in_single
from minissl.autograd.tensor import Tensor, differentiable
from minissl.autograd.threads import share

PIECE_BYTES = 1 << 22  # columns and outputs of one piece; smaller ones lose time in calls


def conv2d(
    x: Any, weight: Any, bias: Any = None, *, stride: int = 1, padding: int = 0, relu: bool = False
) -> Tensor:
    """y = Σ over the window of x · weight, plus bias: cross-correlation, as in every deep library.

    Shapes: x (batch, height, width, in_channels), weight (out_channels, kernel_height,
    kernel_width, in_channels), bias (out_channels,) or None; the result is (batch, out_height,
    out_width, out_channels). Torch's weights are (out, in, kernel_height, kernel_width): move the
    axis. ``padding`` zeros are put around the image first. ``relu``: the result's negative values
    become 0, in the same pass over memory. (LeCun et al. 1998.)

    Raises ValueError when shapes do not fit or the padded image is smaller than the window.
    """
    _check(x, weight, bias, stride, padding)
    array = _array(weight)
    x = beside(x, array)
    settings = {"stride": stride, "padding": padding, "relu": relu}
    if isinstance(array, np.ndarray) and is_half(array):
        return in_single(conv2d, x, weight, bias, **settings)
    settings["x_needed"] = isinstance(x, Tensor) and x.requires_grad
    biased = bias is not None
    bias = bias if biased else namespace(array).zeros_like(array[:, 0, 0, 0])
    if isinstance(array, np.ndarray):
        return _conv2d(x, weight, bias, **settings)
    return gpu.conv2d(x, weight, bias, biased=biased, **settings)


def conv2d_composed(
    x: Any, weight: Any, bias: Any = None, *, stride: int = 1, padding: int = 0, relu: bool = False
) -> Tensor:
    """``conv2d`` as a composition of primitives: pad, getitem, concatenate, linear, relu."""
    _check(x, weight, bias, stride, padding)
    out_channels, kernel_height, kernel_width, _ = weight.shape
    columns = ops.concatenate(_windows(x, (kernel_height, kernel_width), stride, padding), axis=-1)
    y = ops.linear(columns, ops.reshape(weight, (out_channels, -1)), bias)
    return ops.relu(y) if relu else y


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
def _conv2d(x, weight, bias, /, stride, padding, relu, x_needed):
    """Y = C Wᵀ + b for the columns C of x.

    ∂L/∂W = Gᵀ C,  ∂L/∂b = Σ G,  ∂L/∂x = G convolved with the flipped W.
    The columns are (kernel / stride)² times as large as the image. They are made for one piece of
    the batch at a time, and made again on the way back: keeping them would take most of the memory.
    """
    out_channels, *kernel, _ = weight.shape
    size = tuple(_out_size(n, k, stride, padding) for n, k in zip(x.shape[1:3], kernel))
    matrix, before = weight.reshape(out_channels, -1), (padding, padding)
    y = np.empty((len(x), *size, out_channels), x.dtype)
    pieces = _pieces(len(x), math.prod(size) * sum(matrix.shape) * x.itemsize)

    def forward(_, images):
        product = _columns(x[images], kernel, stride, before, size) @ matrix.T
        np.add(product.reshape(y[images].shape), bias, out=y[images])
        if relu:
            np.maximum(y[images], 0, out=y[images])

    share(forward, pieces)

    def vjp(g):
        x_gradient = np.zeros_like(x if x_needed else x[:0], order="C")
        way_back = list(_convolutions_back(weight, stride, padding)) if x_needed else []
        parts = []  # appending is safe from several threads; they are added in order

        def backward(number, images):
            g_part = g[images] * sign(y[images]) if relu else g[images]
            for places, flipped, before_part in way_back:
                part = x_gradient[images][places]
                windows = _columns(g_part, flipped.shape[:2], 1, before_part, part.shape[1:3])
                part[...] = (windows @ flipped.reshape(windows.shape[1], -1)).reshape(part.shape)
            columns = _columns(x[images], kernel, stride, before, size)
            rows = g_part.reshape(-1, out_channels)
            parts.append((number, rows.T @ columns, total(rows, 0)))

        share(backward, pieces)
        weight_gradient, bias_gradient = np.zeros_like(matrix), np.zeros_like(bias)
        for _, weight_part, bias_part in sorted(parts, key=lambda part: part[0]):
            weight_gradient += weight_part
            bias_gradient += bias_part
        return x_gradient, weight_gradient.reshape(weight.shape), bias_gradient

    return y, vjp


def _pieces(count, bytes_each):
    """Slices of about PIECE_BYTES, all of one length, and an even number of them for the threads.

    Larger than those of elementwise formulas, since each piece takes many calls.
    """
    whole = max(1, count * bytes_each)
    number = 1 if whole < PIECE_BYTES / 8 else 2 * math.ceil(whole / (2 * PIECE_BYTES))
    step = max(1, math.ceil(count / number))
    return [slice(start, start + step) for start in range(0, count, step)]


def _convolutions_back(weight, stride, padding):
    """The convolutions of g that give the gradient of x: yields (places, flipped weight, before).

    ``places``: which pixels of all images; the weight is (rows, columns, out_channels, channels).
    """
    for row, taps_i, before_i in _phases(weight.shape[1], stride, padding):
        for column, taps_j, before_j in _phases(weight.shape[2], stride, padding):
            places = (slice(None), slice(row, None, stride), slice(column, None, stride))
            flipped = weight[:, taps_i][:, :, taps_j].transpose(1, 2, 0, 3).copy()
            yield places, flipped, (before_i, before_j)


def _phases(kernel, stride, padding):
    """Split the way back into convolutions of stride 1; one axis. Yields (first, taps, before).

    Element ``p`` of the padded image met the window's taps i with (p - i) divisible by the stride,
    in output (p - i) / stride. So every stride-th element, from ``first`` on, meets the same taps,
    and its gradient is the window over g that ends at (p - taps[-1]) / stride, with the taps in
    reverse order; ``before`` is how far the first of these windows begins before g.
    """
    for phase in range(min(stride, kernel)):
        first = (phase - padding) % stride
        taps = range(phase, kernel, stride)
        before = len(taps) - 1 - (first + padding - phase) // stride
        yield first, list(reversed(taps)), before


def _columns(images, kernel, stride, before, size):
    """Every window of these images as a row: (images * out_height * out_width, window's size).

    ``size``: (out_height, out_width). ``before``: how many zeros stand above and to the left of the
    image (a negative number cuts rows off); as many follow as the last window needs.
    """
    count, *shape, channels = images.shape
    reach = [(n - 1) * stride + k for n, k in zip(size, kernel)]
    inside = [slice(max(0, z), z + n) for z, n in zip(before, shape)]
    visible = [slice(max(0, -z), max(0, r - z)) for z, r in zip(before, reach)]
    framed = np.zeros((count, *reach, channels), images.dtype)
    framed[(slice(None), *inside)] = images[(slice(None), *visible)]
    b, h, w, c = framed.strides
    strides = (b, h * stride, w * stride, h, w, c)  # of a view in which windows overlap
    windows = np.ndarray((count, *size, *kernel, channels), images.dtype, framed, 0, strides)
    return windows.reshape(count * math.prod(size), math.prod(kernel) * channels)


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
