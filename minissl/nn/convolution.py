"""Layers for images ``(batch, height, width, channels)``. Lecture 12."""

from typing import Any

import numpy as np

from minissl.autograd import operations as ops
from minissl.autograd.arrays import namespace
from minissl.autograd.devices import beside
from minissl.autograd.fused import gpu
from minissl.autograd.fused.convolution import avg_pool2d, conv2d, max_pool2d
from minissl.autograd.tensor import Tensor
from minissl.nn import init
from minissl.nn.module import Module, Parameter


class Conv2d(Module):
    """The same linear layer at every window of the image: ``fused.conv2d`` with its weights.

    Shapes: x (batch, height, width, in_channels) -> (batch, out_height, out_width, out_channels)
    with out = (size + 2 padding - kernel) // stride + 1; ``weight`` (out_channels, kernel, kernel,
    in_channels), ``bias`` (out_channels,) or None. Both start uniformly in ±1/√(kernel²
    in_channels), as in torch. ``relu``: followed by relu, which costs less than a relu of its own.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        *,
        stride: int = 1,
        padding: int = 0,
        bias: bool = True,
        relu: bool = False,
        generator: np.random.Generator,
    ):
        self.stride, self.padding, self.relu = stride, padding, relu
        shape, fan_in = (out_channels, kernel, kernel, in_channels), kernel * kernel * in_channels
        self.weight = Parameter(init.uniform_fan_in(shape, fan_in, generator))
        self.bias: Parameter | None = None
        if bias:
            self.bias = Parameter(init.uniform_fan_in(shape[:1], fan_in, generator))

    def forward(self, x: Any) -> Tensor:
        return conv2d(
            x, self.weight, self.bias, stride=self.stride, padding=self.padding, relu=self.relu
        )


class BatchNorm(Module):
    """Each channel shifted to mean 0 and scaled to variance 1, then times ``weight`` plus ``bias``.

    Shapes: (..., channels) -> (..., channels). In training mode mean and variance are the batch's,
    over all axes but the last, and the buffers ``running_mean`` and ``running_variance`` move
    towards them: new = (1 - momentum) old + momentum batch. In evaluation mode the buffers are
    used, and an example's output no longer depends on its neighbours: a frozen encoder must be in
    evaluation mode when it is probed. As in torch, the batch is scaled by the biased variance (/ n)
    and the buffer collects the unbiased one (/ (n - 1)). ``relu``: followed by relu, which costs
    less than a relu of its own. (Ioffe and Szegedy 2015.)

    Raises ValueError in training mode when a channel has a single value, whose variance says
    nothing.
    """

    def __init__(
        self, channels: int, eps: float = 1e-5, momentum: float = 0.1, *, relu: bool = False
    ):
        self.eps, self.momentum, self.relu = eps, momentum, relu
        self.weight = Parameter(np.ones(channels, np.float32))
        self.bias = Parameter(np.zeros(channels, np.float32))
        self.running_mean = Tensor(np.zeros(channels, np.float32))
        self.running_variance = Tensor(np.ones(channels, np.float32))

    def forward(self, x: Any) -> Tensor:
        x = beside(x, self.weight.array)
        count = int(np.prod(x.shape[:-1]))
        if self.training and count < 2:
            raise ValueError(
                f"BatchNorm in training mode needs two values or more in each channel, got the "
                f"shape {tuple(x.shape)}: use a larger batch, or model.eval()"
            )
        if not isinstance(self.weight.array, np.ndarray):
            return gpu.batch_norm(
                x,
                self.weight,
                self.bias,
                mean=self.running_mean.array,
                variance=self.running_variance.array,
                training=self.training,
                momentum=self.momentum,
                eps=self.eps,
                relu=self.relu,
            )
        y = self._by_the_batch(x, count) if self.training else self._by_the_buffers(x)
        return ops.relu(y) if self.relu else y

    def _by_the_buffers(self, x: Any) -> Tensor:
        scale = self.weight / ops.sqrt(self.running_variance + self.eps)
        return x * scale + (self.bias - self.running_mean * scale)

    def _by_the_batch(self, x: Any, count: int) -> Tensor:
        axes = tuple(range(len(x.shape) - 1))
        mean = ops.mean(x, axis=axes)
        centered = x - mean
        variance = ops.mean(centered * centered, axis=axes)
        self._remember(mean.array, variance.array * (count / (count - 1)))
        return centered * (self.weight / ops.sqrt(variance + self.eps)) + self.bias

    def _remember(self, mean: Any, variance: Any) -> None:
        for buffer, batch in ((self.running_mean, mean), (self.running_variance, variance)):
            moved = (1 - self.momentum) * buffer.array + self.momentum * batch
            buffer.array = namespace(moved).astype(moved, buffer.dtype)


class MaxPool2d(Module):
    """The largest value of every window; ``stride`` is the window's size if not given."""

    def __init__(self, kernel: int, *, stride: int | None = None, padding: int = 0):
        self.kernel, self.stride, self.padding = kernel, stride, padding

    def forward(self, x: Any) -> Tensor:
        return max_pool2d(x, self.kernel, stride=self.stride, padding=self.padding)


class AvgPool2d(Module):
    """The mean of every window, the zeros of the border included; ``stride`` as in MaxPool2d."""

    def __init__(self, kernel: int, *, stride: int | None = None, padding: int = 0):
        self.kernel, self.stride, self.padding = kernel, stride, padding

    def forward(self, x: Any) -> Tensor:
        return avg_pool2d(x, self.kernel, stride=self.stride, padding=self.padding)


class GlobalAvgPool2d(Module):
    """The mean over all places: (batch, height, width, channels) -> (batch, channels)."""

    def forward(self, x: Any) -> Tensor:
        return ops.mean(x, axis=(1, 2))
