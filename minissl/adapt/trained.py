"""Adaptations that are trained by ``fit``: a Linear on the encoder, and what may change below it.

Lecture 11. A subclass says with ``open_up`` what of the pretrained encoder is trained; the batch,
the loss and the prediction are the same for texts and images, since ``encode`` is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from minissl.adapt.method import Adaptation, FewLabels, Task, score, softmax
from minissl.autograd import fused
from minissl.autograd.tensor import Tensor
from minissl.data.labels import feature_rows, likeliest, pick
from minissl.nn.evaluating import evaluating
from minissl.nn.layers import Linear
from minissl.nn.module import Module
from minissl.options import option
from minissl.pretrain.method import Augments, Training


@dataclass(frozen=True, kw_only=True)
class TrainedSettings(FewLabels, Training):
    """How a classifier on a pretrained encoder is trained."""

    batch_size: int = option(32, "labelled examples per step", least=1, most=1 << 20)
    steps: int = option(300, "updates", least=1, most=10**9)
    evaluations: int = option(5, "how often it is measured on the way", least=1, free=True)
    clip: float = option(1.0, "largest norm of the gradient; 0: no limit", least=0)
    augment: bool = option(
        True, "change the examples at random, if the pretraining did and keeps their class"
    )


class OnTop(Module):
    """A pretrained encoder and a Linear on what it makes of an example."""

    def __init__(self, encoder: Module, width: int, outputs: int, generator: np.random.Generator):
        self.encoder = encoder
        self.head = Linear(width, outputs, generator=generator)


class TrainedClassifier(Adaptation):
    """Classification by a Linear on an encoder, of which a part or all is trained too.

    ``base``: a pretrained method of its own, since its network is changed. Batches are drawn with
    replacement, so that few labelled examples make a batch as well.
    """

    Settings: ClassVar[type[TrainedSettings]]
    model: OnTop

    def __init__(self, base: Any, task: Task, model: OnTop, settings: Any, *, seed: int = 0):
        self.base, self.task, self.model, self.settings = base, task, model, settings
        self.train = task.train
        if task.train is not None:
            chosen = settings.choose(task.train.labels, seed)
            self.train = task.train.take(chosen)

    @classmethod
    def build(cls, settings: Any, opened: Any, task: Task, *, seed: int = 0) -> Self:
        """On the run's weights; those of the head are random."""
        base = opened.on(opened.data)
        generator = np.random.default_rng([seed, 1])
        model = OnTop(base.encoder, base.width, task.outputs, generator)
        cls.open_up(base.encoder, settings, generator)
        return cls(base, task, model, settings, seed=seed)

    @classmethod
    def open_up(cls, encoder: Module, settings: Any, generator: np.random.Generator) -> None:
        """Change the encoder in place: what is frozen, what is put in."""
        raise NotImplementedError

    def batch(self, generator: np.random.Generator) -> tuple[Any, NDArray[np.int64]]:
        """Collated examples, augmented where the pretraining did that, and their labels."""
        train = self.train or self.task.to_learn_from()
        chosen = generator.integers(len(train), size=self.settings.batch_size)
        examples = pick(train.inputs, chosen)
        if self.settings.augment and isinstance(self.base, Augments):
            examples = self.base.augment(examples, generator)
        return self.base.collate(examples), train.labels[chosen]

    def loss(self, batch: tuple[Any, Any], generator: np.random.Generator) -> Tensor:
        """Mean cross-entropy in nats. ``generator``: for dropout."""
        examples, labels = batch
        return fused.cross_entropy(self.logits(examples, generator), labels)

    def logits(self, collated: Any, generator: np.random.Generator | None = None) -> Tensor:
        """(batch, classes) of collated examples, in the mode that the model is in."""
        return self.model.head(self.base.encode(collated, generator))

    def probabilities(self, inputs: Any) -> NDArray:
        """The softmax of the logits: (examples, classes)."""
        with evaluating(self.model):
            rows = self.base.represent(inputs)
            feature_rows(rows)  # of one that is not finite every class would be the first
            return softmax(self.model.head(rows).numpy())

    def predict(self, inputs: Any) -> NDArray:
        """The number of the likeliest class: (examples,)."""
        return likeliest(self.probabilities(inputs))

    def evaluate(self) -> dict[str, float]:
        """Loss in nats, accuracy, 0 to 1, and the task's metrics on the held-out examples."""
        held_out = self.task.held_out
        if held_out is None:
            return {}
        probabilities = self.probabilities(held_out.inputs)
        of_labels = probabilities[np.arange(len(held_out)), held_out.labels]
        tiny = np.finfo(probabilities.dtype).tiny
        loss = float(-np.log(np.maximum(of_labels, tiny)).mean())
        predicted = likeliest(probabilities)
        scores = score(predicted, held_out.labels, self.labels, self.task.metrics)
        return {"held_out_loss": loss} | {f"held_out_{name}": s for name, s in scores.items()}
