"""The residual network for small images (He, Zhang, Ren and Sun 2016). Lecture 12."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from minissl.autograd import operations as ops
from minissl.autograd.tensor import Tensor
from minissl.nn.convolution import BatchNorm, Conv2d, GlobalAvgPool2d
from minissl.nn.module import Module


class BasicBlock(Module):
    """relu(x + f(x)), where f is two convolutions with windows of 3, each with its BatchNorm.

    The block learns what to add to its input; with f = 0 it does nothing, and depth costs nothing.
    Where ``stride`` or the number of channels changes the shape, a convolution with a window of 1
    (``shortcut``) takes x there. Shapes: (batch, height, width, in_channels) -> (batch,
    ⌈height / stride⌉, ⌈width / stride⌉, channels).
    """

    def __init__(
        self, in_channels: int, channels: int, *, stride: int = 1, generator: np.random.Generator
    ):
        self.first = _convolution(in_channels, channels, 3, stride, generator)
        self.first_norm = BatchNorm(channels, relu=True)
        self.second = _convolution(channels, channels, 3, 1, generator)
        self.second_norm = BatchNorm(channels)
        self.shortcut: Conv2d | None = None
        if stride > 1 or in_channels != channels:
            self.shortcut = _convolution(in_channels, channels, 1, stride, generator)
            self.shortcut_norm = BatchNorm(channels)

    def forward(self, x: Any) -> Tensor:
        added = self.second_norm(self.second(self.first_norm(self.first(x))))
        if self.shortcut is not None:
            x = self.shortcut_norm(self.shortcut(x))
        return ops.relu(x + added)


class ResNet(Module):
    """The ResNet-18 of SimCLR on CIFAR: (batch, height, width, channels) -> (batch, 8 · width).

    For images of 32 x 32 the start of the original, which makes them four times as small before the
    first block, is one convolution with a window of 3 and no pooling (Chen et al. 2020, appendix
    B.9). Then come stages of ``blocks[i]`` BasicBlocks with width · 2ⁱ channels, each but the first
    halving the sides, and the mean over all places: the features are as wide as the last stage.
    Four stages of two blocks and the first and last layer make 18. No classifier: ``SimCLRModel``
    puts a head on top, a probe its own. Convolutions have no bias, since the BatchNorm after each
    would take it away again.
    """

    def __init__(
        self,
        channels: int = 3,
        width: int = 64,
        blocks: Sequence[int] = (2, 2, 2, 2),
        *,
        generator: np.random.Generator,
    ):
        self.start = _convolution(channels, width, 3, 1, generator)
        self.start_norm = BatchNorm(width, relu=True)
        self.blocks: list[BasicBlock] = []
        channels = width
        for stage, count in enumerate(blocks):
            for number in range(count):
                stride = 2 if stage and not number else 1
                block = BasicBlock(channels, width << stage, stride=stride, generator=generator)
                self.blocks.append(block)
                channels = width << stage
        self.features = channels
        self.pool = GlobalAvgPool2d()

    def forward(self, images: Any) -> Tensor:
        x = self.start_norm(self.start(images))
        for block in self.blocks:
            x = block(x)
        return self.pool(x)


def _convolution(
    in_channels: int, channels: int, kernel: int, stride: int, generator: np.random.Generator
) -> Conv2d:
    """Without a bias, and with the padding that keeps the size when the stride is 1."""
    return Conv2d(
        in_channels, channels, kernel, stride=stride, padding=kernel // 2, bias=False,
        generator=generator,
    )  # fmt: skip
