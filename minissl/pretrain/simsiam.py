"""SimSiam: agreement between views without a single negative. Lecture 12.

Chen and He (2021), Exploring Simple Siamese Representation Learning. What keeps it from collapsing
is that one side of each pair is held still: no gradient flows into the view that is predicted.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.autograd import operations as ops
from minissl.autograd.tensor import Tensor
from minissl.losses.contrastive import alignment_loss
from minissl.nn.convolution import BatchNorm
from minissl.nn.layers import Linear
from minissl.nn.module import Module
from minissl.pretrain.simclr import SimCLR, SimCLRModel
from minissl.vision.augment import Augmentation


class NormalizedMLP(Module):
    """Linear, BatchNorm and relu, Linear, and BatchNorm once more if ``normalize_output``.

    Shapes: (batch, in_features) -> (batch, hidden_features) -> (batch, out_features).
    """

    def __init__(
        self,
        in_features: int,
        hidden_features: int,
        out_features: int,
        *,
        normalize_output: bool,
        generator: np.random.Generator,
    ):
        self.hidden = Linear(in_features, hidden_features, generator=generator)
        self.hidden_norm = BatchNorm(hidden_features, relu=True)
        self.output = Linear(hidden_features, out_features, generator=generator)
        self.output_norm = BatchNorm(out_features) if normalize_output else None

    def forward(self, x: Any) -> Tensor:
        y = self.output(self.hidden_norm(self.hidden(x)))
        return y if self.output_norm is None else self.output_norm(y)


class SimSiamModel(SimCLRModel):
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


class SimSiam(SimCLR):
    """From the embedding of one view, ``model.predictor`` should find the other view's.

    The loss is the mean over both directions of 2 − 2 cos(predictor(aᵢ), bᵢ): the paper's −cos on
    the scale of ``alignment_loss``. ``stop_gradient``: bᵢ is held still, as in the paper; without
    it the embeddings collapse to few directions. The other arguments are those of ``SimCLR``.
    """

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
        super().__init__(
            model,
            images,
            augment,
            batch_size=batch_size,
            loss="positives_only",
            held_out=held_out,
        )
        self.stop_gradient = stop_gradient

    def _compare(self, embeddings: Tensor, gather: bool) -> Tensor:
        still = embeddings.detach() if self.stop_gradient else embeddings
        first, second = ops.split(self.model.predictor(embeddings), 2)
        other_first, other_second = ops.split(still, 2)
        return (alignment_loss(first, other_second) + alignment_loss(second, other_first)) / 2
