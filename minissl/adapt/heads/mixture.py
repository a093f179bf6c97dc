"""A linear classifier on the layers of a frozen network, mixed by weights that are learned too.

Peters et al. (2018), Deep contextualized word representations (ELMo), section 3.2. Lectures 05 and
11. The weights say which layer the task reads. Each layer is centred and divided by one number, so
that they can be compared; the paper's factor γ is in the weights of the classifier. Not here: a
mixture for each word (a text is the mean of its words, layer by layer), and a penalty that keeps
the weights equal.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.adapt.frozen import Frozen, Readout, Shape
from minissl.adapt.method import FewLabels, Task
from minissl.adapt.metrics import softmax
from minissl.autograd.tensor import Tensor
from minissl.data.labels import feature_rows, likeliest
from minissl.nn.module import Parameter
from minissl.options import option
from minissl.pretrain.layered import Layered


@dataclass(frozen=True, kw_only=True)
class MixtureSettings(FewLabels):
    """A multinomial logistic regression on a weighted mean of layers, solved to the end."""

    l2: float = option(1e-2, "weight of the squared weights beside the mean loss", above=0)


class MixedReadout(Readout):
    """softmax(mix) over the layers, then a linear classifier.

    mean (layers, width), scale (layers, 1), mix (layers,), weight (width, classes), bias (classes,)
    """

    def __init__(self, layers: int, width: int, classes: int, l2: float):
        self.l2 = l2
        self.mean, self.scale = Tensor(np.zeros((layers, width))), Tensor(np.ones((layers, 1)))
        self.mix, self.bias = Parameter(np.zeros(layers)), Parameter(np.zeros(classes))
        self.weight = Parameter(np.zeros((width, classes)))

    def learn(self, features: NDArray, labels: NDArray, pool: NDArray) -> None:
        """All at once by L-BFGS, from equal weights; of features (examples, layers, width)."""
        pool = _as_layers(pool)
        mean = pool.mean(axis=0)
        unit = np.abs(pool - mean).max(axis=(0, 2), initial=0)[:, None]
        unit[unit == 0] = 1  # squares of 1e200 would be infinite
        scale = unit * np.sqrt(np.mean(((pool - mean) / unit) ** 2, axis=(0, 2)))[:, None]
        scale[scale == 0] = 1
        x = (_as_layers(features) - mean) / scale
        mix, weight, bias = fit_mixture(x, labels, len(self.bias.array), self.l2)
        arrays = {"mean": mean, "scale": scale, "mix": mix, "weight": weight, "bias": bias}
        self.load_state_dict(arrays)

    def layer_weights(self) -> NDArray[np.float64]:
        """How much each layer counts: (layers,), the sum is 1."""
        return softmax(self.mix.numpy()[None])[0]

    def logits(self, features: NDArray) -> NDArray[np.float64]:
        """(examples, classes)."""
        x = (_as_layers(features) - self.mean.numpy()) / self.scale.numpy()
        mixed = np.einsum("l,nlw->nw", self.layer_weights(), x)
        return mixed @ self.weight.numpy() + self.bias.numpy()

    def predict(self, features: NDArray) -> NDArray:
        """The number of the likeliest class."""
        return likeliest(self.logits(features))


def fit_mixture(
    x: NDArray[np.float64], labels: NDArray, classes: int, l2: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """mix (layers,), weight (width, classes) and bias of features (examples, layers, width).

    Minimises the mean cross-entropy + l2/2 ‖weight‖². The product of mix and weight makes it not
    convex: this is the minimum that is reached from equal weights of the layers.
    """
    from scipy.optimize import minimize

    examples, layers, width = x.shape
    rows, sizes = np.arange(examples), (layers, width * classes, classes)

    def loss_and_gradient(flat: NDArray) -> tuple[float, NDArray]:
        mix, weight, bias = np.split(flat, np.cumsum(sizes)[:-1])
        weight, share = weight.reshape(width, classes), softmax(mix[None])[0]
        mixed = np.einsum("l,nlw->nw", share, x)
        p = softmax(mixed @ weight + bias)
        loss = -np.mean(np.log(np.maximum(p[rows, labels], np.finfo(float).tiny)))
        p[rows, labels] -= 1
        error = p / examples  # ∂ loss / ∂ logits
        slope = np.einsum("nw,nlw->l", error @ weight.T, x)  # ∂ loss / ∂ share
        parts = (
            share * (slope - share @ slope),
            (mixed.T @ error + l2 * weight).ravel(),
            error.sum(axis=0),
        )
        return float(loss + l2 / 2 * np.sum(weight * weight)), np.concatenate(parts)

    options = {"maxiter": 2000, "maxfun": 4000, "gtol": 1e-6, "ftol": 1e-12}
    start = np.zeros(sum(sizes))
    found = minimize(loss_and_gradient, start, jac=True, method="L-BFGS-B", options=options)
    if not found.success:
        raise RuntimeError(f"the mixture was not fitted: {found.message}; try a larger l2")
    mix, weight, bias = np.split(found.x, np.cumsum(sizes)[:-1])
    return mix, weight.reshape(width, classes), bias


def _as_layers(features: NDArray) -> NDArray[np.float64]:
    """(examples, layers, width); raw inputs (examples, width) are a single layer."""
    layers = np.shape(features)[1] if np.ndim(features) == 3 else 1
    rows = feature_rows(np.reshape(features, (len(features), -1)))
    return rows.reshape(len(rows), layers, -1)


class Mixture(Frozen):
    """A linear classifier on a learned mixture of a network's layers."""

    Settings = MixtureSettings
    needs = Layered
    model: MixedReadout

    @classmethod
    def new_readout(cls, settings: MixtureSettings, shape: Shape, task: Task) -> MixedReadout:
        """All weights 0: the layers count the same."""
        layers, width = shape if len(shape) == 2 else (1, *shape)
        return MixedReadout(layers, width, task.outputs, settings.l2)

    @classmethod
    def shape(cls, method: Any) -> Shape:
        """Layers and width."""
        return method.num_states, method.width

    @classmethod
    def read(cls, method: Any, examples: Any, progress: str = "") -> NDArray:
        """All layers: (examples, layers, width)."""
        return method.represent_layers(examples, progress=progress)

    def evaluate(self) -> dict[str, float]:
        """The accuracy on what is held out, and how much each layer counts."""
        weights = enumerate(self.model.layer_weights())
        return super().evaluate() | {f"weight_of_layer_{i}": float(w) for i, w in weights}

    def probabilities(self, inputs: Any) -> NDArray:
        """The softmax of the logits: (examples, classes)."""
        return softmax(self.model.logits(self.read(self.base, inputs)))


ADAPTATION = Mixture
