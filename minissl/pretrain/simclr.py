"""SimCLR: two random views of an image should have similar embeddings. Lecture 12.

Chen, Kornblith, Norouzi and Hinton (2020), A Simple Framework for Contrastive Learning.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from minissl.autograd import operations as ops
from minissl.autograd.tensor import Tensor
from minissl.losses.contrastive import alignment_loss, nt_xent, simclr_cs229
from minissl.nn.convolution import Conv2d, GlobalAvgPool2d
from minissl.nn.evaluating import evaluating
from minissl.nn.layers import MLP, Linear
from minissl.nn.module import Module
from minissl.training import diagnostics
from minissl.vision.augment import Augmentation

LOSSES: dict[str, Callable[..., Tensor]] = {
    "nt_xent": nt_xent,
    "simclr_cs229": lambda first, second, temperature: simclr_cs229(
        first, second, reduction="mean"
    ),
    "positives_only": lambda first, second, temperature: alignment_loss(first, second),
}


class ConvEncoder(Module):
    """A small convolutional network: images (batch, height, width, channels) -> (batch, features).

    Convolutions with windows of 3, the first with stride 1 and the others with stride 2, each
    followed by relu.
    """

    def __init__(
        self,
        *,
        channels: int = 1,
        widths: Sequence[int] = (32, 64, 64),
        features: int = 128,
        kernels=(3,3,3), strides=(1,2,2), size=8, flatten=True, last_relu=True,
        generator: np.random.Generator,
    ):
        self.convolutions = []
        for number, (ins, outs) in enumerate(zip([channels, *widths], widths)):
            k,s=kernels[number],strides[number]
            p=1 if k==3 else 0
            self.convolutions.append(Conv2d(ins, outs, k, stride=s, padding=p, generator=generator))
            size=(size+2*p-k)//s+1
        self.flatten=flatten; self.last_relu=last_relu
        self.output = Linear(widths[-1]*(size*size if flatten else 1), features, generator=generator)

    def forward(self, images: Any) -> Tensor:
        x = images if isinstance(images, Tensor) else Tensor(images)
        for convolution in self.convolutions:
            x = ops.relu(convolution(x))
        x = x.reshape(len(images), -1) if self.flatten else ops.mean(x, axis=(1, 2))
        y=self.output(x)
        return ops.relu(y) if self.last_relu else y
