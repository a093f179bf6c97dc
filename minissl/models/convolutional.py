"""A small convolutional encoder of images, and a head with batch norm. Lecture 12."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from minissl.autograd.tensor import Tensor
from minissl.nn.convolution import BatchNorm, Conv2d
from minissl.nn.layers import Linear
from minissl.nn.module import Module


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
        self.features = features
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
