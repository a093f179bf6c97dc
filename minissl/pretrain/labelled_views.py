"""What methods share that contrast labelled images: the batch, the measurements. Lecture 12.

Views of images of one class should have similar embeddings, whichever images they are of. A method
below ``LabelledViews`` says what a batch is made of and how its embeddings are compared.
"""

from __future__ import annotations

import warnings
from abc import abstractmethod
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from minissl.autograd.processes import gather_rows
from minissl.autograd.tensor import Tensor
from minissl.data.images import LabelledImages, LabelledPixels
from minissl.data.labels import feature_rows, share_right
from minissl.nn.evaluating import evaluating
from minissl.pretrain.views import ImageMethod
from minissl.registry import file_name_of
from minissl.training import diagnostics
from minissl.vision.augment import Augmentation
from minissl.vision.images import check_images

MEASURED = 1000  # held-out images that are compared with each other while it trains
TOGETHER = 128  # of them go through the network at once

Batch = tuple[NDArray, NDArray]  # images and their labels


class LabelledViews(ImageMethod):
    """Pretraining by agreement between images of one class.

    images: (count, height, width, channels) with labels (count,), whole numbers from 0; none where
    the method is only used. augment: ``(images, generator) -> images``. ``model``: ``encoder``, and
    a ``head`` that makes of its features the embeddings that the loss compares. held_out,
    held_out_labels: what ``evaluate`` measures on.

    In several processes the loss is that of all their batches together.

    Raises ValueError for labels of another number, and where all images are of one class.
    """

    Data = LabelledImages
    model: Any
    new_model: ClassVar[Any]  # of the settings, the number of classes and a seed

    def __init__(
        self,
        model: Any,
        images: NDArray,
        labels: ArrayLike,
        augment: Augmentation,
        *,
        held_out: NDArray | None = None,
        held_out_labels: ArrayLike | None = None,
    ):
        check_images(images)
        self.model, self.images, self.augment = model, images, augment
        self.labels = class_numbers(labels, images)
        if len(images) and len(np.unique(self.labels)) < 2:
            raise ValueError(f"{len(images)} images of one class: give two classes, to tell apart")
        self.held_out = images[:0] if held_out is None else held_out
        self.held_out_labels = class_numbers(
            [] if held_out is None else held_out_labels, self.held_out
        )

    @classmethod
    def build(cls, settings: Any, data: LabelledPixels, *, seed: int = 0) -> Self:
        """The method of the settings on the images and labels of the data.

        Raises ValueError where the labels are numbers, not classes.
        """
        if not data.class_names:
            raise ValueError(
                f"the labels are numbers: {file_name_of(cls)} contrasts classes, read those"
            )
        settings = settings.settled(data)
        held_out = data.held_out_labels
        if held_out is not None and len(np.unique(held_out)) == 1:
            warnings.warn(
                f"all {len(held_out)} held-out images are of one class: nothing is measured on "
                "them. Give more images of the others",
                stacklevel=3,
            )
        return cls(
            cls.new_model(settings, len(data.class_names), seed=seed),
            data.images,
            data.labels,
            settings.augment(),
            held_out=data.held_out,
            held_out_labels=data.held_out_labels,
            **cls.choices(settings, data, seed),
        )

    @classmethod
    @abstractmethod
    def choices(cls, settings: Any, data: LabelledPixels, seed: int) -> dict[str, Any]:
        """The arguments that only this method has."""

    def batch(self, generator: np.random.Generator) -> Batch:
        """Views of images, and what each is a view of: (views, ...), (views,)."""
        if not len(self.images):
            raise ValueError("there are no images to train on: this method was opened to be used")
        return self.draw(self.images, self.labels, generator)

    @abstractmethod
    def draw(self, images: NDArray, labels: NDArray, generator: np.random.Generator) -> Batch:
        """A batch of these images, such as it is trained on."""

    def loss(self, batch: Batch, generator: np.random.Generator) -> Tensor:
        """The loss of a batch. ``generator``: for a method that draws what it compares."""
        views, labels = batch
        features = self.model.encoder(views)
        return self.compare(features, labels, gather=True, generator=generator)

    @abstractmethod
    def compare(
        self, features: Tensor, labels: Any, *, gather: bool, generator: np.random.Generator
    ) -> Tensor:
        """The loss of views by their features (views, width). ``gather``: with all processes'."""

    def evaluate(self) -> dict[str, float]:
        """The loss of one batch of held-out views, always the same, and the health of embeddings.

        ``z_std``, ``effective_rank`` and ``recall_at_1`` are of the held-out images as they are, of
        at most ``MEASURED``. Nothing where these are of fewer than two classes.
        """
        generator = np.random.default_rng(0)
        if len(np.unique(self.held_out_labels)) < 2:
            return {}
        views, labels = self.draw(self.held_out, self.held_out_labels, generator)
        some = generator.permutation(len(self.held_out))[:MEASURED]
        with evaluating(self.model):
            of_views = self.model.encoder(views)
            loss = self.compare(of_views, labels, gather=False, generator=generator)
            of_images = self.by_batches(self.model.encoder, self.held_out[some], TOGETHER, "")
            embeddings = self.model.head(of_images).numpy()
            further = self.further(of_views, labels, of_images, self.held_out_labels[some])
        return {
            "held_out_loss": loss.item(),
            "z_std": diagnostics.z_std(embeddings),
            "effective_rank": diagnostics.effective_rank(embeddings),
            "recall_at_1": recall_at_1(embeddings, self.held_out_labels[some]),
            **further,
        }

    def further(
        self, of_views: Tensor, labels: NDArray, of_images: NDArray, image_labels: NDArray
    ) -> dict[str, float]:
        """What else is measured: of the features of the held-out views, and of the images."""
        return {}


def class_numbers(labels: ArrayLike | None, images: NDArray) -> NDArray[np.int64]:
    """One whole number from 0 for each of the images, or ValueError."""
    array = np.zeros(0, np.int64) if labels is None or not len(images) else np.asarray(labels)
    if array.shape != images.shape[:1] or array.dtype.kind not in "iu" or (array < 0).any():
        raise ValueError(
            f"got {len(images)} images and labels of shape {array.shape}, {array.dtype}: expected "
            "for each the number of its class, from 0"
        )
    return array.astype(np.int64)


def rows_of_all(*parts: Any, gather: bool) -> list[Any]:
    """Embeddings and their labels, or with ``gather`` those of all processes, our own first."""
    return [gather_rows(part) if gather else part for part in parts]


def recall_at_1(embeddings: ArrayLike, labels: ArrayLike) -> float:
    """The part of the examples whose nearest other one has their label, 0 to 1.

    Nearest by cosine; the first of equally near ones. Shapes: embeddings (examples, width), labels
    (examples,). The measure of metric learning, which asks for no class that was seen before.
    Raises ValueError for fewer than two examples, and for one that is not finite, naming it.
    (Jégou, Douze and Schmid 2011; Song et al. 2016.) Lecture 12.
    """
    rows, labels = feature_rows(embeddings), np.asarray(labels)
    if len(rows) < 2:
        raise ValueError("recall_at_1 needs two examples or more")
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    unit = rows / np.where(lengths == 0, 1, lengths)
    similarity = unit @ unit.T
    np.fill_diagonal(similarity, -np.inf)
    return share_right(labels[similarity.argmax(axis=1)], labels)
