"""One class for each example: a Linear on what represents it, and cross-entropy. Lecture 11.

Sentences, pairs of sentences, images: ``encode`` is the same for all.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.adapt.metrics import score, softmax
from minissl.autograd import fused
from minissl.autograd.tensor import Tensor
from minissl.data.labels import Labelled, feature_rows, likeliest
from minissl.forms.form import Form
from minissl.nn.evaluating import evaluating
from minissl.nn.layers import Linear
from minissl.nn.module import Module


class Classes(Form):
    """Labels are numbers of classes: (examples,)."""

    kind = "class"

    def head(self, width: int, generator: np.random.Generator, train: Labelled | None) -> Linear:
        """(batch, width) -> logits (batch, classes)."""
        return Linear(width, len(self.class_names), generator=generator)

    def loss(self, outputs: Tensor, labels: Any) -> Tensor:
        """Mean cross-entropy in nats."""
        return fused.cross_entropy(outputs, labels)

    def probabilities(self, base: Any, head: Module, inputs: Any) -> NDArray:
        """The softmax of the logits: (examples, classes)."""
        rows = base.represent(inputs)
        feature_rows(rows)  # of one that is not finite every class would be the first
        with evaluating(head):
            return softmax(head(rows).numpy())

    def predict(self, base: Any, head: Module, inputs: Any) -> NDArray:
        """The number of the likeliest class: (examples,)."""
        return likeliest(self.probabilities(base, head, inputs))

    def evaluate(self, base: Any, head: Module, held_out: Labelled) -> dict[str, float]:
        """Loss in nats, accuracy, 0 to 1, and the task's metrics."""
        probabilities = self.probabilities(base, head, held_out.inputs)
        of_labels = probabilities[np.arange(len(held_out)), held_out.labels]
        tiny = np.finfo(probabilities.dtype).tiny
        loss = float(-np.log(np.maximum(of_labels, tiny)).mean())
        predicted = likeliest(probabilities)
        return {"loss": loss} | score(predicted, held_out.labels, self.kind, self.metrics)

    def table(self, base: Any, head: Module, inputs: Any) -> tuple[list[str], list[list[str]]]:
        """The likeliest class of each example and its probability."""
        probabilities = self.probabilities(base, head, inputs)
        rows = [
            [self.class_names[first], f"{row[first]:.4f}"]
            for row, first in zip(probabilities, likeliest(probabilities))
        ]
        return ["prediction", "probability"], rows


FORM = Classes
