"""A few labels, and what is said of an image should be said of the image changed.

Unsupervised data augmentation: Xie, Dai, Hovy, Luong and Le (2020), Unsupervised Data Augmentation
for Consistency Training. Lecture 12. The labels of a few images say what the classes are called;
all images, without labels, say where the borders between them cannot be: between an image and its
changed version. Not here: the paper's RandAugment, its data of another domain, and its texts with
back-translation.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from minissl.adapt.method import FewLabels
from minissl.autograd import fused, no_grad
from minissl.autograd import operations as ops
from minissl.autograd.arrays import namespace
from minissl.autograd.half import at_least_single
from minissl.autograd.tensor import Tensor
from minissl.data.images import LabelledPixels
from minissl.data.labels import likeliest, share_right
from minissl.losses.consistency import (
    SCHEDULES,
    annealed_cross_entropy,
    annealing_threshold,
    consistency_loss,
)
from minissl.options import option
from minissl.pretrain.classification import Classification, Classifier
from minissl.pretrain.views import EncoderSettings
from minissl.vision.augment import Augmentation

Batch = tuple[NDArray, NDArray, NDArray]  # changed images, first the labelled; labels; as they are


@dataclass(frozen=True, kw_only=True)
class ConsistencySettings(FewLabels, EncoderSettings):
    """An encoder with a Linear on top, and what it learns from images without labels.

    With 5 labels of each 8 x 8 digit a ``weight`` of 3 or 10 did worse than 1 in 120 steps, and
    annealing that is late ("exp") left too little of the labels in 150.
    """

    labels_per_class: int = option(
        5, "images of each class whose label is known; of the others none is", least=1, most=10**9
    )
    batch_size: int = option(64, "labelled images per step", least=1, most=1 << 20)
    unlabelled_ratio: int = option(
        3, "images per step without label, for each labelled one", least=1, most=1 << 10
    )
    steps: int = option(300, "updates", least=1, most=10**9)
    learning_rate: float = option(
        8e-3, "at its highest, after a warm-up of a twentieth", above=0, most=100
    )
    weight: float = option(1.0, "of consistency beside the labels", least=0, most=1e6)
    sharpen: float = option(
        0.4, "temperature of what is said of an image as it is; 1: as said", above=0, most=1
    )
    confidence: float = option(
        0.8, "an image counts if its likeliest class has more than this", least=0, most=0.999999
    )
    annealing: str = option(
        "none",
        "how soon a label may be known by heart (training signal annealing): none, at once; log "
        "early, linear, exp late",
        choices=("none", *SCHEDULES),
    )
    stop_gradient: bool = option(
        True, "hold still what is said of an image as it is; without, both sides move"
    )


class CountingClassifier(Classifier):
    """A classifier that knows how often it was updated: ``done``, a buffer."""

    def __init__(self, encoder: Any, num_classes: int, **options: Any):
        super().__init__(encoder, num_classes, **options)
        self.done = Tensor(np.zeros(1, np.int64))


class Consistency(Classification):
    """Cross-entropy of the labelled images + ``weight`` · consistency of all images.

    labelled: indices of the images whose label is used; all images serve without labels. A batch
    has ``batch_size`` of the first and ``unlabelled_ratio`` times as many of all, drawn with
    replacement. steps: how many there will be, for the ``annealing``. Both losses are in
    ``losses.consistency``; the other arguments are those of the settings and of ``Classification``.

    Raises ValueError as ``Classification``, and for ``labelled`` that are not images, or none.
    """

    Settings = ConsistencySettings
    Model = CountingClassifier
    model: CountingClassifier
    of_the_run = ("done",)

    def __init__(
        self,
        model: CountingClassifier,
        images: NDArray,
        labels: ArrayLike,
        augment: Augmentation,
        *,
        labelled: ArrayLike,
        batch_size: int = 64,
        unlabelled_ratio: int = 3,
        steps: int = 300,
        weight: float = 1.0,
        sharpen: float = 0.4,
        confidence: float = 0.8,
        annealing: str = "none",
        stop_gradient: bool = True,
        held_out: NDArray | None = None,
        held_out_labels: ArrayLike | None = None,
    ):
        super().__init__(
            model, images, labels, augment,
            batch_size=batch_size, held_out=held_out, held_out_labels=held_out_labels,
        )  # fmt: skip
        self.labelled = np.asarray(labelled, np.int64)
        known = np.isin(self.labelled, np.arange(len(images))).all()
        if not known or (len(images) and not len(self.labelled)):
            raise ValueError(
                f"labelled: expected indices of {len(images)} images, got {self.labelled}"
            )
        if unlabelled_ratio < 1 or steps < 1:
            raise ValueError(
                f"expected an unlabelled_ratio and steps ≥ 1, got {unlabelled_ratio} and {steps}"
            )
        self.unlabelled_ratio, self.steps, self.weight = unlabelled_ratio, steps, weight
        self.sharpen, self.confidence = sharpen, confidence
        self.annealing, self.stop_gradient = annealing, stop_gradient

    @classmethod
    def choices(
        cls, settings: ConsistencySettings, data: LabelledPixels, seed: int
    ) -> dict[str, Any]:
        """Which labels are used, the same as an adaptation's of this seed, and the settings."""
        names = "unlabelled_ratio", "steps", "weight", "sharpen", "confidence", "annealing"
        return {
            "labelled": settings.choose(data.labels, seed) if len(data.images) else [],
            "stop_gradient": settings.stop_gradient,
            **{name: getattr(settings, name) for name in names},
        }

    def batch(self, generator: np.random.Generator) -> Batch:
        """Changed images, the labelled ones first; their labels; the others as they are."""
        self.require_images()
        chosen = self.labelled[generator.integers(len(self.labelled), size=self.batch_size)]
        count = self.batch_size * self.unlabelled_ratio
        images = self.images[generator.integers(len(self.images), size=count)]
        changed = self.augment(np.concatenate([self.images[chosen], images]), generator)
        return changed, self.labels[chosen], images

    def loss(self, batch: Batch, generator: np.random.Generator | None = None) -> Tensor:
        """Of labels and of consistency; nothing in it is random."""
        changed, labels, images = batch
        logits = at_least_single(self.model(changed))
        of_labelled, of_others = logits[: len(labels)], logits[len(labels) :]
        return self._of_labels(of_labelled, labels) + self.weight * self._of_others(
            images, of_others
        )

    def _of_labels(self, logits: Tensor, labels: NDArray) -> Tensor:
        if self.annealing == "none":
            return fused.cross_entropy(logits, labels)
        progress = min(int(self.model.done.array[0]) / self.steps, 1.0)
        threshold = annealing_threshold(progress, logits.shape[1], self.annealing)
        return annealed_cross_entropy(logits, labels, threshold)

    def _of_others(self, images: NDArray, logits: Tensor) -> Tensor:
        if not self.stop_gradient:
            said = at_least_single(self.model(images))
            return moving_consistency(said, logits, self.sharpen, self.confidence)
        with no_grad():
            said = self.model(images)
        return consistency_loss(
            said.detach(), logits, sharpen=self.sharpen, confidence=self.confidence
        )

    def after_step(self, done: int) -> None:
        """One update more."""
        self.model.done.array = self.model.done.array * 0 + done

    def further(self, logits: NDArray) -> dict[str, float]:
        """On the held-out images and their changed versions, always the same ones.

        ``counted``: the part that would count, being above ``confidence``. ``agreement``: the part
        of which the same class is said when they are changed.
        """
        assert self.held_out is not None
        changed = self.augment(self.held_out, np.random.default_rng(0))
        surest = ops.softmax(Tensor(logits), axis=1).numpy().max(axis=1)
        agreement = share_right(likeliest(self.logits(changed)), likeliest(logits))
        return {"counted": float(np.mean(surest > self.confidence)), "agreement": agreement}


def moving_consistency(said: Tensor, logits: Tensor, sharpen: float, confidence: float) -> Tensor:
    """``consistency_loss`` with a gradient into both sides, to be seen drifting."""
    log_p, log_q = ops.log_softmax(said / sharpen, axis=1), ops.log_softmax(logits, axis=1)
    losses = ops.sum(ops.exp(log_p) * (log_p - log_q), axis=1)
    xp = namespace(losses.array)
    surest = xp.max(ops.softmax(said, axis=1).array, axis=1)
    counts = ~(surest <= confidence) | xp.isnan(losses.array)
    return ops.mean(ops.where(counts, losses, 0.0))


METHOD = Consistency
