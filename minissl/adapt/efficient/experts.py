"""Several pairs of thin matrices, and a gate that chooses for each token: LoRA experts.

Shazeer et al. (2017) and Fedus, Zoph and Shazeer (2022) for the gate and its balance, Hu et al.
(2021) for the thin matrices; together Zadouri et al. (2023), Pushing mixture of experts to the
limit. Lecture 11. Not here: sending tokens to an expert's own processor, a capacity, noise in the
gate. What is added depends on the token, so it cannot be merged into the weights. The balance
counts all that a layer reads, padding too.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from minissl.adapt.efficient.lora import ATTENTION, matrix_of
from minissl.adapt.replacing import matching, put_around
from minissl.adapt.trained import SmallPart, TrainedSettings
from minissl.autograd import operations as ops
from minissl.autograd.arrays import Array, namespace
from minissl.autograd.tensor import Tensor
from minissl.nn import init
from minissl.nn.layers import Linear
from minissl.nn.module import Module, Parameter
from minissl.optim.optimizer import require_number
from minissl.options import option


class Experts(Module):
    """A frozen Linear ``inner``, and beside it the updates of some experts, weighed by a gate.

    y = inner(x) + (alpha / rank) Σ g_e(x) up_e down_e x, where g is the softmax of a Linear on x;
    of its numbers the ``top`` largest are kept and divided by their sum. A single one stays as it
    is (Fedus et al.): divided by itself it would be 1 and teach the gate nothing. Shapes: (..., in)
    -> (..., out); ``down`` (experts · rank, in) and ``up`` (out, experts · rank) are those of all
    experts, one after the other. ``balance`` is that of the last call, see ``load_balance``. Raises
    ValueError for a ``top`` or a rank that is out of range.
    """

    def __init__(
        self, inner: Linear, rank: int, *, experts: int, top: int, alpha: float = 16.0,
        generator: np.random.Generator,
    ):  # fmt: skip
        rows, columns = matrix_of(inner, rank)
        require_top(top, experts)
        self.inner: Any = inner.freeze()
        self.experts, self.rank, self.top = experts, rank, top
        self.scale = require_number("alpha", alpha) / rank
        self.down = Parameter(init.uniform_fan_in((experts * rank, columns), columns, generator))
        self.up = Parameter(np.zeros((rows, experts * rank), np.float32))
        self.gate = Linear(columns, experts, bias=False, init_std=0.02, generator=generator)
        self.balance: list[Tensor] = []  # no buffer: it is not saved
        self.astype(inner.weight.numpy().dtype)

    def forward(self, x: Any) -> Tensor:
        probabilities = ops.softmax(self.gate(x), axis=-1)
        chosen = largest(probabilities.array, self.top)
        self.balance = [load_balance(probabilities, chosen)]
        weights = probabilities * chosen
        if self.top > 1:
            weights = weights / ops.sum(weights, axis=-1, keepdims=True)
        middle = ops.linear(x, self.down)  # of all experts: (..., experts · rank)
        each = ops.reshape(middle, (*middle.shape[:-1], self.experts, self.rank))
        each = each * ops.expand_dims(weights, axis=-1)
        return self.inner(x) + ops.linear(ops.reshape(each, middle.shape), self.up) * self.scale


def require_top(top: int, experts: int) -> None:
    """Raise ValueError unless a token can go to so many experts."""
    if not 1 <= top <= experts:
        raise ValueError(f"top must be from 1 to {experts}, the number of experts, got {top}")


def largest(values: Array, count: int) -> Array:
    """1 at the ``count`` largest of the last axis, 0 elsewhere; of equal ones at the first."""
    one, others = values[..., :, None], values[..., None, :]
    places = np.arange(values.shape[-1])
    earlier = namespace(values).asarray(places[None, :] < places[:, None], device=values.device)
    before = (others > one) | ((others == one) & earlier)
    return namespace(values).astype(before.sum(-1) < count, values.dtype)


def load_balance(probabilities: Tensor, chosen: Array) -> Tensor:
    """experts · Σ f_e P_e: 1 where all experts are used alike, ``experts`` where one does it all.

    f_e is the share of the choices that fell on expert e, which has no gradient, and P_e the mean
    of its probability, which has: Fedus, Zoph and Shazeer (2022), equation 4. Shapes: both
    (..., experts).
    """
    experts = probabilities.shape[-1]
    flat = ops.reshape(probabilities, (-1, experts))
    counts = chosen.reshape((-1, experts)).sum(0)
    share = counts / counts.sum()
    return ops.sum(ops.mean(flat, axis=0) * share) * experts


@dataclass(frozen=True, kw_only=True)
class ExpertSettings(TrainedSettings):
    """Several pairs of thin matrices beside frozen weights, a gate, and a new layer on top."""

    experts: int = option(4, "pairs of thin matrices beside each layer", least=1, most=1 << 10)
    top: int = option(2, "of them that a token goes to", least=1, most=1 << 10)
    rank: int = option(4, "of each expert's update", least=1, most=1 << 16)
    alpha: float = option(16.0, "the update is multiplied by alpha / rank", above=0, most=1e6)
    balance: float = option(
        0.01, "weight of the loss that keeps all experts in use", least=0, most=1000
    )
    where: str = option(
        "", "layers, a regular expression; empty: queries and values, or else every Linear"
    )
    learning_rate: float = option(
        3e-3, "at its highest, after a warm-up of a twentieth", above=0, most=100
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        require_top(self.top, self.experts)


def add_experts(
    model: Module, rank: int, *, experts: int, top: int, alpha: float = 16.0, where: str = "",
    generator: np.random.Generator,
) -> list[str]:  # fmt: skip
    """Freeze the model, and put ``Experts`` around its Linears whose path matches ``where``.

    As ``add_lora``, but a Conv2d has no tokens that a gate could tell apart. Returns the paths.
    """
    layers = matching(model, where, ATTENTION, "experts could stand beside", Linear)
    require_top(top, experts)
    for layer in layers:  # all of them, before anything is changed
        matrix_of(layer, rank)
    model.freeze()
    make = partial(
        Experts, rank=rank, experts=experts, top=top, alpha=alpha, generator=generator
    )  # fmt: skip
    return put_around(model, layers, make)


class LoRAExperts(SmallPart):
    """A form's layer on a frozen encoder with experts beside its layers."""

    Settings = ExpertSettings

    @classmethod
    def open_up(cls, base: Any, settings: ExpertSettings, generator: np.random.Generator) -> Any:
        """Freeze everything, and put the experts beside the chosen layers."""
        add_experts(
            base.encoder, settings.rank, experts=settings.experts, top=settings.top,
            alpha=settings.alpha, where=settings.where, generator=generator,
        )  # fmt: skip
        return base

    def loss(self, batch: tuple[Any, Any], generator: np.random.Generator) -> Tensor:
        """The form's, plus ``balance`` times the mean of the layers' load balances."""
        loss = super().loss(batch, generator)
        balance = ops.mean(ops.stack(self.balances())) * self.settings.balance
        return loss + balance.astype(loss.dtype)

    def balances(self) -> list[Tensor]:
        """Of each layer, at its last call."""
        layers = [m for _, m in self.model.named_modules() if isinstance(m, Experts)]
        return [balance for layer in layers for balance in layer.balance]

    def evaluate(self) -> dict[str, float]:
        """Also the balance of the layers on the last held-out batch: 1 is even."""
        found = super().evaluate()
        if not found:
            return found
        return found | {"load_balance": float(np.mean([one.item() for one in self.balances()]))}


ADAPTATION = LoRAExperts
