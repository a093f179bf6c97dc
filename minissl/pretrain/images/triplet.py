"""An image should be nearer to those of its class than to those of others, by a margin.

FaceNet: Schroff, Kalenichenko and Philbin (2015). Lecture 12, section 13. The embedding has length
1, distances are squared, and there is no head: what the loss compares is what represents. A batch
has some images of each of some classes, so that it has many triplets of an anchor, a positive and
a negative; ``mining`` says which are looked at. The hardest ones alone can pull everything to one
point, before anything is learned: a held-out loss that stays at the margin with a ``z_std`` near 0.

Not here: FaceNet's Inception network, and its search for faces in the image.
"""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from minissl.autograd.devices import move
from minissl.autograd.tensor import Tensor, as_array
from minissl.data.images import LabelledPixels
from minissl.losses.contrastive import normalize
from minissl.losses.distances import pairwise_distances
from minissl.losses.metric import same_and_different
from minissl.losses.triplets import MINING, mined_triplet_loss
from minissl.nn.module import Module
from minissl.options import option
from minissl.pretrain.labelled_views import Batch, LabelledViews, rows_of_all
from minissl.pretrain.views import EncoderSettings
from minissl.vision.augment import Augmentation


@dataclass(frozen=True, kw_only=True)
class TripletSettings(EncoderSettings):
    """A convolutional encoder, and which triplets it learns from."""

    batch_size: int = option(
        128, "images per step, at most: equally many of each class", least=4, most=1 << 20
    )
    classes_per_batch: int = option(8, "classes in a batch", least=2, most=1 << 19)
    mining: str = option(
        "semi-hard",
        "which triplets: all; hard: of each anchor the farthest positive and the nearest negative; "
        "semi-hard: the nearest negative that is farther than the positive; distance-weighted: "
        "negatives of all distances alike",
        choices=MINING,
    )
    margin: float = option(
        0.2, "of squared distances, 0 to 4; 0: the soft margin, which has no end", least=0,
        most=4,
    )  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.batch_size < 2 * self.classes_per_batch:
            raise ValueError(
                f"batch_size {self.batch_size} is less than two images of each of "
                f"classes_per_batch {self.classes_per_batch}: there would be no positive"
            )


class UnitModel(Module):
    """An encoder and no more than the length of what it gives: images -> (batch, features)."""

    def __init__(self, encoder: Module):
        self.encoder = encoder

    def head(self, features: Any) -> Tensor:
        """Each row divided by its length."""
        return normalize(features)

    def forward(self, images: Any) -> Tensor:
        return self.head(self.encoder(images))


class Triplet(LabelledViews):
    """Pretraining by distances: nearer to the own class than to others.

    A batch has ``classes_per_batch`` different classes, fewer if there are, and of each
    ``images_per_class`` images; of a class that has fewer they come again, changed in another way.
    ``mining`` and ``margin`` (None: soft) as in ``mined_triplet_loss``. The other arguments are
    those of ``LabelledViews``.

    Raises ValueError for fewer than two classes or images of each, and as ``LabelledViews``.
    """

    Settings = TripletSettings
    model: UnitModel

    def __init__(
        self,
        model: UnitModel,
        images: NDArray,
        labels: ArrayLike,
        augment: Augmentation,
        *,
        classes_per_batch: int = 8,
        images_per_class: int = 16,
        mining: str = "semi-hard",
        margin: float | None = 0.2,
        held_out: NDArray | None = None,
        held_out_labels: ArrayLike | None = None,
    ):
        super().__init__(
            model, images, labels, augment, held_out=held_out, held_out_labels=held_out_labels
        )
        if min(classes_per_batch, images_per_class) < 2:
            raise ValueError(
                f"got {classes_per_batch} classes per batch and {images_per_class} images of each: "
                "a triplet needs two of both"
            )
        self.classes_per_batch, self.images_per_class = classes_per_batch, images_per_class
        self.mining, self.margin = mining, margin

    @classmethod
    def new_model(cls, settings: TripletSettings, classes: int, *, seed: int = 0) -> UnitModel:
        """The encoder with random weights; the number of classes is nothing to it."""
        return UnitModel(settings.new_encoder(np.random.default_rng(seed)))

    @classmethod
    def choices(cls, settings: TripletSettings, data: LabelledPixels, seed: int) -> dict[str, Any]:
        """What a batch is made of, and which triplets of it are looked at.

        Warns where there are fewer classes, or fewer images in one, than a batch should have.
        """
        classes, images = composition(settings, data)
        return {
            "classes_per_batch": classes,
            "images_per_class": images,
            "mining": settings.mining,
            "margin": settings.margin or None,
        }

    def draw(self, images: NDArray, labels: NDArray, generator: np.random.Generator) -> Batch:
        """One view of each of some images of each of some classes, class after class."""
        classes = np.unique(labels)
        some = generator.choice(classes, min(self.classes_per_batch, len(classes)), replace=False)
        of_each = [generator.permutation(np.flatnonzero(labels == c)) for c in some]
        chosen = np.concatenate([np.resize(rows, self.images_per_class) for rows in of_each])
        return self.augment(images[chosen], generator), labels[chosen]

    def compare(
        self, features: Tensor, labels: Any, *, gather: bool, generator: np.random.Generator
    ) -> Tensor:
        """The mean loss of the triplets that are looked at."""
        embeddings, of_all = rows_of_all(self.model.head(features), labels, gather=gather)
        return mined_triplet_loss(
            embeddings, of_all, margin=self.margin, mining=self.mining, normalize=False,
            generator=generator,
        )  # fmt: skip

    def encode(self, batch: NDArray, generator: np.random.Generator | None = None) -> Tensor:
        """The embeddings of images: (batch, features), of length 1."""
        return self.model(batch)

    def further(
        self, of_views: Tensor, labels: NDArray, of_images: NDArray, image_labels: NDArray
    ) -> dict[str, float]:
        """Which part of all triplets of the held-out batch still has a loss: see ``all_active``."""
        return {"active_share": all_active(self.model.head(of_views), labels, self.margin)}


def composition(settings: TripletSettings, data: LabelledPixels) -> tuple[int, int]:
    """How many classes a batch has and how many images of each, with a warning for fewer."""
    wanted = settings.classes_per_batch
    numbers, sizes = np.unique(data.labels, return_counts=True)
    classes = min(wanted, len(numbers)) if len(numbers) > 1 else wanted
    images = settings.batch_size // classes
    if classes < wanted:
        warnings.warn(
            f"there are only {classes} classes: each batch has all of them, not classes_per_batch "
            f"{wanted}, and {images} images of each",
            stacklevel=4,
        )
    if len(numbers) and sizes.min() < images:
        warnings.warn(
            f"{np.sum(sizes < images)} of {len(numbers)} classes have fewer than {images} images, "
            f"{data.class_names[numbers[sizes.argmin()]]!r} has {sizes.min()}: they come more than "
            "once in a batch, changed in another way; a smaller batch_size, or more "
            "classes_per_batch, asks for fewer of each",
            stacklevel=4,
        )
    return classes, images


def all_active(embeddings: Any, labels: Any, margin: float | None) -> float:
    """The part of all triplets of a batch that still has a hinge loss, 0 to 1.

    ``active_share`` of them without a list of them, which for a large batch has no room. A soft
    margin is never done: it counts those whose negative is nearer than the positive. Shapes:
    embeddings (batch, width), labels (batch,), with one triplet or more.
    """
    distances = move(pairwise_distances(embeddings, squared=True).array, "cpu")
    same, different = same_and_different(move(as_array(labels), "cpu"), distances)
    active = 0
    for of_anchor, positive, negative in zip(distances, same, different):
        limits = of_anchor[positive] + (margin or 0.0)
        active += np.searchsorted(np.sort(of_anchor[negative]), limits).sum()
    return float(active / np.sum(same.sum(axis=1) * different.sum(axis=1)))


METHOD = Triplet
