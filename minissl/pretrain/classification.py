"""What methods share whose network names the class of an image. Lectures 11 and 12."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from minissl.autograd import fused
from minissl.autograd.tensor import Tensor
from minissl.data.images import LabelledImages, LabelledPixels
from minissl.data.labels import likeliest, share_right
from minissl.nn.layers import Linear
from minissl.nn.module import Module
from minissl.pretrain.views import EncoderSettings, ImageMethod
from minissl.registry import file_name_of
from minissl.vision.augment import Augmentation
from minissl.vision.images import check_images

TOGETHER = 512  # images that go through the network at once when it is measured


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

    def forward(self, images: Any) -> Tensor:
        return self.output(self.encoder(images))


class Classification(ImageMethod):
    """Learning the classes of images.

    images (count, height, width, channels) with labels (count,), integers in [0, num_classes).
    augment: ``(images, generator) -> images``. held_out, held_out_labels: what ``evaluate``
    measures on. Without images it is only used.

    Raises ValueError when images and labels differ in number, and for a batch of none.
    """

    Data = LabelledImages
    Model: ClassVar[Any] = Classifier

    def __init__(
        self,
        model: Any,
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
    def new_model(cls, settings: EncoderSettings, classes: int, *, seed: int = 0) -> Any:
        """The encoder and the Linear on top, with random weights."""
        generator = np.random.default_rng(seed)
        encoder = settings.new_encoder(generator)
        return cls.Model(encoder, classes, features=settings.features, generator=generator)

    @classmethod
    def build(cls, settings: Any, data: LabelledPixels, *, seed: int = 0) -> Self:
        """The method of the settings on the images and labels of the data.

        Raises ValueError where the labels are numbers, not classes.
        """
        if not data.class_names:
            raise ValueError(
                f"the labels are numbers: {file_name_of(cls)} learns classes, read those"
            )
        settings = settings.settled(data)
        return cls(
            cls.new_model(settings, len(data.class_names), seed=seed),
            data.images,
            data.labels,
            settings.augment(),
            batch_size=settings.batch_size,
            held_out=data.held_out,
            held_out_labels=data.held_out_labels,
            **cls.choices(settings, data, seed),
        )

    @classmethod
    def choices(cls, settings: Any, data: LabelledPixels, seed: int) -> dict[str, Any]:
        """The arguments that only this method has."""
        return {}

    def require_images(self) -> None:
        """Raise ValueError where there are none to make a batch from."""
        if not len(self.images):
            raise ValueError("there are no images to train on: this method was opened to be used")

    def evaluate(self) -> dict[str, float]:
        """Loss and accuracy, 0 to 1, on the held-out images, and what a method adds."""
        if self.held_out is None or self.held_out_labels is None:
            return {}
        logits = self.logits(self.held_out)
        loss = fused.cross_entropy(Tensor(logits), np.asarray(self.held_out_labels)).item()
        accuracy = share_right(likeliest(logits), self.held_out_labels)
        return {"held_out_loss": loss, "held_out_accuracy": accuracy, **self.further(logits)}

    def further(self, logits: NDArray) -> dict[str, float]:
        """What else is measured where the held-out images have these logits (count, classes)."""
        return {}

    def logits(self, images: NDArray) -> NDArray:
        """What the network says of images, in evaluation mode: (count, num_classes)."""
        return self.by_batches(self.model, images, TOGETHER, "")

    def accuracy(self, images: NDArray, labels: ArrayLike) -> float:
        """The part of the labels that is predicted, 0 to 1."""
        return share_right(likeliest(self.logits(images)), labels)
