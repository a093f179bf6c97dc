"""Softmax cross-entropy and its gradient in NumPy: what the kernels must compute."""

import numpy as np


def reference(
    logits,
    targets,
    weight=None,
    ignore_index=-100,
    label_smoothing=0.0,
    z_loss=0.0,
    reduction="mean",
    upstream=1.0,
):
    """The loss and the gradient of Σ upstream · loss with respect to the logits, in float64.

    Every kind of target is a row a of amounts, one per class, that the logits l should explain:

        ℓ = Σ_c a_c (lse − l_c) + z lse²        lse = ln Σ_c exp(l_c),  p_c = exp(l_c − lse)
        ∂ℓ/∂l_c = (Σ a + 2 z lse) p_c − a_c

    Shapes: logits (rows, classes), targets (rows,) integers or (rows, classes) probabilities,
    upstream (rows,) for the reduction "none", else a number.
    """
    logits = np.asarray(logits, np.float64)
    rows, classes = logits.shape
    weight = np.ones(classes) if weight is None else np.asarray(weight, np.float64)
    if targets.shape == logits.shape:
        kept, distribution = np.ones(rows), np.asarray(targets, np.float64)
        divisor = rows
    else:
        kept = (targets != ignore_index).astype(np.float64)
        labels = np.where(kept > 0, targets, 0).astype(np.int64)
        distribution = (np.arange(classes) == labels[:, None]).astype(np.float64)
        divisor = (kept * weight[labels]).sum() if kept.any() else np.inf
    amounts = (1 - label_smoothing) * distribution + label_smoothing / classes
    amounts = amounts * weight * kept[:, None]

    logits = np.where(kept[:, None] > 0, logits, 0.0)  # an ignored row is not read
    largest = logits.max(axis=1, keepdims=True)
    lse = largest + np.log(np.exp(logits - largest).sum(axis=1, keepdims=True))
    log_p = logits - lse
    # A class of amount 0 says nothing, even when its logit is −∞.
    surprise = -amounts * np.where(amounts != 0, log_p, 0)
    losses = surprise.sum(axis=1) + kept * z_loss * lse[:, 0] ** 2

    scale = 1.0 if reduction != "mean" else 1 / (divisor or np.nan)
    mass = amounts.sum(axis=1, keepdims=True) + 2 * z_loss * lse * kept[:, None]
    gradient = mass * np.exp(log_p) - amounts
    gradient *= np.broadcast_to(np.asarray(upstream) * scale, (rows,))[:, None]
    return losses if reduction == "none" else losses.sum() * scale, gradient
