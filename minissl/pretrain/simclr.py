"""SimCLR: two random views of an image should have similar embeddings. Lecture 12.

Chen, Kornblith, Norouzi and Hinton (2020), A Simple Framework for Contrastive Learning of Visual
Representations.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.autograd import operations as ops
from minissl.autograd.tensor import Tensor
from minissl.losses.contrastive import alignment_loss, nt_xent, simclr_cs229
from minissl.nn.convolution import Conv2d
from minissl.nn.evaluating import evaluating
from minissl.nn.layers import MLP, Linear
from minissl.nn.module import Module
from minissl.training import diagnostics
from minissl.vision.augment import Augmentation
from minissl.vision.images import check_images

# Each takes (first, second, temperature, gather) and gives the mean per row, to be read beside
# ``chance_level``. "positives_only" is there to be seen collapsing.
LOSSES: dict[str, Callable[[Tensor, Tensor, float, bool], Tensor]] = {
    "nt_xent": lambda a, b, temperature, gather: nt_xent(a, b, temperature, gather=gather),
    "simclr_cs229": lambda a, b, _, gather: simclr_cs229(a, b, gather=gather, reduction="mean"),
    "positives_only": lambda a, b, *_: alignment_loss(a, b),
}


class ConvEncoder(Module):
    """A small convolutional network: (batch, size, size, channels) -> (batch, features).

    Convolutions with windows of 3 and relu, one for each of ``widths``, all but the first with
    stride 2; then a Linear over all places. No BatchNorm: it is not needed at this depth, and
    without it an image's representation never depends on the rest of the batch.
    """

    def __init__(
        self,
        image_size: int = 8,
        channels: int = 1,
        *,
        widths: Sequence[int] = (32, 64, 64),
        features: int = 128,
        generator: np.random.Generator,
    ):
        self.convolutions = []
        for number, width in enumerate(widths):
            stride = 2 if number else 1
            image_size = (image_size - 1) // stride + 1
            layer = Conv2d(
                channels, width, 3, stride=stride, padding=1, relu=True, generator=generator
            )
            self.convolutions.append(layer)
            channels = width
        self.output = Linear(image_size * image_size * channels, features, generator=generator)

    def forward(self, images: Any) -> Tensor:
        x = images
        for convolution in self.convolutions:
            x = convolution(x)
        return self.output(x.reshape(x.shape[0], math.prod(x.shape[1:])))


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


class SimCLR:
    """Pretraining by agreement between views: a method for ``fit``.

    images: (count, height, width, channels), unlabelled. augment: ``(images, generator) ->
    images``. loss: a name in ``LOSSES``; temperature: of ``"nt_xent"``, the others have none.
    held_out: images for ``evaluate``, by default the first ``batch_size`` training images.

    Raises ValueError for another loss or fewer images than ``batch_size``.
    """

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
        check_images(images)
        if loss not in LOSSES:
            raise ValueError(f"loss must be one of {sorted(LOSSES)}, got {loss!r}")
        if not 1 <= batch_size <= len(images):
            raise ValueError(
                f"batch_size is {batch_size}, but there are {len(images)} different images: an "
                "image twice in a batch would be its own negative"
            )
        self.model, self.images, self.augment = model, images, augment
        self.batch_size, self.loss_name, self.temperature = batch_size, loss, temperature
        held_out = images[:batch_size] if held_out is None else held_out
        self._held_out_views = self._views(held_out, np.random.default_rng(0))

    def batch(self, generator: np.random.Generator) -> NDArray:
        """Two views of ``batch_size`` different images, first views on top: (2 batch_size, ...)."""
        chosen = generator.choice(len(self.images), self.batch_size, replace=False)
        return self._views(self.images[chosen], generator)

    def _views(self, images: NDArray, generator: np.random.Generator) -> NDArray:
        return np.concatenate([self.augment(images, generator), self.augment(images, generator)])

    def loss(self, batch: NDArray, generator: np.random.Generator | None = None) -> Tensor:
        """The mean loss of a batch of views; nothing in it is random.

        The views of all processes are negatives, so that N of them see a batch N times as large.
        """
        return self._compare(self.model(batch), gather=True)

    def _compare(self, embeddings: Tensor, gather: bool) -> Tensor:
        first, second = ops.split(embeddings, 2)
        return LOSSES[self.loss_name](first, second, self.temperature, gather)

    def represent(self, examples: NDArray, *, batch_size: int = 512) -> NDArray:
        """What the encoder, without the head, makes of images: (count, features)."""
        starts = range(0, len(examples), batch_size) or [0]
        with evaluating(self.model):
            parts = [self.model.encoder(examples[i : i + batch_size]).numpy() for i in starts]
        return np.concatenate(parts)

    def evaluate(self) -> dict[str, float]:
        """The loss and the health of the embeddings on held-out views, always the same ones."""
        with evaluating(self.model):
            views = self.model(self._held_out_views)
            loss = self._compare(views, gather=False)
        first, second = np.split(views.numpy(), 2)
        return {
            "held_out_loss": loss.item(),
            "z_std": diagnostics.z_std(first),
            "effective_rank": diagnostics.effective_rank(first),
            "alignment": diagnostics.alignment(first, second),
            "uniformity": diagnostics.uniformity(first),
        }
