"""What published tasks are judged by, beside the accuracy: each by the task's own definition.

Lecture 11; which task names which: ``minissl.data.tasks``, ``minissl data tasks``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from minissl.data.labels import rank_correlation, share_right
from minissl.data.tasks import ACCURACY, F1, MATTHEWS, PEARSON, SPEARMAN


def matthews(predictions: ArrayLike, labels: ArrayLike) -> float:
    """Matthews correlation of the classes predicted and right, (examples,) each: −1 to 1.

    Of two classes (TP · TN − FP · FN) / √((TP + FP)(TP + FN)(TN + FP)(TN + FN)), Matthews (1975);
    of more, Gorodkin's (2004) R_K. Who always says the same gets 0, however common that class is:
    so it is no accuracy. 0 too where the labels are of one class, as scikit-learn has it. Raises
    ValueError as ``share_right`` does.
    """
    share_right(predictions, labels)
    predicted, true = np.asarray(predictions), np.asarray(labels)
    count, right = len(true), int(np.sum(predicted == true))
    classes = np.union1d(predicted, true)
    said, are = ([int(np.sum(side == c)) for c in classes] for side in (predicted, true))
    chance = sum(s * a for s, a in zip(said, are))  # in whole numbers: 0 where it is by chance
    spread = (count**2 - sum(s * s for s in said)) * (count**2 - sum(a * a for a in are))
    return (count * right - chance) / math.sqrt(spread) if spread else 0.0


def f1_of_second(predictions: ArrayLike, labels: ArrayLike) -> float:
    """F1 of the class with number 1, 0 to 1: the harmonic mean of its precision and its recall.

    2 TP / (2 TP + FP + FN), which does not ask how many of the other classes were found: van
    Rijsbergen (1979). 0 where nobody is of that class and none was said to be. Raises ValueError as
    ``share_right`` does.
    """
    share_right(predictions, labels)
    predicted, true = np.asarray(predictions) == 1, np.asarray(labels) == 1
    either = int(predicted.sum()) + int(true.sum())
    return 2 * int((predicted & true).sum()) / either if either else 0.0


def pearson(predictions: ArrayLike, labels: ArrayLike) -> float:
    """Pearson's correlation of numbers (examples,), −1 to 1: how near they are to a straight line.

    0 where one side is constant. Raises ValueError as ``rank_correlation`` does.
    """
    rank_correlation(predictions, labels)
    one, other = (_centred(np.asarray(side, np.float64)) for side in (predictions, labels))
    return float(np.clip(one @ other, -1, 1))


def _centred(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values (examples,) less their mean, of length 1; zeros where they are all equal.

    Divided first: squares of 1e200 would be infinite, and so would a sum of 1e308.
    """
    if values.min() == values.max():
        return np.zeros_like(values)
    values = values / np.abs(values).max()
    values = values - values.mean()
    values = values / np.abs(values).max()
    return values / np.linalg.norm(values)


METRICS: Mapping[str, Callable[[ArrayLike, ArrayLike], float]] = {
    ACCURACY: share_right,
    MATTHEWS: matthews,
    F1: f1_of_second,
    PEARSON: pearson,
    SPEARMAN: rank_correlation,
}


def score(
    predictions: NDArray, labels: NDArray, kind: str, metrics: Sequence[str] = ()
) -> dict[str, float]:
    """Of classes the accuracy, 0 to 1; of numbers R² and Spearman's rank correlation.

    R² is 1 − Σ (label − prediction)² / Σ (label − mean label)²: 0 is as good as the mean. The other
    is ``data.labels.rank_correlation``. ``metrics``: what the task is judged by besides, by names
    of ``adapt.metrics``.
    """
    if kind == "class":
        found = {"accuracy": share_right(predictions, labels)}
        return found | _further(predictions, labels, metrics)
    if predictions.shape != labels.shape or labels.ndim != 1 or not np.isfinite(predictions).all():
        raise ValueError(
            f"got predictions {predictions.shape} and labels {labels.shape}: expected one finite "
            "number for each example, (examples,)"
        )
    spread = float(np.sum((labels - labels.mean()) ** 2))
    error = float(np.sum((labels - predictions) ** 2))
    r2 = 1 - error / spread if spread else 0.0
    found = {"r2": r2, "spearman": rank_correlation(predictions, labels)}
    return found | _further(predictions, labels, metrics)


def _further(predictions: NDArray, labels: NDArray, names: Sequence[str]) -> dict[str, float]:
    """The metrics of these names, in their order."""
    return {name: METRICS[name](predictions, labels) for name in names}


def softmax(logits: NDArray) -> NDArray:
    """Probabilities of logits (examples, classes): rows sum to 1."""
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)
