"""One of several endings: each is read with the beginning, and one vector scores it. Lecture 11.

Devlin et al. (2019, BERT), section 4.4, for SWAG: an example is as many rows as it has endings, the
score of a row is the product of what represents it and a vector, and the scores of an example go
through a softmax. How many endings there are may differ from example to example.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.adapt.metrics import softmax
from minissl.autograd import fused
from minissl.autograd import operations as ops
from minissl.autograd.tensor import Tensor
from minissl.data.choices import Alternatives
from minissl.data.labels import Labelled, likeliest, share_right
from minissl.forms.form import Form
from minissl.nn.layers import Linear
from minissl.nn.module import Module

NO_ENDING = -1e9  # the score of what is padding


class OneOfSeveral(Form):
    """Labels are numbers of endings: (examples,)."""

    kind = "choice"

    def head(self, width: int, generator: np.random.Generator, train: Labelled | None) -> Linear:
        """(rows, width) -> scores (rows, 1)."""
        return Linear(width, 1, generator=generator)

    def collate(self, base: Any, inputs: Sequence[Alternatives]) -> tuple[Any, NDArray, NDArray]:
        """All rows as one batch; (examples, most endings): which row is which, and which is one."""
        longest = getattr(base, "longest", None)
        cut = [one.rows if longest is None else one.cut(longest) for one in inputs]
        sizes = np.array([len(rows) for rows in cut])
        real = np.arange(sizes.max()) < sizes[:, None]
        places = np.zeros(real.shape, np.int64)
        places[real] = np.arange(sizes.sum())
        return base.collate([row for rows in cut for row in rows]), places, real

    def outputs(
        self, base: Any, head: Module, collated: Any, generator: np.random.Generator | None = None
    ) -> Tensor:
        """Scores (examples, most endings), hopeless ones where there is no ending."""
        batch, places, real = collated
        scores = ops.take(ops.squeeze(head(base.encode(batch, generator)), axis=1), places)
        return ops.where(real, scores, NO_ENDING)

    def loss(self, outputs: Tensor, labels: Any) -> Tensor:
        """Mean cross-entropy in nats."""
        return fused.cross_entropy(outputs, labels)

    def of_endings(self, base: Any, head: Module, inputs: Any) -> list[NDArray]:
        """The probability of each ending of each example, which sum to 1.

        Raises ValueError, with its number, for an example whose scores are not finite.
        """
        found: list[NDArray] = [np.zeros(0)] * len(inputs)
        for chosen, (_, _, real), outputs in self.in_batches(base, head, inputs):
            for example, scores, inside in zip(chosen, outputs, real):
                if not np.isfinite(scores[inside]).all():
                    raise ValueError(
                        f"the scores of example {example} are {scores[inside]}: look at its input, "
                        "and whether the training diverged"
                    )
                found[example] = softmax(scores[None, inside].astype(np.float64))[0]
        return found

    def predict(self, base: Any, head: Module, inputs: Any) -> NDArray[np.int64]:
        """The number of the likeliest ending: (examples,)."""
        return _likeliest(self.of_endings(base, head, inputs))

    def evaluate(self, base: Any, head: Module, held_out: Labelled) -> dict[str, float]:
        """Loss in nats, and accuracy, 0 to 1."""
        found = self.of_endings(base, head, held_out.inputs)
        right = np.array([row[label] for row, label in zip(found, held_out.labels)])
        loss = float(-np.log(np.maximum(right, np.finfo(np.float64).tiny)).mean())
        return {"loss": loss, "accuracy": share_right(_likeliest(found), held_out.labels)}

    def table(self, base: Any, head: Module, inputs: Any) -> tuple[list[str], list[list[str]]]:
        """The number of the likeliest ending of each example, its text, and its probability."""
        found = self.of_endings(base, head, inputs)
        rows = [
            [str(number), example.endings[number], f"{row[number]:.4f}"]
            for example, row, number in zip(inputs, found, _likeliest(found))
        ]
        return ["prediction", "ending", "probability"], rows


def _likeliest(found: Sequence[NDArray]) -> NDArray[np.int64]:
    """Of each example the number of the ending with the largest probability."""
    return np.array([likeliest(row[None])[0] for row in found], np.int64)


FORM = OneOfSeveral
