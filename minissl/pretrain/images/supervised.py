"""The baseline that pretraining must beat: the same network, trained on labels alone.

Classification with augmentation; not self-supervised, but it answers the same questions, so that
the same loop trains it and its encoder can be probed like any other. Lecture 11. Krizhevsky,
Sutskever and Hinton (2012) made it the rule for images. Not here: the schedules of large networks.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from minissl.autograd import fused
from minissl.autograd.tensor import Tensor
from minissl.data.images import LabelledImages, LabelledPixels
from minissl.data.labels import likeliest, share_right
from minissl.nn.evaluating import evaluating
from minissl.nn.layers import Linear
from minissl.nn.module import Module
from minissl.options import option
from minissl.pretrain.method import Pretraining
from minissl.pretrain.views import EncoderSettings
from minissl.vision.augment import Augmentation
from minissl.vision.images import check_images


@dataclass(frozen=True, kw_only=True)
class SupervisedSettings(EncoderSettings):
    """An encoder with a Linear on top. The learning rate was the best of those tried for digits,
    where this baseline likes it higher than SimCLR does."""

    batch_size: int = option(128, "labelled images per step", least=1, most=1 << 20)
    steps: int = option(300, "updates", least=1, most=10**9)
    learning_rate: float = option(
        8e-3, "at its highest, after a warm-up of a twentieth", above=0, most=100
    )


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


class Supervised(Pretraining):
    """Classification with augmentation: a method for ``fit``.

    images (count, height, width, channels) with labels (count,), integers in [0, num_classes).
    augment: ``(images, generator) -> images``; the fairest is what the pretraining used. Batches
    are drawn with replacement, so that ten labelled images also make a batch of 128 views.

    held_out, held_out_labels: what ``evaluate`` measures on. Without images it is only used.

    Raises ValueError when images and labels differ in number.
    """

    Settings = SupervisedSettings
    Data = LabelledImages

    def __init__(
        self,
        model: Classifier,
        images: NDArray,
        labels: ArrayLike,
        augment: Augmentation,
        *,
        batch_size: int = 128,
        held_out: NDArray | None = None,
        held_out_labels: ArrayLike | None = None,
    ):
        check_images(images)
        labels = np.asarray(labels)
        if labels.shape != images.shape[:1]:
            raise ValueError(f"got {len(images)} images and labels of shape {labels.shape}")
        if batch_size < 1:
            raise ValueError(f"batch_size must be 1 or more, got {batch_size}")
        self.model, self.images, self.labels = model, images, labels
        self.augment, self.batch_size = augment, batch_size
        self.held_out, self.held_out_labels = held_out, held_out_labels

    @classmethod
    def new_model(cls, settings: EncoderSettings, classes: int, *, seed: int = 0) -> Classifier:
        """The encoder and the Linear on top, with random weights."""
        generator = np.random.default_rng(seed)
        return Classifier(
            settings.new_encoder(generator),
            classes,
            features=settings.features,
            generator=generator,
        )

    @classmethod
    def build(
        cls, settings: SupervisedSettings, data: LabelledPixels, *, seed: int = 0
    ) -> "Supervised":
        """The method of the settings on the images and labels of the data.

        Raises ValueError where the labels are numbers, not classes.
        """
        if not data.class_names:
            raise ValueError("the labels are numbers: supervised learns classes, read those")
        settings = settings.settled(data)
        return cls(
            cls.new_model(settings, len(data.class_names), seed=seed),
            data.images,
            data.labels,
            settings.augment(),
            batch_size=settings.batch_size,
            held_out=data.held_out,
            held_out_labels=data.held_out_labels,
        )

    def batch(self, generator: np.random.Generator) -> tuple[NDArray, NDArray]:
        """Augmented images and their labels."""
        if not len(self.images):
            raise ValueError("there are no images to train on: this method was opened to be used")
        chosen = generator.integers(len(self.images), size=self.batch_size)
        return self.augment(self.images[chosen], generator), self.labels[chosen]

    def loss(
        self, batch: tuple[NDArray, NDArray], generator: np.random.Generator | None = None
    ) -> Tensor:
        """Mean cross-entropy in nats; nothing in it is random."""
        images, labels = batch
        return fused.cross_entropy(self.model(images), labels)

    @property
    def encoder(self) -> Module:
        """Without what stands on it."""
        return self.model.encoder

    @property
    def width(self) -> int:
        """Of what the encoder makes of an image."""
        return self.model.output.weight.shape[1]

    def encode(self, batch: NDArray, generator: np.random.Generator | None = None) -> Tensor:
        """What the encoder, without the Linear, makes of images: (batch, features)."""
        return self.model.encoder(batch)

    def evaluate(self) -> dict[str, float]:
        """Loss and accuracy, 0 to 1, on the held-out images."""
        if self.held_out is None or self.held_out_labels is None:
            return {}
        with evaluating(self.model):
            logits = self.model(self.held_out)
            loss = fused.cross_entropy(logits, np.asarray(self.held_out_labels)).item()
        accuracy = share_right(likeliest(logits.numpy()), self.held_out_labels)
        return {"held_out_loss": loss, "held_out_accuracy": accuracy}

    def accuracy(self, images: NDArray, labels: ArrayLike) -> float:
        """The part of the labels that is predicted, 0 to 1."""
        with evaluating(self.model):
            return share_right(likeliest(self.model(images).numpy()), labels)


METHOD = Supervised
