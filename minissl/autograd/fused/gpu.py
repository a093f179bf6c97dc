"""The fused operations on a GPU: each hands its arrays to the kernel of the same name.

The only file of the library that knows the package ``minissl_kernels``. Where kernels cannot run
(float64, torch arrays on the CPU, no triton), the composition of primitives does the work. Set
TRITON_INTERPRET=1 before Python starts, and Triton's interpreter runs them on the device "torch".
"""

import functools
import importlib.util
import os
from collections.abc import Sequence
from typing import Any

from array_api_compat import is_torch_array

from minissl.autograd.arrays import Array, dtype_name
from minissl.autograd.tensor import differentiable

HALF_OR_SINGLE = ("float32", "float16", "bfloat16")


def runs_kernels(array: Any) -> bool:
    """Whether the array lives where the kernels run, in a dtype that they know."""
    if not is_torch_array(array) or dtype_name(array) not in HALF_OR_SINGLE:
        return False
    where_they_run = ("cpu", "cuda") if _interpreted() else ("cuda",)
    return array.device.type in where_they_run and _installed()


@functools.cache
def _interpreted() -> bool:
    return os.environ.get("TRITON_INTERPRET") == "1"


@functools.cache
def _installed() -> bool:
    return all(importlib.util.find_spec(name) for name in ("triton", "minissl_kernels"))


@differentiable
def gelu(x, /, approximate):
    """The derivation is in ``fused.gelu``; the backward kernel reads x again."""
    from minissl_kernels.gelu import gelu_backward, gelu_forward

    return gelu_forward(x, approximate), (lambda g: gelu_backward(x, g, approximate),)


@differentiable
def conv2d(x, weight, bias, /, stride, padding, relu, x_needed):
    """The library's convolution (cuDNN on a GPU): kernels of our own would teach nothing here.

    Channels-last arrays are what it is fastest on; it calls them (batch, channels, ...) with other
    strides, so that permuting the axes copies nothing.
    """
    import torch

    images, filters = x.permute(0, 3, 1, 2), weight.permute(0, 3, 1, 2)
    places = ([stride] * 2, [padding] * 2, [1, 1], False, [0, 0], 1)
    y = torch.ops.aten.convolution(images, filters, bias, *places)
    y = y.relu_() if relu else y

    def vjp(g):
        g = g.permute(0, 3, 1, 2)
        g = g * (y > 0) if relu else g
        dx, dw, db = torch.ops.aten.convolution_backward(
            g, images, filters, [weight.shape[0]], *places, [x_needed, True, True]
        )
        return dx if dx is None else dx.permute(0, 2, 3, 1), dw.permute(0, 2, 3, 1), db

    return y.permute(0, 2, 3, 1), vjp


def adamw(
    arrays: Sequence[tuple[Array, Array, Array, Array]],
    loss: Array | float,
    max_norm: float,
    **settings: Any,
) -> Array:
    """``adamw_update`` for all (parameter, gradient, moment, moment) at once; gives their norm.

    A loss that is not finite makes the norm that the kernel looks at NaN, and no update is made.
    """
    from minissl_kernels.adamw import adamw as kernel
    from minissl_kernels.adamw import gradient_norm

    gradients = [row[1].contiguous() for row in arrays]
    norm = gradient_norm(gradients)
    columns = [[row[i] for row in arrays] for i in (0, 2, 3)]
    kernel(
        columns[0],
        gradients,
        *columns[1:],
        norm=norm + 0 * loss,
        max_norm=max_norm,
        **settings,
    )
    return norm
