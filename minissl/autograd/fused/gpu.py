"""The fused operations on a GPU: each hands its arrays to the kernel of the same name.

The only file of the library that knows the package ``minissl_kernels``. Where kernels cannot run
(float64, torch arrays on the CPU, no triton), the composition of primitives does the work. Set
TRITON_INTERPRET=1 before Python starts, and Triton's interpreter runs them on the device "torch".
"""

import functools
import importlib
import importlib.util
import os
from collections.abc import Sequence
from typing import Any

from minissl.autograd.arrays import Array, dtype_name, is_torch_array, total
from minissl.autograd.tensor import Tensor, differentiable

WIDEST_HEAD = 256  # of the attention kernel
HALF_OR_SINGLE = ("float32", "float16", "bfloat16")


def runs_kernels(array: Any) -> bool:
    """Whether the array lives where the kernels run, in a dtype that they know."""
    if not is_torch_array(array) or dtype_name(array) not in HALF_OR_SINGLE:
        return False
    where_they_run = ("cpu", "cuda") if _interpreted() else ("cuda",)
    return array.device.type in where_they_run and _installed() and not _faulty(array)


def attends(query: Any, value: Any, scale: float) -> bool:
    """Whether the attention kernel does this: heads of one width up to 256, a positive scale."""
    array = getattr(query, "array", query)
    return runs_kernels(array) and query.shape[-1] == value.shape[-1] <= WIDEST_HEAD and scale > 0


def _faulty(array: Any) -> bool:
    """Whether Triton's interpreter would compute nonsense, or fail, on this array."""
    if not _interpreted():
        return False
    from minissl_kernels.launch import FAULTS

    return "loops" in FAULTS or ("bfloat16" in FAULTS and dtype_name(array) == "bfloat16")


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
def dropout(x, /, p, seed):
    """The mask is drawn from the seed in both directions, and never stored."""
    import torch
    from minissl_kernels.dropout import dropout_launch

    number = torch.full((1,), seed, dtype=torch.int64, device=x.device)
    return dropout_launch(x, p, number), (lambda g: dropout_launch(g, p, number),)


@differentiable
def layer_norm(x, weight, bias, /, eps):
    """The derivation is in ``fused.layer_norm``; mean and 1/√variance of each row are kept."""
    forward, backward = _functions("layer_norm")
    y, statistics = forward(x, weight, bias, eps)
    return y, (lambda g: backward(g, x, weight, bias, statistics))


@differentiable
def attention(query, key, value, /, causal, key_lengths, dropout, seed, scale):
    """FlashAttention: of each row of scores only the log-sum-exp is kept."""
    forward, backward = _functions("attention")
    import torch

    if key_lengths is not None:
        key_lengths = torch.as_tensor(key_lengths, device=query.device)
    if dropout:
        seed = torch.full((1,), seed, dtype=torch.int64, device=query.device)
    masks = (None, key_lengths, None, seed if dropout else None, None, 0 if causal else None)
    output, lse = forward(query, key, value, *masks, dropout, scale)

    def vjp(g):
        saved = (query, key, value, output, lse)
        return backward(g, None, *saved, *masks, dropout, scale, False)[:3]

    return output, vjp


@differentiable
def cross_entropy(logits, /, targets, ignore_index, label_smoothing, reduction, overwrite, dtype):
    """Losses in float32 (``dtype``) whatever the logits are; the gradient may take their place."""
    forward, backward, overwriting = _functions("cross_entropy")
    rows = logits.reshape(targets.numel(), logits.shape[-1])
    overwrite = overwrite and rows.is_contiguous()
    settings = (ignore_index, float(label_smoothing), 0.0, reduction)
    targets = targets.reshape(-1).long()
    loss, statistics, divisor = forward(rows, targets, None, *settings, overwrite)

    def vjp(g):
        saved = (rows, targets, None, statistics, divisor, g.reshape(-1) if g.ndim else g)
        if overwrite:
            overwriting(*saved, *settings)
            return rows.reshape(logits.shape)
        return backward(*saved, *settings).reshape(logits.shape)

    return loss.reshape(logits.shape[:-1]) if reduction == "none" else loss, (vjp,)


@differentiable
def contrastive_cross_entropy(query, key, /, temperature, targets, exclude_self, reduction, dtype):
    """The similarities exist one tile at a time; the loss is float32 (``dtype``)."""
    import torch

    tau = torch.full((), temperature, dtype=torch.float32, device=query.device)
    loss, vjp = _contrastive(query, key, tau, targets, exclude_self, reduction)
    return loss, lambda g: vjp(g)[:2]


@differentiable
def contrastive_with_temperature(
    query, key, temperature, /, targets, exclude_self, reduction, dtype
):
    """The same where the temperature is a Tensor, which gets a gradient."""
    return _contrastive(query, key, temperature.float(), targets, exclude_self, reduction)


def _contrastive(query, key, tau, targets, exclude_self, reduction):
    """The kernel's gradient takes several launches, which its own operator for torch arranges: so
    here torch's autograd is on, for this one operation."""
    import torch
    from minissl_kernels.contrastive import info_nce as kernel

    with torch.enable_grad():
        inputs = [array.detach().requires_grad_() for array in (query, key, tau)]
        loss = kernel(
            inputs[0],
            inputs[1],
            targets,
            temperature=inputs[2],
            normalize=False,
            exclude_self=exclude_self,
            reduction=reduction,
        )
    return loss.detach(), lambda g: torch.autograd.grad(loss, inputs, g)


def supcon(features, temperature, labels, reduction):
    """The supervised contrastive loss of unit vectors; the temperature is a number or a Tensor."""
    if isinstance(temperature, Tensor):
        return _supcon_with_temperature(
            features, temperature, labels=labels, reduction=reduction, dtype="float32"
        )
    return _supcon(
        features, temperature=temperature, labels=labels, reduction=reduction, dtype="float32"
    )


@differentiable
def _supcon(features, /, temperature, labels, reduction, dtype):
    loss, vjp = _supervised(features, temperature, labels, reduction)
    return loss, lambda g: vjp(g)[:1]


@differentiable
def _supcon_with_temperature(features, temperature, /, labels, reduction, dtype):
    return _supervised(features, temperature.float(), labels, reduction)


def _supervised(features, tau, labels, reduction):
    import torch
    from minissl_kernels.contrastive import supcon_loss as kernel

    with torch.enable_grad():
        inputs = [features.detach().requires_grad_()]
        if not isinstance(tau, float):
            tau = tau.detach().requires_grad_()
            inputs.append(tau)
        loss = kernel(inputs[0], labels, temperature=tau, normalize=False, reduction=reduction)
    return loss.detach(), lambda g: torch.autograd.grad(loss, inputs, g)


@functools.cache
def _functions(name: str) -> tuple[Any, ...]:
    """Forward and backward of a kernel: no operator and no autograd of torch in between."""
    module = importlib.import_module(f"minissl_kernels.{name}")
    return tuple(operator.function for operator in module.OPERATORS)


@differentiable
def conv2d(x, weight, bias, /, stride, padding, relu, x_needed, biased):
    """The library's convolution (cuDNN on a GPU): kernels of our own would teach nothing here.

    Channels-last arrays are what it is fastest on; it calls them (batch, channels, ...) with other
    strides, so that permuting the axes copies nothing.
    """
    import torch

    images, filters = x.permute(0, 3, 1, 2), weight.permute(0, 3, 1, 2)
    places = ([stride] * 2, [padding] * 2, [1, 1], False, [0, 0], 1)
    y = torch.ops.aten.convolution(images, filters, bias if biased else None, *places)
    y = y.relu_() if relu else y

    def vjp(g):
        g = g.permute(0, 3, 1, 2)
        g = g.where(y > 0, y * g) if relu else g  # 0, or NaN where y is
        dx, dw, _ = torch.ops.aten.convolution_backward(
            g, images, filters, [weight.shape[0]], *places, [x_needed, True, False]
        )
        db = total(g, (0, 2, 3)) if biased else None  # torch's own loses digits on the CPU
        return dx if dx is None else dx.permute(0, 2, 3, 1), dw.permute(0, 2, 3, 1), db

    return y.permute(0, 2, 3, 1), vjp


@differentiable
def batch_norm(x, weight, bias, /, mean, variance, training, momentum, eps, relu):
    """The library's batch norm; in training it moves the running ``mean`` and ``variance``.

    A channels-last array is a matrix with a row per place, which it is fast on. The parameters are
    handed over in the dtype of the running statistics: float32, also beside bfloat16.
    """
    import torch

    if not training:  # a later step of training, which moves them, must not change this gradient
        mean, variance = mean.clone(), variance.clone()
    rows = x.reshape(-1, x.shape[-1])
    scale, shift = weight.to(mean.dtype), bias.to(mean.dtype)
    y, *saved = torch.ops.aten.native_batch_norm(
        rows, scale, shift, mean, variance, training, momentum, eps
    )
    y = y.relu_() if relu else y

    def vjp(g):
        g = g.reshape(rows.shape)
        g = torch.ops.aten.threshold_backward(g, y, 0) if relu else g
        dx, dw, db = torch.ops.aten.native_batch_norm_backward(
            g, rows, scale, mean, variance, *saved, training, eps, [True] * 3
        )
        return dx.reshape(x.shape), dw, db

    return y.reshape(x.shape), vjp


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
        norm=(norm + 0 * loss).float(),
        max_norm=max_norm,
        **settings,
    )
    return norm
