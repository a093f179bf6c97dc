"""Adapters: small networks behind the layers of a frozen one, each nearly the identity at first.

Houlsby et al. (2019), Parameter-efficient transfer learning for NLP; for images Rebuffi, Bilen and
Vedaldi (2017). Lecture 11. Behind attention and behind the MLP of each block h becomes
h + up(gelu(down(h))), with a narrow middle. Not here: the paper's LayerNorms, which are trained
there as well, adapters in parallel, and their fusion.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from minissl.adapt.replacing import matching, put_around
from minissl.adapt.trained import SmallPart, TrainedSettings
from minissl.autograd import operations as ops
from minissl.autograd.tensor import Tensor
from minissl.nn import init
from minissl.nn.layers import activation_function
from minissl.nn.module import Module, Parameter
from minissl.options import option

OUTPUTS = r"(attention|mlp)\.output$"  # what a block adds to its input
NEARLY_NOTHING = 1e-3  # the deviation of the first weights


class Adapter(Module):
    """``inner``, frozen, and behind it h + up(gelu(down(h))) of what it gives.

    The last axis of what ``inner`` gives is its width, as of a Linear or a Conv2d: (..., width).
    """

    def __init__(self, inner: Module, width: int, middle: int, *, generator: np.random.Generator):
        self.inner = inner.freeze()
        self.activation = activation_function("gelu")
        self.down = Parameter(init.normal((middle, width), NEARLY_NOTHING, generator))
        self.down_bias = Parameter(np.zeros(middle, np.float32))
        self.up = Parameter(init.normal((width, middle), NEARLY_NOTHING, generator))
        self.up_bias = Parameter(np.zeros(width, np.float32))

    def forward(self, *inputs: Any, **settings: Any) -> Tensor:
        h = self.inner(*inputs, **settings)
        middle = self.activation(ops.linear(h, self.down, self.down_bias))
        return h + ops.linear(middle, self.up, self.up_bias)


@dataclass(frozen=True, kw_only=True)
class AdapterSettings(TrainedSettings):
    """Small networks between frozen layers, and a new layer on top."""

    middle: int = option(16, "width of each adapter's middle", least=1, most=1 << 16)
    where: str = option(
        "", "layers that get one behind them, a regular expression; empty: the outputs of "
        "attention and MLP, or else all of them",
    )  # fmt: skip
    learning_rate: float = option(
        3e-3, "at its highest, after a warm-up of a twentieth", above=0, most=100
    )


def add_adapters(
    model: Module, middle: int, *, where: str = "", generator: np.random.Generator
) -> list[str]:
    """Freeze the model, and put an ``Adapter`` behind its layers whose path matches ``where``.

    ``where``: as for ``add_lora``; empty: what attention and MLPs give, if the model has any,
    otherwise every Linear and Conv2d. Returns the paths. Raises ValueError, with the paths that
    there are, when none matches.
    """
    layers = matching(model, where, OUTPUTS, "an adapter could stand behind")
    model.freeze()

    def make(layer: Any) -> Module:
        adapter = Adapter(layer, layer.weight.shape[0], middle, generator=generator)
        return adapter.astype(layer.weight.numpy().dtype)

    return put_around(model, layers, make)


class Adapters(SmallPart):
    """A form's layer on a frozen encoder with adapters in it."""

    Settings = AdapterSettings

    @classmethod
    def open_up(cls, base: Any, settings: AdapterSettings, generator: np.random.Generator) -> Any:
        """Freeze everything, and put the adapters in."""
        add_adapters(base.encoder, settings.middle, where=settings.where, generator=generator)
        return base


ADAPTATION = Adapters
