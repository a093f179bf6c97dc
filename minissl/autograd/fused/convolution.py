"""Convolution and pooling over images, channels last. Lecture 12.

A convolution is a linear layer that is applied to every window of an image: cut out the windows
(``columns``), multiply them with the weight matrix. ``conv2d_composed`` says it in primitive
operations; ``conv2d`` computes the same on NumPy arrays with as little memory traffic as it can.
Sizes everywhere: ``out = (size + 2 padding - kernel) // stride + 1``; a rest at the right and lower
border that fills no window is not looked at, as in torch.
"""

from typing import Any

import numpy as np

from minissl.autograd import operations as ops
from minissl.autograd.tensor import Tensor, differentiable

CHUNK_BYTES = 1 << 20  # the columns of one chunk of images stay in a core's second-level cache


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
        return _conv2d(x, weight, stride=stride, padding=padding)
    return _conv2d_with_bias(x, weight, bias, stride=stride, padding=padding)


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
    """For each place in the window, what all windows hold there: (batch, out_h, out_w, channels)."""
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


# ---- the fast way, on NumPy arrays ----------------------------------------------------------------


@differentiable
def _conv2d(x, weight, /, stride, padding):
    """Y = C Wᵀ for the columns C of x;  ∂L/∂C = G W, added back where C was cut out, ∂L/∂W = Gᵀ C.

    The columns are up to kernel² times as large as the image. They are made for a few images at a
    time, used while they are in the cache, and made again on the way back.
    """
    out_channels, kernel_height, kernel_width, channels = weight.shape
    kernel = (kernel_height, kernel_width)
    padded = _pad(x, padding)
    matrix = weight.reshape(out_channels, -1)
    out_size = tuple(_out_size(n, k, stride, padding) for n, k in zip(x.shape[1:3], kernel))
    rows_per_image = out_size[0] * out_size[1]
    columns_bytes = rows_per_image * matrix.shape[1] * x.itemsize
    step = max(1, CHUNK_BYTES // max(1, columns_bytes))
    chunks = [slice(i, min(i + step, len(x))) for i in range(0, len(x), step)]

    def rows(array):  # (images, out_height, out_width, n) -> (images · places, n)
        return array.reshape(-1, array.shape[-1])

    y = np.empty((len(x), *out_size, out_channels), x.dtype)
    for chunk in chunks:
        np.matmul(_columns(padded[chunk], kernel, stride, out_size), matrix.T, out=rows(y[chunk]))

    def vjp_x(g):
        g = np.ascontiguousarray(g)
        gradient = np.zeros_like(padded)
        for chunk in chunks:
            in_windows = (rows(g[chunk]) @ matrix).reshape(-1, *out_size, *kernel, channels)
            for i in range(kernel_height):
                for j in range(kernel_width):
                    places = _every(i, stride, out_size[0]), _every(j, stride, out_size[1])
                    gradient[(chunk, *places)] += in_windows[:, :, :, i, j]
        return _unpad(gradient, padding)

    def vjp_weight(g):
        g = np.ascontiguousarray(g)
        total = np.zeros_like(matrix)
        for chunk in chunks:
            total += rows(g[chunk]).T @ _columns(padded[chunk], kernel, stride, out_size)
        return total.reshape(weight.shape)

    return y, (vjp_x, vjp_weight)


@differentiable
def _conv2d_with_bias(x, weight, bias, /, stride, padding):
    """The same + b;  the gradient of b is G summed over images and places."""
    y, vjps = _conv2d.__wrapped__(x, weight, stride, padding)
    y += bias  # y is ours and nobody has seen it yet
    return y, (*vjps, lambda g: g)


def _columns(images, kernel, stride, out_size):
    """Every window as a row: (images · out_height · out_width, kernel_h · kernel_w · channels)."""
    batch, _, _, channels = images.shape
    along_batch, along_height, along_width, along_channels = images.strides
    windows = np.lib.stride_tricks.as_strided(
        images,
        (batch, *out_size, *kernel, channels),
        (
            along_batch,
            along_height * stride,
            along_width * stride,
            along_height,
            along_width,
            along_channels,
        ),
        writeable=False,
    )
    return windows.reshape(-1, kernel[0] * kernel[1] * channels)


def _pad(x, padding):
    if not padding:
        return np.ascontiguousarray(x)
    batch, height, width, channels = x.shape
    padded = np.zeros((batch, height + 2 * padding, width + 2 * padding, channels), x.dtype)
    _unpad(padded, padding)[...] = x
    return padded


def _unpad(padded, padding):
    inside = slice(padding, -padding or None)
    return padded[:, inside, inside]


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
