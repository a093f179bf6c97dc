"""Views of all images of one class should be similar, views of other classes should not.

Supervised contrastive learning: Khosla, Teterwak, Wang, Sarna, Tian, Isola, Maschinot, Liu and
Krishnan (2020). Lecture 12, section 14. SimCLR with labels: what SimCLR pushes apart by accident,
two images of one class, is drawn together here. An image whose label is not used is a class of its
own, so that without any label it is SimCLR's loss. With ``classification`` the encoder also learns
to name the classes, as Lecture 12 adds it up: contrast + λ · cross-entropy.

Not here: the paper's ResNet-50 and its second stage, a linear classifier on the frozen encoder,
which is ``minissl adapt probe``.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from minissl.adapt.method import FewLabels
from minissl.autograd import fused
from minissl.autograd.arrays import namespace
from minissl.autograd.tensor import Tensor, as_array
from minissl.data.images import LabelledPixels
from minissl.data.labels import likeliest, share_right
from minissl.losses.supervised import LOGARITHMS, supcon_loss
from minissl.nn.layers import MLP, Linear
from minissl.nn.module import Module
from minissl.options import option
from minissl.pretrain.labelled_views import Batch, LabelledViews, rows_of_all
from minissl.pretrain.views import ViewSettings, batch_of
from minissl.vision.augment import Augmentation

UNKNOWN = -100  # what ``cross_entropy`` leaves out


@dataclass(frozen=True, kw_only=True)
class SupConSettings(FewLabels, ViewSettings):
    """A convolutional encoder with its projection head, contrasted by labels."""

    labels_per_class: int = option(
        0,
        "use the labels of so many random images of each class, the others are a class each; 0: of "
        "all",
        least=0,
        most=10**9,
    )
    batch_size: int = option(128, "images per step, each in several views", least=2, most=1 << 20)
    views: int = option(2, "views of each image", least=2, most=100)
    temperature: float = option(0.1, "of the softmax", above=0, most=1000)
    logarithm: str = option(
        "outside",
        "outside: each other view of a class should be found; inside: one of them is enough",
        choices=LOGARITHMS,
    )
    classification: float = option(
        0.0, "λ: weight of the cross-entropy beside the contrast; 0: none", least=0, most=1e6
    )


class SupConModel(Module):
    """An encoder and a projection head, which serves training only: images -> (batch, embedding).

    ``classes``: with a Linear ``output`` on the encoder's features, which names so many; 0: none.
    """

    def __init__(
        self,
        encoder: Module,
        *,
        features: int = 128,
        embedding: int = 64,
        classes: int = 0,
        generator: np.random.Generator,
    ):
        self.encoder = encoder
        self.head = MLP(features, features, embedding, activation="relu", generator=generator)
        self.output = Linear(features, classes, generator=generator) if classes else None

    def forward(self, images: Any) -> Tensor:
        return self.head(self.encoder(images))


class SupCon(LabelledViews):
    """Pretraining by agreement between all views of a class.

    The loss is ``supcon_loss`` + ``classification`` · cross-entropy, for which the model must have
    an ``output``. labelled: the indices of the images whose labels may be used, None: of all. Each
    of the others is a class of its own, and is not classified. What is held out is measured with
    all its labels. The other settings are those of ``SupConSettings``, the other arguments those of
    ``LabelledViews``.

    Raises ValueError for fewer images than ``batch_size``, fewer than two views, and as
    ``LabelledViews``.
    """

    Settings = SupConSettings
    model: SupConModel

    def __init__(
        self,
        model: SupConModel,
        images: NDArray,
        labels: ArrayLike,
        augment: Augmentation,
        *,
        batch_size: int = 128,
        views: int = 2,
        temperature: float = 0.1,
        logarithm: str = "outside",
        classification: float = 0.0,
        labelled: NDArray | None = None,
        held_out: NDArray | None = None,
        held_out_labels: ArrayLike | None = None,
    ):
        super().__init__(
            model, images, labels, augment, held_out=held_out, held_out_labels=held_out_labels
        )
        if batch_size < 1 or (len(images) and batch_size > len(images)):
            raise ValueError(
                f"batch_size is {batch_size}, but there are {len(images)} different images: choose "
                "one from 1 to that"
            )
        if views < 2:
            raise ValueError(f"views is {views}: an image of a class of its own needs two or more")
        if classification and model.output is None:
            raise ValueError("classification needs a model with classes: SupConModel(classes=...)")
        self.batch_size, self.views = batch_size, views
        self.temperature, self.logarithm = temperature, logarithm
        self.classification = classification
        if labelled is not None:
            own = -1 - np.arange(len(images))  # below all classes
            own[labelled] = self.labels[labelled]
            self.labels = own

    @classmethod
    def new_model(cls, settings: SupConSettings, classes: int, *, seed: int = 0) -> SupConModel:
        """The encoder and all that stands on it, with random weights."""
        generator = np.random.default_rng(seed)
        encoder = settings.new_encoder(generator)
        return SupConModel(
            encoder, features=settings.features, embedding=settings.embedding,
            classes=classes if settings.classification else 0, generator=generator,
        )  # fmt: skip

    @classmethod
    def choices(cls, settings: SupConSettings, data: LabelledPixels, seed: int) -> dict[str, Any]:
        """The numbers of the settings, and whose labels are used."""
        few = settings.labels_per_class and len(data.labels)
        return {
            "batch_size": batch_of(settings.batch_size, len(data.images)),
            "views": settings.views,
            "temperature": settings.temperature,
            "logarithm": settings.logarithm,
            "classification": settings.classification,
            "labelled": settings.choose(data.labels, seed) if few else None,
        }

    def draw(self, images: NDArray, labels: NDArray, generator: np.random.Generator) -> Batch:
        """``views`` views of different images, the first views of all on top."""
        size = min(self.batch_size, len(images))
        chosen = generator.choice(len(images), size, replace=False)
        views = [self.augment(images[chosen], generator) for _ in range(self.views)]
        return np.concatenate(views), np.tile(labels[chosen], self.views)

    def compare(
        self, features: Tensor, labels: Any, *, gather: bool, generator: np.random.Generator
    ) -> Tensor:
        """Contrast + λ · cross-entropy; nothing in it is random."""
        embeddings, of_all = rows_of_all(self.model.head(features), labels, gather=gather)
        loss = supcon_loss(
            embeddings, of_all, temperature=self.temperature, logarithm=self.logarithm
        )
        if not self.classification or self.model.output is None:
            return loss
        (logits,) = rows_of_all(self.model.output(features), gather=gather)
        numbers = as_array(of_all)
        xp = namespace(numbers)
        targets = xp.where(numbers < 0, xp.full_like(numbers, UNKNOWN), numbers)
        named = fused.cross_entropy(logits, targets, ignore_index=UNKNOWN)
        return loss + self.classification * named

    def further(
        self, of_views: Tensor, labels: NDArray, of_images: NDArray, image_labels: NDArray
    ) -> dict[str, float]:
        """The accuracy, 0 to 1, where it classifies."""
        if not self.classification or self.model.output is None:
            return {}
        predicted = likeliest(self.model.output(of_images).numpy())
        return {"held_out_accuracy": share_right(predicted, image_labels)}


METHOD = SupCon
