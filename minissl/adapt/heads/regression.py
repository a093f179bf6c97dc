"""A number read off frozen features: least squares with a penalty on the weights.

Hoerl and Kennard (1970), Ridge regression; a probe for labels that are numbers. Lecture 11. Not
here: labels with a distribution of their own (counts, ranks), and several numbers at once.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from minissl.adapt.frozen import Frozen, Readout, Shape, centre_and_scale
from minissl.adapt.method import Task
from minissl.autograd.tensor import Tensor
from minissl.data.labels import feature_rows
from minissl.nn.module import Parameter
from minissl.options import Options, option


def ridge(features: ArrayLike, labels: ArrayLike, l2: float) -> tuple[NDArray, float]:
    """Minimise mean (x · w + b − y)² + l2 ‖w‖² : the weights (width,) and the bias.

    With centred x and y the gradient is zero where (XᵀX / n + l2 I) w = Xᵀy / n. Where there are
    fewer examples than features the same w is Xᵀ (XXᵀ / n + l2 I)⁻¹ y / n, a smaller system.
    float64. scikit-learn's ``Ridge(alpha)`` has alpha = l2 n. Raises ValueError for shapes that do
    not fit, and for an ``l2`` that is not positive
    and finite.
    """
    x, y = feature_rows(features), np.asarray(labels, np.float64)
    if y.shape != x.shape[:1] or not np.isfinite(y).all():
        raise ValueError(
            f"features have shape {x.shape}, labels {y.shape}: expected (examples, width) and "
            "(examples,), finite numbers"
        )
    if not 0 < l2 < math.inf:
        raise ValueError(f"l2 must be > 0 and finite, got {l2!r}")
    x_mean, y_mean = x.mean(axis=0), y.mean()
    x, y, n = x - x_mean, y - y_mean, len(x)
    if n < x.shape[1]:
        weight = x.T @ np.linalg.solve(x @ x.T / n + l2 * np.eye(n), y / n)
    else:
        weight = np.linalg.solve(x.T @ x / n + l2 * np.eye(x.shape[1]), x.T @ y / n)
    return weight, float(y_mean - x_mean @ weight)


@dataclass(frozen=True, kw_only=True)
class RegressionSettings(Options):
    """Ridge regression on frozen features, solved in one step."""

    l2: float = option(1e-2, "weight of the squared weights beside the mean squared loss", above=0)
    standardize: bool = option(False, "divide each feature by its own deviation, not all by one")
    examples: int = option(0, "learn from so many random examples; 0: from all", least=0)

    def choose(self, labels: NDArray, seed: int, draw: int = 0) -> NDArray[np.int64]:
        """Which of the examples are learned from. Raises ValueError when there are fewer."""
        if self.examples > len(labels):
            raise ValueError(f"asked for {self.examples} examples, there are {len(labels)}")
        if not self.examples:
            return np.arange(len(labels))
        generator = np.random.default_rng([seed, self.examples, draw])
        return np.sort(generator.choice(len(labels), self.examples, replace=False))


class LinearNumber(Readout):
    """(x − mean) / scale · weight + bias: all (width,), the bias ()."""

    def __init__(self, width: int, l2: float, *, standardize: bool = False):
        self.l2, self.standardize = l2, standardize
        self.mean, self.scale = Tensor(np.zeros(width)), Tensor(np.ones(width))
        self.weight, self.bias = Parameter(np.zeros(width)), Parameter(np.zeros(()))

    def learn(self, features: NDArray, labels: NDArray, pool: NDArray) -> None:
        """Centred and scaled as the linear probe does it."""
        mean, scale = centre_and_scale(pool, standardize=self.standardize)
        weight, bias = ridge((features - mean) / scale, labels, self.l2)
        self.load_state_dict({"mean": mean, "scale": scale, "weight": weight, "bias": bias})

    def predict(self, features: NDArray) -> NDArray:
        """A number for each: (examples,)."""
        mean, scale, weight, bias = (
            t.numpy() for t in (self.mean, self.scale, self.weight, self.bias)
        )
        return (feature_rows(features) - mean) / scale @ weight + bias


class Regression(Frozen):
    """A number read off what a pretrained method makes of examples."""

    Settings = RegressionSettings
    labels = "number"

    @classmethod
    def new_readout(cls, settings: RegressionSettings, shape: Shape, task: Task) -> LinearNumber:
        """All weights 0."""
        return LinearNumber(shape[0], settings.l2, standardize=settings.standardize)


ADAPTATION = Regression
