"""A linear classifier on frozen features: how much of a label does a straight line read off them?

Alain and Bengio (2017), Understanding intermediate layers using linear classifier probes. Lecture
11. The pretrained network is used as it is; only a multinomial logistic regression on top is
trained, to its one best answer. Not here: the features of layers in between.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from minissl.adapt.frozen import Frozen, Readout, Shape, centre_and_scale
from minissl.adapt.method import FewLabels, Task
from minissl.adapt.metrics import softmax
from minissl.autograd.tensor import Tensor
from minissl.data.labels import draw_few_labels, feature_rows, likeliest, share_right
from minissl.nn.module import Parameter
from minissl.options import option


@dataclass(frozen=True)
class LinearProbe:
    """A fitted probe: argmax over classes of ((features − mean) / scale) · weight + bias.

    mean (width,); scale (width,); weight (width, classes); bias (classes,); classes: the labels,
    sorted.
    """

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    weight: NDArray[np.float64]
    bias: NDArray[np.float64]
    classes: NDArray

    def logits(self, features: ArrayLike) -> NDArray[np.float64]:
        """Scores (examples, classes) of features (examples, width)."""
        return (feature_rows(features) - self.mean) / self.scale @ self.weight + self.bias

    def predict(self, features: ArrayLike) -> NDArray:
        """The label of the highest score for each of the examples."""
        return self.classes[likeliest(self.logits(features))]

    def accuracy(self, features: ArrayLike, labels: ArrayLike) -> float:
        """The part of the labels that is predicted, 0 to 1."""
        return share_right(self.predict(features), labels)


def linear_probe(
    features: ArrayLike,
    labels: ArrayLike,
    *,
    l2: float = 1e-2,
    unlabelled: ArrayLike | None = None,
    standardize: bool = False,
) -> LinearProbe:
    """Fit min over W, b of mean cross-entropy + l2/2 ‖W‖² on centred features, to the end.

    features (examples, width), labels (examples,) of any kind. The problem is convex and solved in
    float64 by L-BFGS, so the answer does not depend on a learning rate or a seed. The mean of each
    column is subtracted and everything divided by one number, or with ``standardize`` each column
    by its own deviation: see ``centre_and_scale``, also for when it warns. ``unlabelled``
    (examples, width): take mean and scale from these, which uses no label. ``l2`` goes with a mean
    loss: scikit-learn's C is 1 / (l2 · examples).

    Raises ValueError when shapes do not fit, there are fewer than two classes or ``l2`` is negative
    or not finite, RuntimeError if the solver fails.
    """
    features, labels = feature_rows(features), np.asarray(labels)
    if labels.shape != features.shape[:1]:
        raise ValueError(
            f"features have shape {features.shape}, labels {labels.shape}: one label per row"
        )
    if not 0 <= l2 < math.inf:
        raise ValueError(f"l2 must be ≥ 0 and finite, got {l2!r}")
    if labels.dtype.kind in "fc" and not np.isfinite(labels).all():
        raise ValueError("a label is NaN or infinite: leave its example out, or name its class")
    classes, targets = np.unique(labels, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(f"a probe needs two classes or more, the labels are all {classes}")
    pool = features if unlabelled is None else unlabelled
    mean, scale = centre_and_scale(pool, standardize=standardize)
    weight, bias = _fit((features - mean) / scale, targets, len(classes), l2)
    return LinearProbe(mean, scale, weight, bias, classes)


def _fit(x, targets, num_classes, l2):
    """Softmax regression: dL/dlogits = (softmax − one-hot) / examples, and the rest is linear."""
    from scipy.optimize import minimize

    examples, width = x.shape
    rows = np.arange(examples)

    def loss_and_gradient(flat):
        weight, bias = flat[: width * num_classes].reshape(width, -1), flat[width * num_classes :]
        logits = x @ weight + bias
        logits -= logits.max(axis=1, keepdims=True)
        p = np.exp(logits)
        totals = p.sum(axis=1, keepdims=True)
        p /= totals
        cross_entropy = np.mean(np.log(totals[:, 0]) - logits[rows, targets])
        p[rows, targets] -= 1
        error = p / examples
        gradient = np.concatenate([(x.T @ error + l2 * weight).ravel(), error.sum(axis=0)])
        return cross_entropy + l2 / 2 * np.sum(weight * weight), gradient

    start = np.zeros((width + 1) * num_classes)
    options = {"maxiter": 2000, "maxfun": 4000, "gtol": 1e-6, "ftol": 1e-12}
    result = minimize(loss_and_gradient, start, jac=True, method="L-BFGS-B", options=options)
    if not result.success:
        raise RuntimeError(f"the probe was not fitted: {result.message}; try a larger l2")
    return result.x[: width * num_classes].reshape(width, -1), result.x[width * num_classes :]


@dataclass(frozen=True)
class FewLabelResult:
    """Accuracies (draws,) of probes that each saw ``labels_per_class`` labels of every class."""

    labels_per_class: int
    accuracies: NDArray[np.float64]

    @property
    def mean(self) -> float:
        """Mean accuracy over the draws, 0 to 1."""
        return float(self.accuracies.mean())

    @property
    def std(self) -> float:
        """Standard deviation over the draws."""
        return float(self.accuracies.std())


def few_label_curve(
    features: ArrayLike,
    labels: ArrayLike,
    test_features: ArrayLike,
    test_labels: ArrayLike,
    *,
    labels_per_class: Sequence[int] = (1, 2, 5, 10, 20, 50),
    draws: int = 10,
    seed: int = 0,
    l2: float = 1e-2,
    standardize: bool = False,
) -> list[FewLabelResult]:
    """Test accuracy of linear probes against the number of labels: what pretraining buys.

    For every number, ``draws`` probes on different examples; the same seed draws the same examples
    for any features, so curves can be compared point by point. Mean and scale are those of all
    features, labelled or not. Raises ValueError as ``linear_probe`` and ``draw_few_labels`` do.
    """
    features, labels = feature_rows(features), np.asarray(labels)
    curve = []
    for count in labels_per_class:
        accuracies = []
        for draw in range(draws):
            chosen = draw_few_labels(labels, count, np.random.default_rng([seed, count, draw]))
            probe = linear_probe(
                features[chosen], labels[chosen],
                l2=l2, unlabelled=features, standardize=standardize,
            )  # fmt: skip
            accuracies.append(probe.accuracy(test_features, test_labels))
        curve.append(FewLabelResult(count, np.array(accuracies)))
    return curve


# ---- as an adaptation of a run -------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class ProbeSettings(FewLabels):
    """A multinomial logistic regression on frozen features, solved to the end."""

    l2: float = option(1e-2, "weight of the squared weights beside the mean loss", above=0)
    standardize: bool = option(False, "divide each feature by its own deviation, not all by one")


class LinearReadout(Readout):
    """``LinearProbe`` as a module: mean and scale (width,), weight (width, classes), bias."""

    def __init__(self, width: int, classes: int, settings: ProbeSettings):
        self.settings = settings
        self.mean, self.scale = Tensor(np.zeros(width)), Tensor(np.ones(width))
        self.weight = Parameter(np.zeros((width, classes)))
        self.bias = Parameter(np.zeros(classes))

    def learn(self, features: NDArray, labels: NDArray, pool: NDArray) -> None:
        """Every class must be among the labels."""
        l2, standardize = self.settings.l2, self.settings.standardize
        probe = linear_probe(features, labels, l2=l2, unlabelled=pool, standardize=standardize)
        arrays = {"mean": probe.mean, "scale": probe.scale, "weight": probe.weight}
        self.load_state_dict({**arrays, "bias": probe.bias})

    def probe(self) -> LinearProbe:
        """What was learned, for classes 0, 1, ..."""
        of_probe = (self.mean, self.scale, self.weight, self.bias)
        mean, scale, weight, bias = (tensor.numpy() for tensor in of_probe)
        return LinearProbe(mean, scale, weight, bias, np.arange(len(bias)))

    def predict(self, features: NDArray) -> NDArray:
        """The number of the likeliest class."""
        return self.probe().predict(features)


class Probe(Frozen):
    """A linear classifier on what a pretrained method makes of examples."""

    Settings = ProbeSettings
    model: LinearReadout

    @classmethod
    def new_readout(cls, settings: ProbeSettings, shape: Shape, task: Task) -> LinearReadout:
        """All weights 0."""
        return LinearReadout(shape[0], task.outputs, settings)

    def probabilities(self, inputs: ArrayLike) -> NDArray:
        """The softmax of the logits: (examples, classes)."""
        return softmax(self.model.probe().logits(self.base.represent(inputs)))


ADAPTATION = Probe
