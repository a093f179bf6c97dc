"""LoRA: the weights stay; beside some of them a product of two thin matrices is learned.

Hu et al. (2021), LoRA: low-rank adaptation of large language models. Lecture 11. A weight matrix W
(out, in) becomes W + (alpha / rank) · up · down with up (out, rank) starting at zero, so that
nothing has changed before the first step. Not here: embeddings, dropout on the input of ``down``,
and ranks that differ between layers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from minissl.adapt.replacing import matching, put_around, replace_modules
from minissl.adapt.trained import SmallPart, TrainedSettings
from minissl.autograd import operations as ops
from minissl.autograd.fused.convolution import conv2d
from minissl.autograd.tensor import Tensor
from minissl.nn import init
from minissl.nn.convolution import Conv2d
from minissl.nn.layers import Linear
from minissl.nn.module import Module, Parameter
from minissl.optim.optimizer import require_number
from minissl.options import is_whole, option

ATTENTION = r"(query|value)$"  # what the paper changes in a Transformer


class LoRA(Module):
    """A Linear or Conv2d ``inner``, frozen, and the learned update of its weight.

    The weight of a convolution (out, kernel, kernel, in) counts as a matrix of ``out`` rows. Shapes
    of input and output are those of the inner module. Raises TypeError for another kind of module,
    ValueError for a rank that is larger than both sides of the matrix.
    """

    def __init__(
        self,
        inner: Linear | Conv2d,
        rank: int,
        *,
        alpha: float = 16.0,
        generator: np.random.Generator,
    ):
        rows, columns = matrix_of(inner, rank)
        require_number("alpha", alpha)
        self.inner: Any = inner.freeze()
        self.scale = alpha / rank
        self.down = Parameter(init.uniform_fan_in((rank, columns), columns, generator))
        self.up = Parameter(np.zeros((rows, rank), np.float32))
        self.astype(inner.weight.numpy().dtype)

    def forward(self, x: Any) -> Tensor:
        """inner(x) + scale · up · (down · x), shapes (..., in) -> (..., out).

        Two thin products: no matrix of the weight's size is made. ``scale`` is alpha / rank. Of a
        Conv2d it is ``conv2d`` with weight + ``update()`` and all else as the layer has it.
        """
        inner = self.inner
        if isinstance(inner, Linear):  # two thin products: cheaper than a matrix of W's size
            return inner(x) + ops.linear(ops.linear(x, self.down), self.up) * self.scale
        return conv2d(
            x, inner.weight + self.update(), inner.bias,
            stride=inner.stride, padding=inner.padding, relu=inner.relu,
        )  # fmt: skip

    def update(self) -> Tensor:
        """What is added to the weight: (alpha / rank) · up · down, in its shape."""
        return (ops.matmul(self.up, self.down) * self.scale).reshape(*self.inner.weight.shape)


def matrix_of(layer: Any, rank: int) -> tuple[int, int]:
    """Rows and columns of a layer's weight, where an update of this rank can be made for it."""
    if not isinstance(layer, Linear | Conv2d):
        raise TypeError(f"LoRA changes a Linear or a Conv2d, got a {type(layer).__name__}")
    rows, columns = layer.weight.shape[0], math.prod(layer.weight.shape[1:])
    if not is_whole(rank) or not 1 <= rank <= max(rows, columns):
        raise ValueError(f"rank must be from 1 to {max(rows, columns)} here, got {rank}")
    return rows, columns


def add_lora(
    model: Module,
    rank: int,
    *,
    alpha: float = 16.0,
    where: str = "",
    generator: np.random.Generator,
) -> list[str]:
    """Freeze the model, and put ``LoRA`` around its layers whose path matches ``where``.

    ``where``: a regular expression, searched in paths such as "blocks.0.attention.query". Empty:
    queries and values, if the model has any, otherwise every Linear and Conv2d. Returns the paths.
    Raises ValueError, with the paths that there are, when none matches.
    """
    layers = matching(model, where, ATTENTION, "LoRA could stand beside")
    for layer in layers:  # all of them, before anything is changed
        matrix_of(layer, rank)
    require_number("alpha", alpha)
    model.freeze()
    make = partial(LoRA, rank=rank, alpha=alpha, generator=generator)
    return put_around(model, layers, make)


def merge_lora(model: Module) -> list[str]:
    """Add every update to its weight, and put the plain layers back. Returns their paths."""

    def make(path: str, module: Module) -> Module | None:
        if not isinstance(module, LoRA):
            return None
        inner: Any = module.inner
        inner.weight.array = inner.weight.array + module.update().array
        return inner

    return replace_modules(model, make)


@dataclass(frozen=True, kw_only=True)
class LoRASettings(TrainedSettings):
    """Thin matrices beside frozen weights, and a new linear layer on top."""

    rank: int = option(4, "of the update of each weight matrix", least=1, most=1 << 16)
    alpha: float = option(16.0, "the update is multiplied by alpha / rank", above=0, most=1e6)
    where: str = option(
        "", "layers, a regular expression; empty: queries and values, or else all of them"
    )
    learning_rate: float = option(
        3e-3, "at its highest, after a warm-up of a twentieth", above=0, most=100
    )


class LoRAAdaptation(SmallPart):
    """A form's layer on an encoder whose weights move along thin matrices only."""

    Settings = LoRASettings

    @classmethod
    def open_up(cls, base: Any, settings: LoRASettings, generator: np.random.Generator) -> Any:
        """Freeze everything, and put the thin matrices beside the chosen layers."""
        add_lora(
            base.encoder, settings.rank, alpha=settings.alpha, where=settings.where,
            generator=generator,
        )  # fmt: skip
        return base

    def merge(self) -> None:
        """Add the thin products to the weights: the same function, without anything beside it."""
        merge_lora(self.base.encoder)


ADAPTATION = LoRAAdaptation
