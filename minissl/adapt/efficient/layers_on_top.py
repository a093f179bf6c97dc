"""New layers on top of a frozen network: what it makes of each token goes through a new block.

Peters et al. (2018, ELMo) put an LSTM on frozen states; here it is a Transformer's block, which
reads in both directions. Lecture 11. Nothing below has a gradient, so a step is a forward pass of
the old network and a step of the new part. What has one vector for each example, as a network of
images, gets a block on a sequence of length one: an MLP. Not here: states of several layers at
once, which ``mixture`` mixes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from minissl.adapt.mixing import put_before
from minissl.adapt.trained import SmallPart, TrainedSettings
from minissl.autograd import operations as ops
from minissl.autograd.tensor import Tensor
from minissl.nn.module import Module
from minissl.nn.transformer import Transformer, TransformerConfig
from minissl.options import option
from minissl.pretrain.layered import Layered
from minissl.pretrain.method import Represents


class Stack(Module):
    """A frozen network and the new layers above it."""

    def __init__(self, below: Module, above: Transformer):
        self.below, self.above = below, above


class StatesAbove(Layered):
    """Put before the class of a method of texts: its states go through the new layers."""

    stack: Stack

    @property
    def encoder(self) -> Module:
        """Both."""
        return self.stack

    def each(self, batch: Any, generator: np.random.Generator | None = None) -> Tensor:
        """The states of the new layers: (batch, time, width)."""
        inside = Tensor(batch[-1] > 0).numpy()
        lengths = inside.shape[1] - np.argmax(inside[:, ::-1], axis=1)
        return self.stack.above(super().each(batch, generator), key_lengths=lengths)


class VectorAbove(Represents):
    """Put before the class of any other method: its vectors go through the new layers."""

    stack: Stack

    @property
    def encoder(self) -> Module:
        """Both."""
        return self.stack

    def encode(self, batch: Any, generator: np.random.Generator | None = None) -> Tensor:
        """As sequences of one token each: (batch, width)."""
        below = super().encode(batch, generator)  # type: ignore[safe-super]
        return ops.squeeze(self.stack.above(ops.expand_dims(below, axis=1)), axis=1)


@dataclass(frozen=True, kw_only=True)
class LayersOnTopSettings(TrainedSettings):
    """New Transformer blocks above a frozen network, and a new layer on them."""

    layers: int = option(1, "new blocks", least=1, most=1000)
    heads: int = option(4, "attention heads of each; must divide the width", least=1, most=1 << 10)
    learning_rate: float = option(
        1e-3, "at its highest, after a warm-up of a twentieth", above=0, most=100
    )


class LayersOnTop(SmallPart):
    """A form's layer on new blocks on a frozen encoder."""

    Settings = LayersOnTopSettings

    @classmethod
    def open_up(
        cls, base: Any, settings: LayersOnTopSettings, generator: np.random.Generator
    ) -> Any:
        """Freeze everything, and put the new blocks above. ValueError for heads that do not fit."""
        if base.width % settings.heads:
            raise ValueError(
                f"heads is {settings.heads}, which does not divide {base.width}, the width of what "
                "this network gives: give another number"
            )
        base.model.freeze()
        config = TransformerConfig(
            num_layers=settings.layers, width=base.width, num_heads=settings.heads
        )
        above = Transformer(config, generator=generator)
        above.astype(base.model.parameters()[0].numpy().dtype)
        mixin = StatesAbove if isinstance(base, Layered) else VectorAbove
        return put_before(base, mixin, stack=Stack(base.encoder, above))


ADAPTATION = LayersOnTop
