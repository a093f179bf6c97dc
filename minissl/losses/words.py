"""Losses of word vectors: which words stand near each other? Lecture 04.

A word's vector as a center and another word's vector as its context have the dot product that says
how well they fit: negative sampling and noise-contrastive estimation ask whether a pair was seen or
drawn from noise, GloVe asks how often it was seen.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from minissl.autograd import fused
from minissl.autograd import operations as ops
from minissl.autograd.arrays import namespace
from minissl.autograd.tensor import Tensor, as_array


def negative_sampling(center: Any, context: Any, negatives: Any) -> Tensor:
    """The mean of −log σ(w·c) − Σₖ log σ(−w·nₖ) over the pairs of a batch, in nats.

    Shapes: center w and context c (batch, width), negatives n (batch, k, width), the contexts that
    were drawn from noise. Its least value is where w·c = PMI(w, c) − log k (Levy and Goldberg,
    2014): no probability of c. Raises ValueError for other shapes. Mikolov et al. (2013),
    Distributed Representations of Words and Phrases. Lecture 04.
    """
    scores = pair_scores(center, context, negatives)
    return _real_or_noise(scores)


def negative_sampling_gradients(
    center: NDArray, context: NDArray, negatives: NDArray
) -> tuple[float, NDArray, NDArray, NDArray]:
    """``negative_sampling`` by hand: the loss, and its gradients of center, context and negatives.

    NumPy arrays; shapes: center w and context c (batch, width), negatives n (batch, k, width), and
    each gradient has the shape and dtype of what it is of. Scores of any size give finite numbers.
    Lecture 04.
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
    a bias. Raises ValueError for other shapes. Gutmann and Hyvärinen (2010); Mnih and Teh (2012).
    Lecture 04.
    """
    scores = pair_scores(center, context, negatives)
    log_noise = ops.concatenate(
        [ops.expand_dims(Tensor(context_noise), axis=1), Tensor(negative_noise)], axis=1
    )
    k = scores.shape[1] - 1
    if log_noise.shape != scores.shape:
        raise ValueError(
            f"noise_contrastive: expected the log noise of {scores.shape[0]} contexts and of "
            f"{k} negatives each, got shape {log_noise.shape} in all"
        )
    return _real_or_noise(scores - log_noise - float(np.log(k)))


def pair_scores(center: Any, context: Any, negatives: Any) -> Tensor:
    """Dot products of each center with its context, then with its negatives: (batch, 1 + k)."""
    shapes = [tuple(as_array(x).shape) for x in (center, context, negatives)]
    batch, width = shapes[0] if len(shapes[0]) == 2 else (-1, -1)
    k = shapes[2][1] if len(shapes[2]) == 3 else 0
    if not (batch > 0 and k > 0 and shapes[1:] == [(batch, width), (batch, k, width)]):
        raise ValueError(
            "expected center and context (batch, width) and negatives (batch, k, width), "
            f"got {shapes[0]}, {shapes[1]} and {shapes[2]}"
        )
    words = ops.concatenate([ops.expand_dims(_tensor(context), axis=1), negatives], axis=1)
    return ops.squeeze(ops.matmul(words, ops.expand_dims(_tensor(center), axis=2)), axis=2)


def _tensor(x: Any) -> Tensor:
    return x if isinstance(x, Tensor) else Tensor(x)


def _real_or_noise(logits: Tensor) -> Tensor:
    """The logistic loss of logits (batch, 1 + k), of which the first is real; batch mean."""
    xp = namespace(logits.array)
    real = xp.zeros_like(logits.array)
    real[:, 0] = 1
    return fused.logistic_loss(logits, real, 1 - real) / logits.shape[0]


def glove_weights(counts: ArrayLike, largest: float = 100.0, power: float = 0.75) -> NDArray:
    """min(1, (x / largest)^power): how much the count x of a pair matters. In the counts' dtype.

    So a pair that was seen once has little say, one that is seen all the time not more than one
    seen ``largest`` times. Raises ValueError for negative counts, or numbers that are not positive.
    Pennington, Socher and Manning (2014). Lecture 04.
    """
    counts = np.asarray(counts)
    if not (largest > 0 and power > 0 and np.isfinite(largest) and np.isfinite(power)):
        raise ValueError(f"largest and power must be positive, got {largest} and {power}")
    if counts.dtype.kind not in "iuf" or not (counts >= 0).all():
        raise ValueError("glove_weights: expected counts, numbers ≥ 0")
    return np.minimum(1, counts / largest) ** power


def glove(predicted: Any, counts: Any, largest: float = 100.0, power: float = 0.75) -> Tensor:
    """The mean of ½ f(x) (predicted − log x)² over pairs, with f of ``glove_weights``.

    Shapes: predicted w·w̃ + b + b̃ and counts x > 0, both (pairs,). The half is that of the published
    program. Raises ValueError for other shapes and for counts that are not positive.
    Pennington, Socher and Manning (2014). Lecture 04.
    """
    counts = as_array(counts)
    if tuple(counts.shape) != tuple(predicted.shape) or len(counts.shape) != 1:
        raise ValueError(
            f"glove: expected a count for each prediction, (pairs,), got {tuple(counts.shape)} "
            f"for {tuple(predicted.shape)}"
        )
    xp = namespace(counts)
    if not bool((counts > 0).all()):
        raise ValueError("glove: a pair that was never seen has no logarithm: leave it out")
    weights = glove_weights(np.asarray(Tensor(counts).numpy()), largest, power)
    error = predicted - xp.log(counts)
    return 0.5 * ops.mean(xp.asarray(weights, device=counts.device) * error * error)
