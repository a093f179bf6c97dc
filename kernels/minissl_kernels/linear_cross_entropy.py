"""Linear layer and cross-entropy in one, the logits never stored whole. Lectures 07 and 12.

The logits of a language model are rows x vocabulary, the largest array of its training by far. The
loss needs each row of them for a moment only: this module computes the logits of ``CHUNK`` rows,
their loss, and at once the gradient in their place, from which it takes the gradients of the
input and of the weight before the next rows use the same memory. So memory grows with rows and
width, not with rows x vocabulary (Wijmans, Huval, Hertzberg, Koltun and Krähenbühl, "Cut your
losses in large-vocabulary language models", 2024; Hsu et al., "Liger kernel", 2024).

The gradient of a sum or mean is computed in the forward, for an upstream gradient of 1, and
multiplied by the true one in the backward: three matrix products in all, none done twice. The
weight's gradient is added up in float32: in bfloat16 a sum over many chunks stops growing.
"""

import torch
from torch import Tensor

from minissl_kernels import cross_entropy as _cross_entropy
from minissl_kernels import launch
from minissl_kernels.cross_entropy import labels
from minissl_kernels.cross_entropy.composed import composed_loss
from minissl_kernels.cross_entropy.reduction import check_ignore_index, check_targets, reduce
from minissl_kernels.operators import gradients_of, operator

CHUNK = 2048  # rows: enough that reading and writing the weight's gradient hides in its product
REDUCTIONS = ("none", "mean", "sum")


def reference(input, weight, targets, upstream=1.0, **settings):
    """The loss and the gradients of input and weight in NumPy, in float64.

    With the logits l = x wᵀ and their gradient g of the cross-entropy:  ∂x = g w,  ∂w = gᵀ x.
    Shapes: input (rows, width), weight (classes, width), targets (rows,).
    """
    loss, gradient = _cross_entropy.reference(
        input @ weight.T, targets, upstream=upstream, **settings
    )
    return loss, gradient @ weight, gradient.T @ input


def linear_cross_entropy(
    input: Tensor,
    weight: Tensor,
    targets: Tensor,
    *,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    reduction: str = "mean",
) -> Tensor:
    """``cross_entropy(input @ weight.T, targets)``, the logits never stored whole.

    Shapes: input (..., width) and weight (classes, width), both float32, float16 or bfloat16;
    targets (...) of int64 or int32 in [0, classes) or ``ignore_index``. The reduction ``"none"``
    gives (...), ``"sum"`` and ``"mean"`` a number, in float32. The settings are those of
    ``cross_entropy``; a mean over nothing kept is 0. The logits are summed in float32 and rounded
    to the dtype of the inputs, as those of a linear layer are: in float16 one beyond 65504 is ∞,
    and the loss NaN (float32 and bfloat16 reach to 3·10³⁸).

    Besides inputs and gradients it takes 2048 x classes numbers for the logits and, where the
    weight needs a gradient, its float32 sum, classes x width. With the reduction ``"none"`` the
    backward computes the logits a second time.

    Raises TypeError for dtypes, ValueError for shapes and settings, IndexError for a target out of
    range (on a GPU an assertion at the next synchronisation), RuntimeError for the wrong device.
    Lectures 07 and 12.
    """
    _check(input, weight, targets, label_smoothing, reduction)
    check_ignore_index("linear_cross_entropy", ignore_index)
    recording = torch.is_grad_enabled()
    loss, *_ = _linear_cross_entropy(
        input.reshape(-1, input.shape[-1]),
        weight,
        targets.reshape(-1),
        int(ignore_index),
        float(label_smoothing),
        float(z_loss),
        reduction,
        recording and input.requires_grad,
        recording and weight.requires_grad,
    )
    return loss.reshape(input.shape[:-1]) if reduction == "none" else loss


def _check(input, weight, targets, label_smoothing, reduction):
    name = "linear_cross_entropy"
    launch.check_device(name, input=input, weight=weight, targets=targets)
    launch.check_floating(name, input=input, weight=weight)
    if input.dim() == 0 or input.shape[-1] == 0:
        raise ValueError(
            f"{name}: input must have shape (..., width), width 1 or more, got {tuple(input.shape)}"
        )
    if weight.dim() != 2 or weight.shape[0] == 0 or weight.shape[1] != input.shape[-1]:
        raise ValueError(
            f"{name}: weight must have shape (classes, width) with width {input.shape[-1]}, as "
            f"input {tuple(input.shape)}, got {tuple(weight.shape)}"
        )
    if targets.dtype not in (torch.int64, torch.int32):
        raise TypeError(
            f"{name}: targets must be int64 or int32 class indices, got {targets.dtype}; convert "
            "with .long()"
        )
    launch.check_shape(name, "targets", targets, input.shape[:-1], "(...)")
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"{name}: label_smoothing must be in [0, 1], got {label_smoothing}")
    if reduction not in REDUCTIONS:
        raise ValueError(f"{name}: reduction must be 'none', 'mean' or 'sum', got {reduction!r}")


def add_transposed_product(left: Tensor, right: Tensor, out: Tensor, add: bool) -> None:
    """out += leftᵀ right, or out = leftᵀ right without ``add``, summed in float32.

    Shapes: left (k, m), right (k, n), one dtype; out (m, n) float32. On a GPU one call of the
    library, which reads 16-bit matrices and adds to float32 in registers.
    """
    if left.device.type == "cuda" and left.dtype != torch.float32 and not torch.version.hip:
        sizes = {"beta": int(add), "alpha": 1, "out": out}
        torch.ops.aten.addmm.dtype_out(out, left.t(), right, torch.float32, **sizes)
    else:
        out.addmm_(left.t().float(), right.float(), beta=int(add))


class _Chunks:
    """The walk over the rows: logits of a chunk, its losses, its share of the gradients."""

    def __init__(self, input, weight, targets, settings, input_gradient, weight_gradient):
        self.input = input if input.stride(-1) == 1 else input.contiguous()
        self.weight, self.targets = weight, targets.contiguous()
        self.settings = settings  # ignore_index, label_smoothing, z_loss
        rows, classes = len(input), len(weight)
        self.starts = range(0, rows, CHUNK)
        # Rows begin at multiples of 128 bytes: faster matrix products.
        aligned = -(-classes // 64) * 64
        self.buffer = input.new_empty(min(CHUNK, rows), aligned)[:, :classes]
        shape = input.shape if input_gradient else (0,)
        self.input_gradient = torch.empty(shape, dtype=input.dtype, device=input.device)
        create = torch.empty if weight_gradient and rows else torch.zeros
        shape = weight.shape if weight_gradient else (0,)
        self.weight_gradient = create(shape, dtype=torch.float32, device=input.device)
        self.wanted = (input_gradient, weight_gradient)

    def logits(self, start):
        chunk = self.input[start : start + CHUNK]
        return torch.mm(chunk, self.weight.t(), out=self.buffer[: len(chunk)])

    def losses(self, start, logits, losses, statistics):
        piece = slice(start, start + CHUNK)
        into = {"losses": losses[piece], "row_weights": None, "statistics": statistics[piece]}
        labels.forward(logits, self.targets[piece], None, *self.settings, **into)

    def gradients(self, start, logits, statistics, upstream):
        """The gradient takes the place of the logits, and goes from there to input and weight."""
        piece = slice(start, start + CHUNK)
        saved = (self.targets[piece], None, statistics, upstream, None)
        labels.backward(logits, *saved, logits, *self.settings)
        if self.wanted[0]:
            torch.mm(logits, self.weight, out=self.input_gradient[piece])
        if self.wanted[1]:
            # An ignored row has a gradient of 0, and 0 · NaN is NaN.
            kept = (self.targets[piece] != self.settings[0])[:, None]
            read = torch.where(kept, self.input[piece], 0.0)
            add_transposed_product(logits, read, self.weight_gradient, start > 0)


@operator("minissl::linear_cross_entropy")
def _linear_cross_entropy(
    input: Tensor,
    weight: Tensor,
    targets: Tensor,
    ignore_index: int,
    label_smoothing: float,
    z_loss: float,
    reduction: str,
    input_gradient: bool,
    weight_gradient: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The loss, the rows' statistics, the divisor of the mean, the gradients of the loss's sum."""
    name, classes = "linear_cross_entropy", len(weight)
    check_targets(name, targets, classes, ignore_index)
    at_once = reduction != "none"
    settings = (ignore_index, label_smoothing, z_loss)
    wanted = (at_once and input_gradient, at_once and weight_gradient)
    chunks = _Chunks(input, weight, targets, settings, *wanted)
    losses = torch.empty(len(input), dtype=torch.float32, device=input.device)
    statistics = torch.empty(len(input), 4, dtype=torch.float32, device=input.device)
    one = torch.ones(1, dtype=torch.float32, device=input.device)
    for start in chunks.starts:
        logits = chunks.logits(start)
        chunks.losses(start, logits, losses, statistics)
        if any(wanted):
            chunks.gradients(
                start, logits, statistics[start : start + CHUNK], one.expand(len(logits))
            )
    loss, divisor = reduce(name, losses, None, chunks.targets, classes, ignore_index, reduction)
    if reduction == "sum":
        divisor = one.reshape(())
    return loss, statistics, divisor, chunks.input_gradient, chunks.weight_gradient


@_linear_cross_entropy.register_fake
def _(input, weight, targets, ignore_index, smoothing, z_loss, reduction, for_input, for_weight):
    at_once = reduction != "none"

    def number(*shape):
        return input.new_empty(shape, dtype=torch.float32)

    return (
        number() if at_once else number(input.shape[0]),
        number(input.shape[0], 4),
        number(),
        input.new_empty(input.shape if at_once and for_input else (0,)),
        number(*(weight.shape if at_once and for_weight else (0,))),
    )


@operator("minissl::linear_cross_entropy_backward")
def _linear_cross_entropy_backward(
    input: Tensor,
    weight: Tensor,
    targets: Tensor,
    statistics: Tensor,
    upstream: Tensor,
    ignore_index: int,
    label_smoothing: float,
    z_loss: float,
    input_gradient: bool,
    weight_gradient: bool,
) -> tuple[Tensor, Tensor]:
    """The reduction "none": the logits once more, and each row's own upstream gradient."""
    settings = (ignore_index, label_smoothing, z_loss)
    chunks = _Chunks(input, weight, targets, settings, input_gradient, weight_gradient)
    for start in chunks.starts:
        piece = slice(start, start + CHUNK)
        chunks.gradients(start, chunks.logits(start), statistics[piece], upstream[piece])
    return chunks.input_gradient, chunks.weight_gradient.to(weight.dtype)


@_linear_cross_entropy_backward.register_fake
def _(input, weight, targets, statistics, upstream, index, smoothing, z, for_input, for_weight):
    return (
        input.new_empty(input.shape if for_input else (0,)),
        weight.new_empty(weight.shape if for_weight else (0,)),
    )


@operator("minissl::scaled_gradient")
def _scaled_gradient(
    gradient: Tensor, upstream: Tensor, divisor: Tensor, dtype: torch.dtype
) -> Tensor:
    """gradient · upstream / divisor, rounded once to ``dtype``; the device is not waited for."""
    scale = torch.where(divisor > 0, upstream / divisor, 0.0)
    out = torch.empty(gradient.shape, dtype=dtype, device=gradient.device)
    return torch.mul(gradient, scale.reshape(1), out=out)  # not a 0-d scale: it would be rounded


@_scaled_gradient.register_fake
def _(gradient, upstream, divisor, dtype):
    return torch.empty(gradient.shape, dtype=dtype, device=gradient.device)


def _setup_context(ctx, inputs, output):
    input, weight, targets, *ctx.settings, ctx.reduction, for_input, for_weight = inputs
    _, statistics, divisor, input_gradient, weight_gradient = output
    ctx.mark_non_differentiable(statistics, divisor, input_gradient, weight_gradient)
    ctx.set_materialize_grads(False)
    ctx.wanted, ctx.dtype = (for_input, for_weight), weight.dtype
    if ctx.reduction == "none":
        ctx.save_for_backward(input, weight, targets, statistics)
    else:  # the inputs too, which are only read for a second derivative
        ctx.save_for_backward(input, weight, targets, divisor, input_gradient, weight_gradient)


def _autograd(ctx, upstream, *_):
    gradients: list[Tensor | None] = [None, None]
    if upstream is not None and ctx.reduction == "none":
        both = _linear_cross_entropy_backward(
            *ctx.saved_tensors, upstream, *ctx.settings, *ctx.wanted
        )
        gradients = [g if wanted else None for g, wanted in zip(both, ctx.wanted)]
    elif upstream is not None:
        divisor, *computed = ctx.saved_tensors[3:]
        gradients = [
            _scaled_gradient(g, upstream, divisor, ctx.dtype) if wanted else None
            for g, wanted in zip(computed, ctx.wanted)
        ]
    return *gradients, *(None,) * 7


def _composed(ctx, upstream, *_):
    if upstream is None:
        return (None,) * 9
    targets, settings = ctx.saved_tensors[2], (*ctx.settings, ctx.reduction)

    def function(input, weight):
        return composed_loss(input @ weight.T, targets, None, *settings)

    return *gradients_of(function, ctx.saved_tensors[:2], upstream), *(None,) * 7


_linear_cross_entropy.register_autograd(_autograd, setup_context=_setup_context, composed=_composed)
