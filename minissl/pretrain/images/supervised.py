"""The baseline that pretraining must beat: the same network, trained on labels alone.

Classification with augmentation; not self-supervised, but it answers the same questions, so that
the same loop trains it and its encoder can be probed like any other. Lecture 11. Krizhevsky,
Sutskever and Hinton (2012) made it the rule for images. Not here: the schedules of large networks.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from minissl.autograd import fused
from minissl.autograd.tensor import Tensor
from minissl.options import option
from minissl.pretrain.classification import Classification, Classifier
from minissl.pretrain.views import EncoderSettings


@dataclass(frozen=True, kw_only=True)
class SupervisedSettings(EncoderSettings):
    """An encoder with a Linear on top. The learning rate was the best of those tried for digits,
    where this baseline likes it higher than SimCLR does."""

    batch_size: int = option(128, "labelled images per step", least=1, most=1 << 20)
    steps: int = option(300, "updates", least=1, most=10**9)
    learning_rate: float = option(
        8e-3, "at its highest, after a warm-up of a twentieth", above=0, most=100
    )


class Supervised(Classification):
    """Classification with augmentation, the fairest is what the pretraining used.

    Batches are drawn with replacement, so that ten labelled images also make a batch of 128 views.
    The arguments are those of ``Classification``.
    """

    Settings = SupervisedSettings
    model: Classifier

    def batch(self, generator: np.random.Generator) -> tuple[NDArray, NDArray]:
        """Augmented images and their labels."""
        self.require_images()
        chosen = generator.integers(len(self.images), size=self.batch_size)
        return self.augment(self.images[chosen], generator), self.labels[chosen]

    def loss(
        self, batch: tuple[NDArray, NDArray], generator: np.random.Generator | None = None
    ) -> Tensor:
        """Mean cross-entropy in nats; nothing in it is random."""
        images, labels = batch
        return fused.cross_entropy(self.model(images), labels)


METHOD = Supervised
