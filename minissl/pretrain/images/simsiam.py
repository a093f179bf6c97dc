"""One view of an image predicts the other, which is held still: no negatives.

SimSiam: Chen and He (2021), Exploring Simple Siamese Representation Learning. Lecture 12. What
keeps it from collapsing is that no gradient flows into the view that is predicted. Not here: the
paper's ResNet-50 and its own learning rate for the predictor.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.autograd import operations as ops
from minissl.autograd.tensor import Tensor
from minissl.losses.contrastive import alignment_loss
from minissl.models.convolutional import NormalizedMLP
from minissl.nn.module import Module
from minissl.options import option
from minissl.pretrain.views import TwoViews, ViewSettings
from minissl.vision.augment import Augmentation


@dataclass(frozen=True, kw_only=True)
class SimSiamSettings(ViewSettings):
    """A convolutional encoder with its head and predictor, and how it is trained."""

    stop_gradient: bool = option(True, "hold the predicted view still; without, it collapses")


class SimSiamModel(Module):
    """Encoder, ``head`` and ``predictor`` (embedding -> embedding / 2 -> embedding).

    BatchNorm where the paper has it: in both layers of the head, and in the first one of the
    predictor. The encoder needs none.
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
            features, features, embedding, normalize_output=True, generator=generator
        )
        self.predictor = NormalizedMLP(
            embedding, embedding // 2, embedding, normalize_output=False, generator=generator
        )

    def forward(self, images: Any) -> Tensor:
        return self.head(self.encoder(images))


class SimSiam(TwoViews):
    """From the embedding of one view, ``model.predictor`` should find the other view's.

    The loss is the mean over both directions of 2 − 2 cos(predictor(aᵢ), bᵢ): the paper's −cos on
    the scale of ``alignment_loss``. ``stop_gradient``: bᵢ is held still, as in the paper; without
    it the embeddings collapse to few directions. The other arguments are those of ``TwoViews``.
    """

    Settings = SimSiamSettings
    Model = SimSiamModel
    model: SimSiamModel

    def __init__(
        self,
        model: SimSiamModel,
        images: NDArray,
        augment: Augmentation,
        *,
        batch_size: int = 256,
        stop_gradient: bool = True,
        held_out: NDArray | None = None,
    ):
        super().__init__(model, images, augment, batch_size=batch_size, held_out=held_out)
        self.stop_gradient = stop_gradient

    @classmethod
    def choices(cls, settings: SimSiamSettings) -> dict[str, Any]:
        """Whether the predicted view is held still."""
        return {"stop_gradient": settings.stop_gradient}

    def compare(self, embeddings: Tensor, views: NDArray, *, gather: bool) -> Tensor:
        """Each side's prediction against the other side, held still."""
        still = embeddings.detach() if self.stop_gradient else embeddings
        first, second = ops.split(self.model.predictor(embeddings), 2)
        other_first, other_second = ops.split(still, 2)
        return (alignment_loss(first, other_second) + alignment_loss(second, other_first)) / 2


METHOD = SimSiam
