"""Losses of word vectors: which words stand near each other? Lecture 04.

A word's vector as a center and another word's vector as its context have the dot product that says
how well they fit: negative sampling and noise-contrastive estimation ask whether a pair was seen or
drawn from noise, GloVe asks how often it was seen. All are float32 for half-precision vectors.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.autograd import fused
from minissl.autograd import operations as ops
from minissl.autograd.arrays import Array, namespace, require_floating
from minissl.autograd.half import at_least_single
from minissl.autograd.inputs import constant
from minissl.autograd.tensor import Tensor, as_array


def negative_sampling(center: Any, context: Any, negatives: Any) -> Tensor:
    """The mean of −log σ(w·c) − Σₖ log σ(−w·nₖ) over the pairs of a batch, in nats.

    Shapes: center w and context c (batch, width), negatives n (batch, k, width), the contexts that
    were drawn from noise. Where the noise draws each word as often as it occurs, the least value is
    at w·c = PMI(w, c) − log k (Levy and Goldberg, 2014): no probability of c. Raises ValueError for
    other shapes. Mikolov et al. (2013), Distributed Representations of Words and Phrases.
    Lecture 04.
    """
    return _real_or_noise(pair_scores(center, context, negatives))


def negative_sampling_gradients(
    center: NDArray, context: NDArray, negatives: NDArray
) -> tuple[float, NDArray, NDArray, NDArray]:
    """``negative_sampling`` by hand: the loss, and its gradients of center, context and negatives.

    The loss is the mean of −log σ(w·c) − Σₖ log σ(−w·nₖ) over the batch. NumPy arrays; shapes:
    center w and context c (batch, width), negatives n (batch, k, width), and each gradient has the
    shape and dtype of what it is of. Scores of any size give finite numbers. Lecture 04.
    """
    words = np.concatenate([context[:, None], negatives], axis=1)  # (batch, 1 + k, width)
    scores = np.sum(words * center[:, None], axis=2)  # (batch, 1 + k)
    sign = np.ones_like(scores)
    sign[:, 0] = -1  # the score of a real pair shall be large, those of noise small
    losses = np.logaddexp(0, sign * scores)  # −log σ(s) of a real pair, −log σ(−s) of noise
    sigmoid = np.exp(-np.logaddexp(0, -sign * scores))
    of_scores = (sign * sigmoid / len(center))[:, :, None]  # (σ(s) − 1) / batch, σ(s) / batch
    of_center = np.sum(of_scores * words, axis=1)
    of_words = of_scores * center[:, None]
    return float(losses.sum() / len(center)), of_center, of_words[:, 0], of_words[:, 1:]


def noise_contrastive(
    center: Any,
    context: Any,
    negatives: Any,
    context_noise: Any,
    negative_noise: Any,
) -> Tensor:
    """As ``negative_sampling``, of s − log(k q(c)) in place of s = w·c: then eˢ is p(c | w).

    ``context_noise`` (batch,) and ``negative_noise`` (batch, k): log q of each word, the log of the
    probability with which the noise draws it. The sum over the vocabulary that would normalize eˢ
    is taken to be 1, and becomes so as k grows. A vector with a 1 beside one with a bias gives s
    a bias. Raises ValueError for other shapes, and for log q that are not finite or above 0.
    Gutmann and Hyvärinen (2010); Mnih and Teh (2012). Lecture 04.
    """
    scores = pair_scores(center, context, negatives)
    batch, k = scores.shape[0], scores.shape[1] - 1
    seen = _log_noise("context_noise", context_noise, (batch,), scores.array)
    drawn = _log_noise("negative_noise", negative_noise, (batch, k), scores.array)
    log_noise = namespace(seen).concat([seen[:, None], drawn], axis=1)
    return _real_or_noise(scores - (log_noise + math.log(k)))


def _log_noise(name: str, values: Any, shape: tuple[int, ...], like: Array) -> Array:
    array = constant("noise_contrastive", name, values, like)
    if tuple(array.shape) != shape:
        raise ValueError(
            f"noise_contrastive: {name} has shape {tuple(array.shape)}, expected {shape}: the log "
            "of the probability of each word in the noise"
        )
    if not bool(((array <= 0) & namespace(array).isfinite(array)).all()):
        raise ValueError(
            f"noise_contrastive: {name} has a number that is not finite or above 0, and no "
            "probability has that log: pass np.log(q)"
        )
    return array


def pair_scores(center: Any, context: Any, negatives: Any) -> Tensor:
    """Dot products of each center with its context, then with its negatives: (batch, 1 + k)."""
    given = [as_array(x) for x in (center, context, negatives)]
    shapes = [tuple(array.shape) for array in given]
    batch, width = shapes[0] if len(shapes[0]) == 2 else (-1, -1)
    k = shapes[2][1] if len(shapes[2]) == 3 else 0
    if not (batch > 0 and k > 0 and shapes[1:] == [(batch, width), (batch, k, width)]):
        raise ValueError(
            "expected center and context (batch, width) and negatives (batch, k, width), "
            f"got {shapes[0]}, {shapes[1]} and {shapes[2]}"
        )
    center, context, negatives = (_tensor(x) for x in (center, context, negatives))
    words = ops.concatenate([ops.expand_dims(context, axis=1), negatives], axis=1)
    return ops.squeeze(ops.matmul(words, ops.expand_dims(center, axis=2)), axis=2)


def _tensor(x: Any) -> Tensor:
    return at_least_single(x if isinstance(x, Tensor) else Tensor(x))


def _real_or_noise(logits: Tensor) -> Tensor:
    """The logistic loss of logits (batch, 1 + k), of which the first is real; batch mean."""
    xp = namespace(logits.array)
    real = xp.zeros_like(logits.array)
    real[:, 0] = 1
    return fused.logistic_loss(logits, real, 1 - real) / logits.shape[0]


def glove_weights(counts: Any, largest: float = 100.0, power: float = 0.75) -> Array:
    """min(1, (x / largest)^power): how much the count x of a pair matters. In the counts' dtype.

    So a pair that was seen once has little say, one that is seen all the time not more than one
    seen ``largest`` times. Counts that are integers give floats. Raises ValueError for counts that
    are negative or NaN, and unless ``largest`` and ``power`` are positive.
    Pennington, Socher and Manning (2014). Lecture 04.
    """
    counts = as_array(counts)
    if not (0 < largest < math.inf and 0 < power < math.inf):
        raise ValueError(f"largest and power must be positive and finite, got {largest}, {power}")
    _require_counts("glove_weights", counts, counts >= 0, "numbers ≥ 0")
    return (counts / largest).clip(max=1) ** power


def glove(predicted: Any, counts: Any, largest: float = 100.0, power: float = 0.75) -> Tensor:
    """The mean of ½ f(x) (predicted − log x)² over pairs, with f of ``glove_weights``.

    Shapes: predicted w·w̃ + b + b̃ and counts x > 0, both (pairs,). The half is that of the published
    program. Raises ValueError for other shapes and for counts that are not positive.
    Pennington, Socher and Manning (2014). Lecture 04.
    """
    predicted = _tensor(predicted)
    require_floating("glove", predicted)
    counts = constant("glove", "counts", counts, predicted.array)
    if tuple(counts.shape) != predicted.shape or len(counts.shape) != 1 or not predicted.size:
        raise ValueError(
            f"glove: expected a count for each prediction, (pairs,), got {tuple(counts.shape)} "
            f"for {predicted.shape}"
        )
    advice = "numbers > 0: a pair that was never seen has no logarithm, leave it out"
    _require_counts("glove", counts, counts > 0, advice)
    error = predicted - namespace(counts).log(counts)
    return 0.5 * ops.mean(glove_weights(counts, largest, power) * error * error)


def _require_counts(operation: str, counts: Array, fine: Array, expected: str) -> None:
    """ValueError with the first count that is not fine."""
    if not bool(fine.all()):
        raise ValueError(
            f"{operation}: got the count {counts[~fine].reshape(-1)[0]}, expected {expected}"
        )
