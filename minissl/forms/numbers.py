"""A number for each example: a Linear on what represents it, and squared error. Lecture 11.

Devlin et al. (2019, BERT) for STS-B. The layer learns numbers with mean 0 and deviation 1, so that
the unit of the labels makes no difference, nor does their zero; mean and deviation of those that
are learned from are kept beside it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.adapt.metrics import score
from minissl.autograd import operations as ops
from minissl.autograd.tensor import Tensor
from minissl.data.labels import Labelled
from minissl.forms.form import Form
from minissl.nn.layers import Linear
from minissl.nn.module import Module


class NumberHead(Module):
    """w · x + b: (batch, width) -> (batch,), labels less ``mean`` and divided by ``deviation``.

    These two are buffers in float64: of years or of seconds float32 would lose the last digits.
    """

    def __init__(self, width: int, mean: float, deviation: float, generator: np.random.Generator):
        self.linear = Linear(width, 1, generator=generator)
        self.mean = Tensor(np.array(mean, np.float64))
        self.deviation = Tensor(np.array(deviation, np.float64))

    def forward(self, x: Any) -> Tensor:
        return ops.squeeze(self.linear(x), axis=1)


class Numbers(Form):
    """Labels are numbers: (examples,) float64."""

    kind = "number"

    def head(
        self, width: int, generator: np.random.Generator, train: Labelled | None
    ) -> NumberHead:
        """Begins near the mean of the labels that are learned from."""
        mean, deviation = 0.0, 1.0
        if train is not None:
            mean, deviation = float(train.labels.mean()), float(train.labels.std()) or 1.0
        return NumberHead(width, mean, deviation, generator)

    def standardized(self, head: Any, labels: Any) -> NDArray[np.float64]:
        """(label − mean) / deviation, of those that were learned from."""
        mean, deviation = head.mean.item(), head.deviation.item()
        return (np.asarray(labels, np.float64) - mean) / deviation

    def loss(self, outputs: Tensor, labels: Any) -> Tensor:
        """The mean squared error of what is ``standardized``: 1 for who always says the mean."""
        wrong = outputs - Tensor(labels).astype(outputs.dtype)
        return ops.mean(wrong * wrong)

    def predict(self, base: Any, head: Any, inputs: Any) -> NDArray[np.float64]:
        """(examples,), in the unit of the labels.

        Raises ValueError, naming the first, for one that is not finite.
        """
        found = np.zeros(len(inputs))
        for chosen, _, outputs in self.in_batches(base, head, inputs):
            found[chosen] = outputs
        found = head.mean.item() + head.deviation.item() * found
        if len(bad := np.flatnonzero(~np.isfinite(found))):
            raise ValueError(
                f"what is predicted for example {bad[0]} is {found[bad[0]]}: look at its input, "
                "and whether the training diverged"
            )
        return found

    def evaluate(self, base: Any, head: Module, held_out: Labelled) -> dict[str, float]:
        """Of the labels as they are the mean squared error, "loss"; R², Spearman's, the task's."""
        predicted = self.predict(base, head, held_out.inputs)
        loss = float(np.mean((predicted - held_out.labels) ** 2))
        return {"loss": loss} | score(predicted, held_out.labels, self.kind, self.metrics)

    def table(self, base: Any, head: Module, inputs: Any) -> tuple[list[str], list[list[str]]]:
        """The number of each example."""
        return ["prediction"], [[f"{value:.6g}"] for value in self.predict(base, head, inputs)]


FORM = Numbers
