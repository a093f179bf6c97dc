"""Softmax cross-entropy, the loss of every language model and of InfoNCE. Lectures 05 and 12."""

from typing import Any

import numpy as np

from minissl.autograd import composed
from minissl.autograd.arrays import int64_on_torch, namespace, require_floating, require_indices
from minissl.autograd.devices import beside
from minissl.autograd.fused import gpu
from minissl.autograd.fused.chunks import as_rows, for_each_chunk
from minissl.autograd.half import at_least_single
from minissl.autograd.recording import is_recording
from minissl.autograd.tensor import Tensor, differentiable


def cross_entropy(
    logits: Any,
    targets: Any,
    *,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
    overwrite_logits: bool = False,
) -> Tensor:
    """−log softmax(logits)[target], in nats.

    Shapes: logits (..., classes) floating, targets (...) integers in [0, classes) or
    ``ignore_index``. ``label_smoothing`` s: the target distribution is (1 − s) on the target plus
    s / classes everywhere (Szegedy et al., 2016). ``reduction``: ``"none"`` gives (...), ``"sum"``
    and ``"mean"`` a number; the mean is over the targets that are not ignored, and 0 when all are.
    ``overwrite_logits``: allow to compute in the array of the logits, which is then lost. It saves
    the largest array of a language model; for logits that nothing else will look at. Half precision
    is computed, and its loss given, in float32.

    Raises ValueError for shapes that do not fit, IndexError for a target out of range and TypeError
    for an ``ignore_index`` that is no integer.
    """
    targets = targets.array if isinstance(targets, Tensor) else targets
    logits = logits if isinstance(logits, Tensor) else Tensor(logits)
    if not hasattr(targets, "shape"):
        targets = np.asarray(targets)
    targets = beside(targets, logits.array)
    _check(logits, targets, ignore_index, label_smoothing, reduction)
    settings: dict[str, Any] = {
        "ignore_index": ignore_index,
        "label_smoothing": label_smoothing,
        "reduction": reduction,
    }
    if gpu.runs_kernels(logits.array):
        return gpu.cross_entropy(
            logits, targets=targets, overwrite=overwrite_logits, dtype="float32", **settings
        )
    logits = at_least_single(logits)
    if isinstance(logits.array, np.ndarray):
        return _cross_entropy(logits, targets, overwrite=overwrite_logits, **settings)
    return composed.cross_entropy(logits, targets, **settings)


def _check(logits, targets, ignore_index, label_smoothing, reduction):
    require_floating("cross_entropy", logits)
    if tuple(targets.shape) != logits.shape[:-1]:
        raise ValueError(
            f"cross_entropy: logits of shape {logits.shape} need targets of shape "
            f"{logits.shape[:-1]}, got {tuple(targets.shape)}"
        )
    xp = namespace(targets)
    if not xp.isdtype(targets.dtype, "integral"):
        raise ValueError(f"cross_entropy: targets must be integers, got {targets.dtype}")
    if not isinstance(ignore_index, int | np.integer):
        raise TypeError(
            f"cross_entropy: ignore_index must be an int, got {ignore_index!r}; to ignore nothing, "
            "pass a number that is no class, as -100 is, the default"
        )
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"cross_entropy: label_smoothing must be in [0, 1], got {label_smoothing}")
    if reduction not in ("none", "sum", "mean"):
        raise ValueError(f"reduction must be 'none', 'sum' or 'mean', got {reduction!r}")
    if not gpu.runs_kernels(logits.array):  # the kernel checks them itself
        wide, classes = int64_on_torch(targets), logits.shape[-1]
        require_indices("cross_entropy", wide, classes, ignored=int(ignore_index))


@differentiable
def _cross_entropy(logits, /, targets, ignore_index, label_smoothing, reduction, overwrite=False):
    """ℓ = ln Σ eˡ − l_target;  ∂ℓ/∂l = softmax(l) − onehot(target).

    The exponentials of the forward pass are kept and turned into the gradient in place.
    """
    rows, flat_targets = as_rows(logits), targets.reshape(-1)
    count, classes = rows.shape
    kept = flat_targets != ignore_index
    column = np.where(kept, flat_targets, 0)
    keep = is_recording() or overwrite
    exponentials = rows if overwrite else np.empty_like(rows if keep else rows[:0])
    totals, losses = np.empty(count, rows.dtype), np.empty(count, rows.dtype)

    def forward(_, piece):
        largest = rows[piece].max(axis=-1, keepdims=True)
        shifted = np.subtract(rows[piece], largest, out=exponentials[piece] if keep else None)
        target_logit = shifted[np.arange(len(shifted)), column[piece]]
        mean_logit = shifted.mean(axis=-1) if label_smoothing else 0
        np.exp(shifted, out=shifted)
        totals[piece] = shifted.sum(axis=-1)
        expected = (1 - label_smoothing) * target_logit + label_smoothing * mean_logit
        losses[piece] = np.log(totals[piece]) - expected

    for_each_chunk(forward, rows)
    losses[~kept] = 0
    divisor = max(int(kept.sum()), 1) if reduction == "mean" else 1

    def vjp(g):
        weight = (kept * np.broadcast_to(g.reshape(-1) / divisor, (count,))).astype(rows.dtype)

        def backward(_, piece):
            gradient, w = exponentials[piece], weight[piece]
            gradient *= (w / totals[piece])[:, None]
            if label_smoothing:
                gradient -= (w * (label_smoothing / classes))[:, None]
            gradient[np.arange(len(gradient)), column[piece]] -= w * (1 - label_smoothing)
            gradient[~kept[piece]] = 0  # what is ignored may be anything, NaN too

        for_each_chunk(backward, exponentials)
        return exponentials.reshape(logits.shape)

    if reduction == "none":
        return losses.reshape(targets.shape), (vjp,)
    return losses.sum() / divisor, (vjp,)
