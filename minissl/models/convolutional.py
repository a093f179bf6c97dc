"""A small convolutional encoder of images, and a head with batch norm. Lecture 12."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from minissl.autograd.tensor import Tensor
from minissl.nn.convolution import BatchNorm, Conv2d
from minissl.nn.layers import Linear
from minissl.nn.module import Module


def depth_for(image_size: int) -> int:
    """How many convolutions leave 8 x 8 places or fewer for the Linear, and at least 3."""
    depth = 1
    while depth < 3 or image_size > 8:
        image_size = -(-image_size // 2)
        depth += 1
    return depth


class ConvEncoder(Module):
    """A small convolutional network: (batch, size, size, channels) -> (batch, features).

    Convolutions with windows of 3 and relu, one for each of ``widths``, all but the first with
    stride 2; then a Linear over all places, of which ``depth_for`` keeps few. No BatchNorm: it is
    not needed at this depth, and without it an image's representation never depends on the rest of
    the batch.

    Raises ValueError for images of another size.
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
        self.features, self.shape = features, (image_size, image_size, channels)
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
        if tuple(images.shape[1:]) != self.shape:
            raise ValueError(
                f"got images of shape {tuple(images.shape)}, this encoder was made for (batch, "
                f"{', '.join(map(str, self.shape))}): the settings image_size and channels say so"
            )
        x = images
        for convolution in self.convolutions:
            x = convolution(x)
        return self.output(x.reshape(x.shape[0], math.prod(x.shape[1:])))


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
