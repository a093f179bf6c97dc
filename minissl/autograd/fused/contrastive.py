"""The cross-entropy behind InfoNCE (van den Oord et al., 2018), and so behind SimCLR and CLIP.

``minissl.losses.contrastive`` has the losses; this is what they share. Lecture 12."""

import math
from typing import Any

import numpy as np

from minissl.autograd import composed
from minissl.autograd import operations as ops
from minissl.autograd.arrays import (
    dtype_name,
    int64_on_torch,
    is_array,
    namespace,
    require_floating,
    require_indices,
)
from minissl.autograd.devices import beside
from minissl.autograd.fused import gpu
from minissl.autograd.fused.cross_entropy import _cross_entropy
from minissl.autograd.half import at_least_single
from minissl.autograd.tensor import Tensor, as_array, differentiable
from minissl.autograd.threads import product


def contrastive_cross_entropy(
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
    each row's positive, by default its own number. ``temperature``: a number or a floating Tensor
    with one element, which then gets a gradient. ``exclude_self``: row i may not pick column i
    (query and key are the same embeddings, as in NT-Xent). ``reduction``: as in ``cross_entropy``.
    Nothing is normalized here: for cosine similarities pass unit vectors. Half precision is
    computed, and its loss given, in float32. A row that is not finite has similarities of NaN.

    Raises ValueError for shapes that do not fit or a temperature that is not positive and finite,
    IndexError for a target out of range, TypeError for integers.
    """
    if len(query.shape) != 2 or len(key.shape) != 2 or query.shape[1] != key.shape[1]:
        raise ValueError(
            "contrastive loss: expected query (rows, width) and key (columns, width), "
            f"got {tuple(query.shape)} and {tuple(key.shape)}"
        )
    if reduction not in ("none", "sum", "mean"):
        raise ValueError(f"reduction must be 'none', 'sum' or 'mean', got {reduction!r}")
    require_floating("contrastive loss", query, key)
    on_kernels = gpu.runs_kernels(as_array(query))
    if not on_kernels:
        query, key = at_least_single(query), at_least_single(key)
    query, key, temperature = with_temperature(query, key, temperature, on_kernels)
    array = as_array(query)
    settings: dict[str, Any] = {"exclude_self": exclude_self, "reduction": reduction}
    targets = np.arange(len(query)) if targets is None and not on_kernels else targets
    if targets is not None:
        targets = _as_targets(beside(as_array(targets), array), len(query))
    if on_kernels:
        settings |= {"targets": targets, "dtype": "float32"}
        if isinstance(temperature, Tensor):
            return gpu.contrastive_with_temperature(query, key, temperature, **settings)
        return gpu.contrastive_cross_entropy(query, key, temperature=temperature, **settings)
    _check_targets(targets, len(query), len(key), exclude_self)  # a kernel checks them itself
    if not isinstance(array, np.ndarray):
        settings |= {"temperature": temperature}
        return composed.contrastive_cross_entropy(query, key, targets, **settings)
    return _contrastive_cross_entropy(query, key, temperature, targets=targets, **settings)


def with_temperature(query, key, temperature, on_kernels):
    """All three in dtypes that fit: a Tensor keeps its digits, and half precision makes room."""
    if is_array(temperature):
        temperature = Tensor(beside(temperature, as_array(query)))
    if not isinstance(temperature, Tensor) and not hasattr(temperature, "__float__"):
        raise TypeError(
            "contrastive loss: temperature must be a number or a Tensor with one element, got "
            f"{temperature!r:.60}"
        )
    if not isinstance(temperature, Tensor):
        temperature = float(temperature)
    elif temperature.size != 1:
        raise ValueError(
            "contrastive loss: temperature must be a number or a Tensor with one element, got "
            f"shape {temperature.shape}"
        )
    elif dtype_name(temperature.array) != dtype_name(as_array(query)):
        query, key = at_least_single(query), at_least_single(key)
        temperature = ops.astype(temperature, dtype=as_array(query).dtype)
    # A Tensor's value is not asked for where a kernel looks at it: that would wait for the GPU.
    left_to_kernel = on_kernels and isinstance(temperature, Tensor)
    if not left_to_kernel and not 0 < float(temperature) < math.inf:
        raise ValueError(
            "contrastive loss: the temperature must be positive and finite, got "
            f"{float(temperature)}"
        )
    return query, key, temperature


def _as_targets(targets, rows):
    if tuple(targets.shape) != (rows,):
        raise ValueError(
            f"contrastive loss: {rows} queries need {rows} targets, got {tuple(targets.shape)}"
        )
    if not namespace(targets).isdtype(targets.dtype, "integral"):
        raise ValueError(f"contrastive loss: targets must be integers, got {dtype_name(targets)}")
    return int64_on_torch(targets)


def _check_targets(targets, rows, columns, exclude_self):
    require_indices("contrastive loss: targets", targets, columns)
    xp = namespace(targets)
    if exclude_self and xp.any(targets == xp.arange(rows, device=targets.device)):
        raise ValueError(
            "contrastive loss: with exclude_self no row's target may be the row itself"
        )


@differentiable
def _contrastive_cross_entropy(query, key, temperature, /, targets, exclude_self, reduction):
    """L = cross-entropy of S = Q Kᵀ / τ.  With dS from there:

    ∂L/∂Q = dS K / τ,  ∂L/∂K = dSᵀ Q / τ,  ∂L/∂τ = −Σ dS S / τ = −Σ Q ∂L/∂Q / τ.
    """
    tau = temperature.reshape(())[()]
    with np.errstate(over="ignore", divide="ignore"):
        inverse = 1 / tau
    logits = product(query, key.T)
    logits *= inverse if np.isfinite(inverse) else np.nan  # of e^−100 in float32 it is infinite
    logits[~np.isfinite(query).all(axis=1)] = np.nan  # not −∞, which would only be a bad match
    logits[:, ~np.isfinite(key).all(axis=1)] = np.nan
    if exclude_self:
        np.fill_diagonal(logits, -np.inf)
    settings = {"ignore_index": -100, "label_smoothing": 0.0, "reduction": reduction}
    loss, (vjp_logits,) = _cross_entropy.__wrapped__(logits, targets, overwrite=True, **settings)

    def vjp(g):
        ds = vjp_logits(g)
        ds *= inverse
        dq = product(ds, key)
        return dq, product(ds.T, query), (-np.sum(query * dq) / tau).reshape(temperature.shape)

    return loss, vjp
