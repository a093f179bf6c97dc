"""Dropout whose mask is never stored: drawn in the forward, and drawn again in the backward.

The random number of an element is a function of the seed and its position (see ``philox``), so that
the mask costs no memory and no traffic. One call of Philox gives four numbers, for four elements
that lie a quarter of the block apart. (Srivastava et al., 2014.) Lecture 07.
"""

import numpy as np
import torch
import triton
import triton.language as tl
from torch import Tensor

from minissl_kernels.launch import check_device, check_floating, on_device
from minissl_kernels.operators import operator
from minissl_kernels.philox import dropout_threshold, philox

QUARTER = 1024  # elements per program: four times that


def keep_mask(count: int, probability: float, seed: int) -> np.ndarray:
    """True for each of ``count`` elements, in C order, that is kept: the mask of the kernel."""
    number = np.arange(-(-count // (4 * QUARTER)) * QUARTER)
    bits = philox(seed, number & 0xFFFFFFFF, number >> 32, 0, 0)
    in_order = bits.reshape(4, -1, QUARTER).swapaxes(0, 1).reshape(-1)
    return in_order[:count] >= dropout_threshold(probability)


def reference(x: np.ndarray, probability: float, seed: int) -> np.ndarray:
    """y = x · mask / (1 − p) in float64. The gradient is the same function of ∂L/∂y."""
    mask = keep_mask(x.size, probability, seed).reshape(x.shape)
    return np.asarray(x, np.float64) * mask / (1 - probability)


@triton.jit
def _dropout_kernel(x, y, n, seed, threshold, scale, QUARTER: tl.constexpr):
    program = tl.program_id(0).to(tl.int64)
    element = tl.arange(0, QUARTER)
    number = program * QUARTER + element
    low, high = number.to(tl.uint32), (number >> 32).to(tl.uint32)
    bits = tl.philox(tl.load(seed), low, high, 0, 0)
    for part in tl.static_range(4):
        at = program * (4 * QUARTER) + part * QUARTER + element
        value = tl.load(x + at, mask=at < n, other=0.0).to(tl.float32)
        kept = bits[part] >= tl.cast(threshold, tl.uint32)
        # A product, not a choice: 0 · NaN is NaN, which must not disappear where it is dropped.
        tl.store(y + at, value * tl.where(kept, scale, 0.0), mask=at < n)


def dropout_launch(x: Tensor, probability: float, seed: Tensor) -> Tensor:
    """Launch the kernel; x is any strided tensor, ``seed`` one int64 on its device."""
    check_device("dropout", x=x, seed=seed)
    check_floating("dropout", x=x)
    threshold = dropout_threshold(probability)
    x = x.contiguous()
    y = torch.empty_like(x)
    if x.numel():
        with on_device(x):
            _dropout_kernel[(triton.cdiv(x.numel(), 4 * QUARTER),)](
                x, y, x.numel(), seed, threshold, 1 / (1 - probability), QUARTER=QUARTER
            )
    return y


_op = operator("minissl::dropout")(dropout_launch)
_op.register_fake(lambda x, probability, seed: torch.empty_like(x.contiguous()))


def _setup_context(ctx, inputs, output):
    _, ctx.probability, seed = inputs
    ctx.save_for_backward(seed)


def _backward(ctx, gradient):
    return _op(gradient, ctx.probability, ctx.saved_tensors[0]), None, None


_op.register_autograd(_backward, setup_context=_setup_context, linear=True)


def dropout(x: Tensor, p: float, seed: int | Tensor) -> Tensor:
    """Each element becomes 0 with probability p; the others grow by 1 / (1 − p).

    x: float32, float16 or bfloat16 of any shape; the mask depends on ``seed`` (an integer, or an
    int64 tensor of one element) and the element's position, see ``keep_mask``. Raises ValueError
    for p outside [0, 1), TypeError for other dtypes, RuntimeError where kernels cannot run.
    Lecture 07.
    """
    if not isinstance(seed, Tensor):
        seed = torch.full((1,), seed, dtype=torch.int64, device=x.device)
    return _op(x, p, seed)
