"""The baseline that pretraining must beat: the same network, on the labels alone. Lecture 11.

Not a pretraining method, but it answers the same questions, so ``fit`` trains it.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from minissl.autograd import fused
from minissl.autograd.tensor import Tensor
from minissl.nn.evaluating import evaluating
from minissl.nn.layers import Linear
from minissl.nn.module import Module
from minissl.optim import AdamW, warmup_cosine
from minissl.training import fit
from minissl.vision.augment import Augmentation
from minissl.vision.images import check_images


class Classifier(Module):
    """An encoder and a Linear on top: images -> logits (batch, num_classes)."""

    def __init__(
        self,
        encoder: Module,
        num_classes: int,
        *,
        features: int = 128,
        generator: np.random.Generator,
    ):
        self.encoder = encoder
        self.output = Linear(features, num_classes, generator=generator)

    def forward(self, images: NDArray) -> Tensor:
        return self.output(self.encoder(images))


class Supervised:
    """Classification with augmentation: a method for ``fit``.

    images (count, height, width, channels) with labels (count,), integers in [0, num_classes).
    augment: ``(images, generator) -> images``; the fairest is what the pretraining used. Batches
    are drawn with replacement, so that ten labelled images also make a batch of 128 views.

    Raises ValueError when images and labels differ in number.
    """

    def __init__(
        self,
        model: Classifier,
        images: NDArray,
        labels: ArrayLike,
        augment: Augmentation,
        *,
        batch_size: int = 128,
    ):
        check_images(images)
        labels = np.asarray(labels)
        if labels.shape != images.shape[:1] or not len(labels):
            raise ValueError(f"got {len(images)} images and labels of shape {labels.shape}")
        self.model, self.images, self.labels = model, images, labels
        self.augment, self.batch_size = augment, batch_size

    def batch(self, generator: np.random.Generator) -> tuple[NDArray, NDArray]:
        """Augmented images and their labels."""
        chosen = generator.integers(len(self.images), size=self.batch_size)
        return self.augment(self.images[chosen], generator), self.labels[chosen]

    def loss(
        self, batch: tuple[NDArray, NDArray], generator: np.random.Generator | None = None
    ) -> Tensor:
        """Mean cross-entropy in nats; nothing in it is random."""
        images, labels = batch
        return fused.cross_entropy(self.model(images), labels)

    def represent(self, examples: NDArray) -> NDArray:
        """What the encoder makes of images: (count, features)."""
        with evaluating(self.model):
            return self.model.encoder(examples).numpy()

    def accuracy(self, images: NDArray, labels: ArrayLike) -> float:
        """The part of the labels that is predicted, 0 to 1."""
        with evaluating(self.model):
            predictions = self.model(images).numpy().argmax(axis=1)
        return float(np.mean(predictions == np.asarray(labels)))


def train_supervised(
    method: Supervised,
    *,
    steps: int,
    learning_rate: float = 8e-3,
    weight_decay: float = 1e-4,
    seed: int = 0,
) -> Supervised:
    """Train with AdamW, a warm-up of a twentieth and a cosine; returns the method.

    ``learning_rate`` at its highest; the default was the best of those tried for digits, where
    this baseline likes it higher than SimCLR does.
    """
    fit(
        method,
        AdamW(method.model.named_parameters(), weight_decay=weight_decay),
        steps=steps,
        schedule=lambda step: warmup_cosine(
            step, peak=learning_rate, warmup_steps=steps // 20, total_steps=steps
        ),
        seed=seed,
        progress=False,
    )
    return method
