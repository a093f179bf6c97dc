"""Contrastive losses and their gradients in NumPy float64, storing the matrix that kernels do not.

Row i of the logits L = Q Kᵀ / τ holds the candidates of query i; T is the distribution it should
have, 1 at the target or 1/n at each of n positives. With P = softmax(L) by rows and weights w, the
upstream gradients of the rows' losses −Σⱼ T ln P,

    G = ∂/∂L = w (P − T),   ∂/∂Q = G K / τ,   ∂/∂K = Gᵀ Q / τ,   ∂/∂τ = −Σ G L / τ.
"""

from typing import Any

import numpy as np


def forward(
    query: Any, key: Any, positives: Any, temperature: float, candidates: Any = True
) -> tuple[np.ndarray, np.ndarray]:
    """Losses (rows,) and, for ``backward``, P − T, which is zero in rows without a positive.

    ``positives`` and ``candidates``: booleans (rows, columns), the pairs that should be found and
    those among which to search.
    """
    query, key = np.asarray(query, np.float64), np.asarray(key, np.float64)
    count = positives.sum(axis=1, keepdims=True)
    logits = np.where(candidates, query @ key.T / temperature, -np.inf)
    largest = np.maximum(logits.max(axis=1, keepdims=True, initial=-1e300), -1e300)
    exponentials = np.exp(logits - largest)
    totals = exponentials.sum(axis=1, keepdims=True)
    totals[totals == 0] = 1
    targets = positives / np.maximum(count, 1)
    log_probabilities = np.where(candidates, logits - largest - np.log(totals), 0.0)
    losses = -(targets * log_probabilities).sum(axis=1)
    return losses, np.where(count > 0, exponentials / totals - targets, 0.0)


def backward(
    upstream: Any, difference: np.ndarray, query: Any, key: Any, temperature: float
) -> tuple[np.ndarray, np.ndarray, float]:
    """∂/∂query (rows, width), ∂/∂key (columns, width) and ∂/∂temperature (a number), in float64.

    Row i's loss is −Σⱼ T ln softmax(Q Kᵀ / τ). ``upstream`` (rows,): the gradients w that arrive at
    the losses. ``difference`` (rows, columns): P − T, the softmax minus the wanted distribution.
    Then G = w (P − T) is the gradient of the logits Q Kᵀ / τ, and the chain rule does the rest; the
    temperature's is a sum over all logits that Q ∂/∂Q already holds. Lecture 12.
    """
    query, key = np.asarray(query, np.float64), np.asarray(key, np.float64)
    logit_gradient = np.asarray(upstream, np.float64)[:, None] * difference
    query_gradient = logit_gradient @ key / temperature
    key_gradient = logit_gradient.T @ query / temperature
    return query_gradient, key_gradient, -float(np.sum(query * query_gradient)) / temperature


def target_masks(targets: Any, columns: int, exclude_self: bool = False) -> tuple[Any, Any]:
    """(positives, candidates) where ``targets`` (rows,) are the positives' columns."""
    numbers, column = np.arange(len(targets))[:, None], np.arange(columns)
    return np.asarray(targets)[:, None] == column, (numbers != column) | (not exclude_self)


def label_masks(labels: Any) -> tuple[Any, Any]:
    """(positives, candidates) of the supervised loss: same label, and all but itself."""
    others = ~np.eye(len(labels), dtype=bool)
    return (np.asarray(labels)[:, None] == np.asarray(labels)) & others, others
