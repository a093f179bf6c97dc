"""Views of an image should agree, and all embeddings together should be a Gaussian cloud.

LeJEPA: Balestriero and LeCun (2025), Provable and Scalable Self-Supervised Learning Without the
Heuristics. Lecture 12. No negatives, no predictor, no slow copy, and no gradient that is stopped:
what keeps the embeddings from collapsing is SIGReg, the second term of the loss. Not here: several
small crops beside the two views, a vision transformer, and a second hidden layer in the head.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.autograd import operations as ops
from minissl.autograd.half import at_least_single
from minissl.autograd.processes import gather_rows
from minissl.autograd.tensor import Tensor
from minissl.losses.regularizers import random_directions, sigreg
from minissl.models.convolutional import NormalizedMLP
from minissl.nn.module import Module
from minissl.options import option
from minissl.pretrain.views import TwoViews, ViewSettings
from minissl.vision.augment import Augmentation


@dataclass(frozen=True, kw_only=True)
class SIGRegSettings(ViewSettings):
    """A convolutional encoder with its head, and how much the Gaussian cloud counts.

    The paper's λ, for photos, is 0.05. For 8 x 8 digits a tenth was better: after 300 steps a probe
    with 5 labels per class had 93 and 94 % instead of 88 % twice (seeds 1 and 2), for the views of
    an image were nearer; 0.002 did as well, with fewer directions in use.
    """

    weight: float = option(
        0.005, "λ of the Gaussian cloud, 1 − λ of agreement; 0: it collapses", least=0, most=1
    )
    directions: int = option(
        256, "along which the cloud is seen, other ones in each step", least=1, most=1 << 16
    )


class SIGRegModel(Module):
    """Encoder and ``head`` (features -> features with BatchNorm -> embedding).

    Images -> embeddings (batch, embedding), which are not scaled to any length: how long they are
    is what the Gaussian says.
    """

    def __init__(
        self,
        encoder: Module,
        *,
        features: int = 128,
        embedding: int = 64,
        generator: np.random.Generator,
    ):
        self.encoder = encoder
        self.head = NormalizedMLP(
            features, features, embedding, normalize_output=False, generator=generator
        )

    def forward(self, images: Any) -> Tensor:
        return self.head(self.encoder(images))


class SIGReg(TwoViews):
    """Each view's embedding near the mean of both, and those of a batch normally distributed.

    The loss is (1 − ``weight``) · mean over views and columns of (z − (a + b) / 2)² + ``weight`` ·
    the mean of ``sigreg`` of the first and of the second views, along ``directions`` drawn for the
    step. ``sigreg`` is a test's statistic: for embeddings of another distribution it grows with
    their number, so losses are to be compared at equally many images. The other arguments are
    those of ``TwoViews``.
    """

    Settings = SIGRegSettings
    Model = SIGRegModel
    model: SIGRegModel

    def __init__(
        self,
        model: SIGRegModel,
        images: NDArray,
        augment: Augmentation,
        *,
        batch_size: int = 256,
        weight: float = 0.005,
        directions: int = 256,
        held_out: NDArray | None = None,
    ):
        if not 0 <= weight <= 1 or directions < 1:
            raise ValueError(
                f"expected 0 ≤ weight ≤ 1 and 1 or more directions, got {weight} and {directions}"
            )
        super().__init__(model, images, augment, batch_size=batch_size, held_out=held_out)
        self.weight, self.directions = weight, directions

    @classmethod
    def choices(cls, settings: SIGRegSettings) -> dict[str, Any]:
        """How much the cloud counts, and along how many directions it is seen."""
        return {"weight": settings.weight, "directions": settings.directions}

    def loss(self, batch: NDArray, generator: np.random.Generator | None = None) -> Tensor:
        """The loss of a batch of views, along directions drawn from the generator.

        The cloud is that of all processes' embeddings, seen by each along directions of its own.
        """
        return self._loss(self.model(batch), generator, gather=True)

    def compare(self, embeddings: Tensor, views: NDArray, *, gather: bool) -> Tensor:
        """The loss along directions that are always the same ones."""
        return self._loss(embeddings, None, gather=gather)

    def _loss(
        self, embeddings: Tensor, generator: np.random.Generator | None, *, gather: bool
    ) -> Tensor:
        generator = np.random.default_rng(0) if generator is None else generator
        directions = random_directions(self.directions, embeddings.shape[1], generator)
        first, second = ops.split(at_least_single(embeddings), 2)
        # Both are (first - second) / 2 away from their mean, in opposite directions.
        agreement = ops.mean(((first - second) / 2) ** 2)
        clouds = [gather_rows(view) if gather else view for view in (first, second)]
        gaussian = (sigreg(clouds[0], directions) + sigreg(clouds[1], directions)) / 2
        return (1 - self.weight) * agreement + self.weight * gaussian


METHOD = SIGReg
