"""The operators of torch.library, with autograd, and the function that a PyTorch user calls."""

import torch
from torch import Tensor

from minissl_kernels import launch
from minissl_kernels.cross_entropy import labels, probabilities
from minissl_kernels.cross_entropy.composed import composed_loss
from minissl_kernels.cross_entropy.reduction import check_ignore_index, check_targets, reduce
from minissl_kernels.operators import gradients_of, operator

REDUCTIONS = ("none", "mean", "sum")


def cross_entropy(
    logits: Tensor,
    targets: Tensor,
    *,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    reduction: str = "mean",
    overwrite_logits: bool = False,
) -> Tensor:
    """−ln softmax(logits)[target], in nats and in float32 whatever the dtype of the logits.

    Shapes: logits (..., classes) in float32, float16 or bfloat16; targets (...) of int64 or int32
    in [0, classes) or ``ignore_index``, or (..., classes) floating with rows of probabilities,
    which need not sum to 1 and get no gradient. The reduction ``"none"`` gives (...), ``"sum"``
    and ``"mean"`` a number.

    - ``weight`` (classes,) float32: a class weighs that much; the mean then divides by the sum of
      the kept targets' weights (with probabilities by the number of rows, as torch does).
    - ``label_smoothing`` s: the target distribution is (1 − s) on the target plus s / classes
      everywhere (Szegedy et al., 2016).
    - ``z_loss`` z: adds z · lse² to the loss of every kept row, lse the log-sum-exp of its logits,
      before the reduction; it keeps the logits near 0 (Chowdhery et al., PaLM, 2022; Zoph et al.,
      ST-MoE, 2022).
    - A mean over nothing kept is 0 with a gradient of 0, where torch gives NaN. A mean over rows
      whose weights sum to 0 is NaN, as in torch.
    - ``overwrite_logits``: the backward writes the gradient over the logits, which saves their
      size in memory; their values are then lost, and a second backward is an error. Where that is
      not possible (torch.compile, logits whose rows overlap) a new tensor is taken silently.

    Raises TypeError for dtypes, ValueError for shapes and settings, IndexError for a target out of
    range (on a GPU an assertion at the next synchronisation), RuntimeError for the wrong device.
    Lectures 05 and 12.
    """
    _check(logits, targets, weight, label_smoothing, reduction)
    check_ignore_index("cross_entropy", ignore_index)
    if overwrite_logits and logits.requires_grad and logits.is_leaf:
        raise ValueError(
            "cross_entropy: overwrite_logits=True would destroy logits that are a leaf of the "
            "graph (a parameter); pass the result of an operation, or overwrite_logits=False"
        )
    classes = logits.shape[-1]
    soft = targets.is_floating_point()
    loss, _, _ = _cross_entropy(
        logits.reshape(-1, classes),
        targets.reshape(-1, classes) if soft else targets.reshape(-1),
        weight,
        int(ignore_index),
        float(label_smoothing),
        float(z_loss),
        reduction,
        overwrite_logits and not torch.compiler.is_compiling(),
    )
    return loss.reshape(logits.shape[:-1]) if reduction == "none" else loss


def _check(logits, targets, weight, label_smoothing, reduction):
    name = "cross_entropy"
    launch.check_device(name, logits=logits, targets=targets, weight=weight)
    launch.check_floating(name, logits=logits)
    if logits.dim() == 0 or logits.shape[-1] == 0:
        raise ValueError(
            f"{name}: logits must have shape (..., classes) with at least one class, got "
            f"{tuple(logits.shape)}"
        )
    if targets.is_floating_point():
        launch.check_floating(name, targets=targets)
        launch.check_shape(name, "probabilities", targets, logits.shape, "(..., classes)")
        if targets.requires_grad:
            raise ValueError(
                f"{name}: probabilities as targets get no gradient; pass targets.detach()"
            )
    else:
        if targets.dtype not in (torch.int64, torch.int32):
            raise TypeError(
                f"{name}: targets must be int64 or int32 class indices or floating probabilities, "
                f"got {targets.dtype}; convert with .long()"
            )
        launch.check_shape(name, "targets", targets, logits.shape[:-1], "(...)")
    if weight is not None:
        launch.check_shape(name, "weight", weight, logits.shape[-1:], "(classes,)")
        if weight.dtype != torch.float32:
            raise TypeError(f"{name}: weight must be float32, got {weight.dtype}; use .float()")
        if weight.requires_grad:
            raise ValueError(f"{name}: weight gets no gradient; pass weight.detach()")
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"{name}: label_smoothing must be in [0, 1], got {label_smoothing}")
    if reduction not in REDUCTIONS:
        raise ValueError(f"{name}: reduction must be 'none', 'mean' or 'sum', got {reduction!r}")


def _rows(tensor: Tensor) -> Tensor:
    """With the entries of a row side by side, which the kernels need; rows may lie anywhere."""
    return tensor if tensor.stride(-1) == 1 else tensor.contiguous()


@operator("minissl::cross_entropy")
def _cross_entropy(
    logits: Tensor,
    targets: Tensor,
    weight: Tensor | None,
    ignore_index: int,
    label_smoothing: float,
    z_loss: float,
    reduction: str,
    overwrite: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """The loss, the statistics of the rows and the divisor of the mean, for the backward."""
    weight = None if weight is None else weight.contiguous()
    rows, classes = logits.shape
    losses = logits.new_empty(rows, dtype=torch.float32)
    row_weights = None if weight is None else torch.empty_like(losses)
    statistics = logits.new_zeros((rows, 4), dtype=torch.float32)
    settings = (label_smoothing, z_loss)
    name = "cross_entropy"
    if targets.is_floating_point():
        probabilities.forward(
            _rows(logits), _rows(targets), weight, *settings, losses, statistics
        )  # fmt: skip
        loss, divisor = reduce(name, losses, None, None, classes, ignore_index, reduction)
    else:
        targets = targets.contiguous()
        check_targets(name, targets, classes, ignore_index)
        labels.forward(
            _rows(logits), targets, weight, ignore_index, *settings, losses, row_weights, statistics
        )
        loss, divisor = reduce(
            name, losses, row_weights, targets, classes, ignore_index, reduction
        )  # fmt: skip
    return loss, statistics, divisor


@_cross_entropy.register_fake
def _(logits, targets, weight, ignore_index, label_smoothing, z_loss, reduction, overwrite):
    loss_shape = logits.shape[:1] if reduction == "none" else ()
    return tuple(
        logits.new_empty(shape, dtype=torch.float32)
        for shape in (loss_shape, (logits.shape[0], 4), ())
    )


def _write_gradient(
    logits,
    targets,
    weight,
    statistics,
    divisor,
    upstream,
    ignore_index,
    label_smoothing,
    z_loss,
    reduction,
    gradient,
):
    weight = None if weight is None else weight.contiguous()
    mean_divisor = divisor if reduction == "mean" else None
    saved = (weight, statistics, upstream.expand(len(logits)), mean_divisor, gradient)
    if targets.is_floating_point():
        probabilities.backward(_rows(logits), _rows(targets), *saved, label_smoothing, z_loss)
    else:
        settings = (ignore_index, label_smoothing, z_loss)
        labels.backward(_rows(logits), targets.contiguous(), *saved, *settings)


@operator("minissl::cross_entropy_backward")
def _cross_entropy_backward(
    logits: Tensor,
    targets: Tensor,
    weight: Tensor | None,
    statistics: Tensor,
    divisor: Tensor,
    upstream: Tensor,
    ignore_index: int,
    label_smoothing: float,
    z_loss: float,
    reduction: str,
) -> Tensor:
    gradient = torch.empty(logits.shape, dtype=logits.dtype, device=logits.device)
    saved = (logits, targets, weight, statistics, divisor, upstream)
    settings = (ignore_index, label_smoothing, z_loss, reduction)
    _write_gradient(*saved, *settings, gradient)
    return gradient


@_cross_entropy_backward.register_fake
def _(logits, *rest):
    return torch.empty(logits.shape, dtype=logits.dtype, device=logits.device)


@operator("minissl::cross_entropy_backward_", mutates=["logits"])
def _cross_entropy_backward_(
    logits: Tensor,
    targets: Tensor,
    weight: Tensor | None,
    statistics: Tensor,
    divisor: Tensor,
    upstream: Tensor,
    ignore_index: int,
    label_smoothing: float,
    z_loss: float,
    reduction: str,
) -> None:
    saved = (logits, targets, weight, statistics, divisor, upstream)
    settings = (ignore_index, label_smoothing, z_loss, reduction)
    _write_gradient(*saved, *settings, logits)


def _setup_context(ctx, inputs, output):
    logits, targets, weight, *settings, overwrite = inputs
    _, statistics, divisor = output
    ctx.mark_non_differentiable(statistics, divisor)
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(logits, targets, weight, statistics, divisor)
    ctx.settings = settings
    apart = logits.stride(-1) == 1 and logits.stride(0) >= logits.shape[-1]
    ctx.overwrite = overwrite and apart
    ctx.overwritten = False


def _autograd(ctx, upstream, *_):
    if upstream is None:
        return (None,) * 8
    if ctx.overwritten:
        raise RuntimeError(
            "cross_entropy: a second backward, but the first wrote the gradient over the logits "
            "(overwrite_logits=True); use overwrite_logits=False to go backward twice"
        )
    saved = (*ctx.saved_tensors, upstream)
    if ctx.overwrite:
        ctx.overwritten = True
        _cross_entropy_backward_(*saved, *ctx.settings)
        gradient = saved[0].detach()
    else:
        gradient = _cross_entropy_backward(*saved, *ctx.settings)
    return gradient, *(None,) * 7


def _composed(ctx, upstream, *_):
    if upstream is None or ctx.overwritten:
        return _autograd(ctx, upstream)
    logits, targets, weight, *_ = ctx.saved_tensors

    def function(logits):
        return composed_loss(logits, targets, weight, *ctx.settings)

    return *gradients_of(function, (logits,), upstream), *(None,) * 7


_cross_entropy.register_autograd(_autograd, setup_context=_setup_context, composed=_composed)

OPERATORS = (_cross_entropy, _cross_entropy_backward, _cross_entropy_backward_)
