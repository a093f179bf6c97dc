"""The k nearest neighbours vote: do examples of one class lie close together?

Nothing is trained, so it is the quickest honest look at a representation. Wu, Xiong, Yu and Lin
(2018), Unsupervised feature learning via non-parametric instance discrimination. Lecture 11. Not
here: approximate search, which a million examples would want.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from minissl.adapt.frozen import Frozen, Readout, Shape
from minissl.adapt.method import FewLabels, Task
from minissl.autograd.tensor import Tensor
from minissl.data.labels import likeliest, rows_of_length_one, share_right
from minissl.options import is_whole, option

_AT_ONCE = 1 << 20  # similarities that are looked at together


def nearest_neighbor_predictions(
    features: ArrayLike,
    labels: ArrayLike,
    test_features: ArrayLike,
    *,
    k: int = 200,
    temperature: float = 0.1,
) -> NDArray:
    """Each test example gets the label with the most votes of its k nearest training examples.

    Near is cosine similarity s; a neighbour's vote weighs e^(s / temperature). features (examples,
    width), labels (examples,), test_features (tests, width) -> labels (tests,). With fewer than k
    training examples all vote. Equally near examples come in the order of the training set, equal
    votes go to the smaller label. Memory grows with examples and tests, not with their product.
    (Wu et al. 2018, with their k = 200 and temperature; on small sets a smaller k is better.)
    Raises ValueError for shapes or settings that do not fit.
    """
    train, test = rows_of_length_one(features), rows_of_length_one(test_features)
    labels = np.asarray(labels)
    if labels.shape != train.shape[:1] or train.shape[1] != test.shape[1]:
        raise ValueError(
            f"got features {train.shape}, labels {labels.shape}, test features {test.shape}: "
            "expected (examples, width), (examples,), (tests, width)"
        )
    if not is_whole(k) or k < 1 or not temperature > 0:
        raise ValueError(
            f"got k {k}, temperature {temperature}; expected a whole k ≥ 1, temperature > 0"
        )
    classes, targets = np.unique(labels, return_inverse=True)
    totals = np.zeros((len(test), len(classes)))
    step = max(1, _AT_ONCE // max(len(train), 1))
    for start in range(0, len(test), step):  # all at once, CIFAR-10 would take 12 GB
        tests = slice(start, start + step)
        similarity = test[tests] @ train.T  # (tests, examples)
        nearest = np.argsort(-similarity, axis=1, kind="stable")[:, :k]
        similarity = np.take_along_axis(similarity, nearest, axis=1)
        # A factor common to a row changes no vote; without it all are 0 at a low temperature.
        votes = np.exp((similarity - similarity[:, :1]) / temperature)
        np.add.at(totals[tests], (np.arange(len(nearest))[:, None], targets[nearest]), votes)
    return classes[likeliest(totals)]


def nearest_neighbor_accuracy(
    features: ArrayLike,
    labels: ArrayLike,
    test_features: ArrayLike,
    test_labels: ArrayLike,
    *,
    k: int = 200,
    temperature: float = 0.1,
) -> float:
    """The part of the test labels that ``nearest_neighbor_predictions`` gets right, 0 to 1."""
    predictions = nearest_neighbor_predictions(
        features, labels, test_features, k=k, temperature=temperature
    )
    return share_right(predictions, test_labels)


# ---- as an adaptation of a run -------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class NeighborSettings(FewLabels):
    """The labelled examples themselves, kept as features; the nearest ones vote."""

    k: int = option(0, "neighbours that vote; 0: a tenth of the examples, at most 200", least=0)
    temperature: float = option(0.1, "of the votes", above=0)

    def neighbors(self, examples: int) -> int:
        """How many vote, of so many labelled examples."""
        return self.k or max(1, min(200, examples // 10))


class KeptExamples(Readout):
    """Features (examples, width) float32 and labels (examples,) of all that may vote."""

    def __init__(self, examples: int, width: int, settings: NeighborSettings):
        self.settings = settings
        self.features = Tensor(np.zeros((examples, width), np.float32))
        self.labels = Tensor(np.zeros(examples, np.int64))

    def learn(self, features: NDArray, labels: NDArray, pool: NDArray) -> None:
        """Keep them."""
        self.load_state_dict({"features": features, "labels": labels})

    def predict(self, features: NDArray) -> NDArray:
        """The class with the most votes."""
        return nearest_neighbor_predictions(
            self.features.numpy(),
            self.labels.numpy(),
            features,
            k=self.settings.neighbors(len(self.labels.array)),
            temperature=self.settings.temperature,
        )


class Neighbors(Frozen):
    """A vote of the nearest labelled examples."""

    Settings = NeighborSettings

    @classmethod
    def new_readout(cls, settings: NeighborSettings, shape: Shape, task: Task) -> KeptExamples:
        """Room for all that will be learned from. ValueError for more than there are."""
        examples = settings.labels_per_class * task.outputs or task.size
        if examples > task.size:
            raise ValueError(
                f"asked for {settings.labels_per_class} labels per class of {task.outputs} "
                f"classes, there are {task.size} examples to learn from"
            )
        return KeptExamples(examples, shape[0], settings)


ADAPTATION = Neighbors
