"""Two views of an image should be similar, views of different images should not.

SimCLR: Chen, Kornblith, Norouzi and Hinton (2020), A Simple Framework for Contrastive Learning of
Visual Representations. Lecture 12. With ``encoder`` "resnet18", 512 ``features`` and the
augmentation "small-photos" it has the network and the views of the authors' script for CIFAR-10.
Not here: LARS, the paper's optimizer, and its ResNet-50, which it takes for CIFAR-10 too.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.autograd import operations as ops
from minissl.autograd.tensor import Tensor
from minissl.losses.contrastive import alignment_loss, chance_level, nt_xent, simclr_cs229
from minissl.nn.layers import MLP
from minissl.nn.module import Module
from minissl.options import option
from minissl.pretrain.views import TwoViews, ViewSettings
from minissl.vision.augment import Augmentation

# Each takes (first, second, temperature, gather) and gives the mean per row, to be read beside
# ``chance_level``. "positives_only" is there to be seen collapsing.
LOSSES: dict[str, Callable[[Tensor, Tensor, float, bool], Tensor]] = {
    "nt_xent": lambda a, b, temperature, gather: nt_xent(a, b, temperature, gather=gather),
    "simclr_cs229": lambda a, b, _, gather: simclr_cs229(a, b, gather=gather, reduction="mean"),
    "positives_only": lambda a, b, *_: alignment_loss(a, b),
}


@dataclass(frozen=True, kw_only=True)
class SimCLRSettings(ViewSettings):
    """A convolutional encoder with its projection head, and how it is trained."""

    loss: str = option(
        "nt_xent", "positives_only is there to be seen collapsing", choices=tuple(LOSSES)
    )
    temperature: float = option(0.5, "of nt_xent", above=0, most=1000)


class SimCLRModel(Module):
    """An encoder and the projection head that stands between it and the loss.

    Images -> embeddings (batch, embedding). The head may forget what the augmentations change so
    that the encoder need not: it serves training only, and is discarded afterwards.
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
        self.head: Module = MLP(
            features, features, embedding, activation="relu", generator=generator
        )

    def forward(self, images: Any) -> Tensor:
        return self.head(self.encoder(images))


class SimCLR(TwoViews):
    """Pretraining by agreement between views, against the views of all other images.

    loss: a name in ``LOSSES``; temperature: of ``"nt_xent"``, the others have none. The other
    arguments are those of ``TwoViews``. Raises ValueError for another loss, and as ``TwoViews``.
    """

    Settings = SimCLRSettings
    Model = SimCLRModel
    model: SimCLRModel

    def __init__(
        self,
        model: SimCLRModel,
        images: NDArray,
        augment: Augmentation,
        *,
        batch_size: int = 256,
        loss: str = "nt_xent",
        temperature: float = 0.5,
        held_out: NDArray | None = None,
    ):
        if loss not in LOSSES:
            raise ValueError(f"loss must be one of {sorted(LOSSES)}, got {loss!r}")
        super().__init__(model, images, augment, batch_size=batch_size, held_out=held_out)
        self.loss_name, self.temperature = loss, temperature

    @classmethod
    def choices(cls, settings: SimCLRSettings) -> dict[str, Any]:
        """Loss and temperature."""
        return {"loss": settings.loss, "temperature": settings.temperature}

    def compare(self, embeddings: Tensor, views: NDArray, *, gather: bool) -> Tensor:
        """The chosen loss between first and second views."""
        first, second = ops.split(embeddings, 2)
        return LOSSES[self.loss_name](first, second, self.temperature, gather)

    def evaluate(self) -> dict[str, float]:
        """Also ``chance_loss``: the held-out loss where nothing is told apart, of so many views.

        A loss is read beside it: it is 5.6 for 256 images where 8.2 is chance for 1,797.
        """
        measured = super().evaluate()
        if not measured or self.loss_name == "positives_only":
            return measured
        images = len(self._held_out_views) // 2
        return {**measured, "chance_loss": chance_level(self.loss_name, images)}


METHOD = SimCLR
