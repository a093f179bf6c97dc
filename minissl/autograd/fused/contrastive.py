"""InfoNCE (van den Oord et al., 2018), the contrastive loss behind SimCLR, SimCSE and CLIP.

Lecture 12."""

from typing import Any

import numpy as np

from minissl.autograd import composed
from minissl.autograd.devices import beside
from minissl.autograd.fused import gpu
from minissl.autograd.fused.cross_entropy import _cross_entropy
from minissl.autograd.tensor import Tensor, as_array, differentiable
from minissl.autograd.threads import product


def info_nce(
    query: Any,
    key: Any,
    targets: Any = None,
    *,
    temperature: Any = 1.0,
    exclude_self: bool = False,
    reduction: str = "mean",
) -> Tensor:
    """Cross-entropy of picking each query's positive among all keys by their inner products.

    Shapes: query (rows, width), key (columns, width); ``targets`` (rows,) integers: the column of
    each row's positive, by default its own number. ``temperature``: a number or a Tensor with one
    element, which then gets a gradient. ``exclude_self``: row i may not pick column i (query and
    key are the same embeddings, as in NT-Xent). ``reduction``: as in ``cross_entropy``.
    Nothing is normalized here: for cosine similarities pass unit vectors.

    Raises ValueError for shapes that do not fit or a temperature that is not positive, IndexError
    for a target out of range.
    """
    if len(query.shape) != 2 or len(key.shape) != 2 or query.shape[1] != key.shape[1]:
        raise ValueError(
            "info_nce: expected query (rows, width) and key (columns, width), "
            f"got {tuple(query.shape)} and {tuple(key.shape)}"
        )
    if reduction not in ("none", "sum", "mean"):
        raise ValueError(f"reduction must be 'none', 'sum' or 'mean', got {reduction!r}")
    array = query.array if isinstance(query, Tensor) else query
    on_kernels = gpu.runs_kernels(array)
    # A Tensor's value is not asked for where a kernel looks at it: that would wait for the GPU.
    if not (on_kernels and isinstance(temperature, Tensor)) and not float(temperature) > 0:
        raise ValueError(f"info_nce: the temperature must be positive, got {float(temperature)}")
    settings: dict[str, Any] = {"exclude_self": exclude_self, "reduction": reduction}
    if on_kernels:
        settings |= {"targets": None if targets is None else beside(as_array(targets), array)}
        if isinstance(temperature, Tensor):
            return gpu.info_nce_learned(query, key, temperature, dtype="float32", **settings)
        return gpu.info_nce(query, key, temperature=temperature, dtype="float32", **settings)
    if not isinstance(array, np.ndarray):
        return composed.info_nce(query, key, targets, temperature=temperature, **settings)
    targets = np.arange(query.shape[0]) if targets is None else as_array(targets)
    _check_targets(targets, query.shape[0], key.shape[0], exclude_self)
    return _info_nce(query, key, temperature, targets=targets, **settings)


def _check_targets(targets, rows, columns, exclude_self):
    if targets.shape != (rows,):
        raise ValueError(f"info_nce: {rows} queries need {rows} targets, got {targets.shape}")
    if targets.dtype.kind not in "iu":
        raise ValueError(f"info_nce: targets must be integers, got {targets.dtype}")
    if rows and not (targets.min() >= 0 and targets.max() < columns):
        raise IndexError(f"info_nce: targets must be in 0 to {columns - 1}, got {targets}")
    if exclude_self and np.any(targets == np.arange(rows)):
        raise ValueError("info_nce: with exclude_self no row's target may be the row itself")


@differentiable
def _info_nce(query, key, temperature, /, targets, exclude_self, reduction):
    """L = cross-entropy of S = Q Kᵀ / τ.  With dS from there:

    ∂L/∂Q = dS K / τ,  ∂L/∂K = dSᵀ Q / τ,  ∂L/∂τ = −Σ dS S / τ = −Σ Q ∂L/∂Q / τ.
    """
    tau = temperature.reshape(())[()]
    logits = product(query, key.T)
    logits *= 1 / tau
    if exclude_self:
        np.fill_diagonal(logits, -np.inf)
    loss, (vjp_logits,) = _cross_entropy.__wrapped__(
        logits, targets, ignore_index=-100, label_smoothing=0.0, reduction=reduction
    )

    def vjp(g):
        ds = vjp_logits(g)
        ds *= 1 / tau
        dq = product(ds, key)
        return dq, product(ds.T, query), (-np.sum(query * dq) / tau).reshape(temperature.shape)

    return loss, vjp
