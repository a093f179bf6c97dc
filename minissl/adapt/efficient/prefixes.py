"""Prefix tuning: keys and values, learned, before those of every text and in every layer.

Li and Liang (2021), Prefix-tuning: optimizing continuous prompts for generation; for encoders Liu
et al. (2022, P-tuning v2). Lecture 11. A prefix is a cache that was never computed from a text:
attention takes it as the keys and values of earlier tokens. A text keeps the positions that it has
without. Not here: a prefix for cross-attention; and the small network of a reparametrized one is
kept, where the paper drops it after the training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from minissl.adapt.replacing import OTHERWISE, replace_modules
from minissl.adapt.token_table import random_tokens
from minissl.adapt.trained import SmallPart, TrainedSettings
from minissl.autograd import operations as ops
from minissl.autograd.tensor import Tensor, as_array
from minissl.nn import init
from minissl.nn.attention import MultiHeadAttention, split_heads
from minissl.nn.evaluating import evaluating
from minissl.nn.layers import Linear
from minissl.nn.module import Module, Parameter
from minissl.options import option
from minissl.pretrain.layered import Layered


class Prefix:
    """What attention takes for a cache: ``append`` puts the prefix before all keys and values.

    key, value: (1, heads, prefix, head_dim). ``then``: a cache of the tokens so far, or None.
    """

    def __init__(self, key: Tensor, value: Tensor, then: Any = None):
        self.key, self.value, self.then = key, value, then

    def append(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values (batch, heads, time, head_dim) of new tokens -> of all, prefix first."""
        if self.then is not None:
            key, value = self.then.append(key, value)
        return self._before(self.key, key), self._before(self.value, value)

    def _before(self, own: Tensor, others: Tensor) -> Tensor:
        own = ops.broadcast_to(own, (others.shape[0], *own.shape[1:]))
        return ops.concatenate([own, others], axis=2)


class Words(Module):
    """Where a reparametrized prefix comes from: a vector for each place, and a layer on it.

    tanh(W e + b): (prefix, middle), the same for all layers of the network.
    """

    def __init__(self, prefix: int, width: int, middle: int, *, generator: np.random.Generator):
        self.vectors = Parameter(init.normal((prefix, width), 1.0, generator))
        self.hidden = Linear(width, middle, generator=generator)

    def forward(self) -> Tensor:
        return ops.tanh(self.hidden(self.vectors))


class PrefixedAttention(Module):
    """Attention ``inner``, frozen, before whose keys and values a learned prefix stands.

    ``key``, ``value``: (prefix, width) Parameters, as many numbers as a text's; or, with ``words``,
    a Linear on these, which gives both.
    """

    def __init__(
        self, inner: MultiHeadAttention, prefix: int, *, words: Words | None = None,
        generator: np.random.Generator,
    ):  # fmt: skip
        self.inner: Any = inner.freeze()
        width = inner.key.weight.shape[0]
        self.words = words
        if words is None:
            self.key = Parameter(init.normal((prefix, width), 1.0, generator))
            self.value = Parameter(init.normal((prefix, width), 0.02, generator))
        else:
            middle = words.hidden.weight.shape[0]
            self.both = Linear(middle, 2 * width, generator=generator)
        self.prefix = prefix

    def keys_and_values(self) -> tuple[Tensor, Tensor]:
        """Of the prefix: (1, heads, prefix, head_dim) each."""
        if self.words is None:
            parts = [self.key, self.value]
        else:
            both = self.both(self.words())
            width = both.shape[1] // 2
            parts = [both[:, :width], both[:, width:]]
        heads = self.inner.num_heads
        key, value = (split_heads(ops.expand_dims(p, axis=0), num_heads=heads) for p in parts)
        return key, value

    def forward(
        self, x: Tensor, memory: Tensor | None = None, *, key_lengths: Any = None,
        cache: Any = None, **settings: Any,
    ) -> Tensor:  # fmt: skip
        return self.inner(x, memory, **self._with_prefix(key_lengths, cache), **settings)

    def weights(
        self, x: Tensor, memory: Tensor | None = None, *, key_lengths: Any = None,
        cache: Any = None, **settings: Any,
    ) -> np.ndarray:  # fmt: skip
        """As of attention; the first columns are those of the prefix."""
        return self.inner.weights(x, memory, **self._with_prefix(key_lengths, cache), **settings)

    def _with_prefix(self, key_lengths: Any, cache: Any) -> dict[str, Any]:
        lengths = None if key_lengths is None else as_array(key_lengths) + self.prefix
        return {"key_lengths": lengths, "cache": Prefix(*self.keys_and_values(), cache)}


@dataclass(frozen=True, kw_only=True)
class PrefixSettings(TrainedSettings):
    """Keys and values before every text, in every layer, and a new layer on top."""

    prefix: int = option(10, "places before each text, in every layer", least=1, most=1 << 16)
    begin: str = option(
        "words", "the first keys and values: those of random words, or random numbers; with "
        "--reparametrize always the latter", choices=("words", "random"),
    )  # fmt: skip
    reparametrize: bool = option(
        False, "learn the prefix as what a small network gives, as the paper did"
    )
    middle: int = option(64, "width of that network", least=1, most=1 << 16)
    learning_rate: float = option(
        0.01, "at its highest, after a warm-up of a twentieth", above=0, most=100
    )


def add_prefixes(
    model: Module, prefix: int, *, middle: int = 0, generator: np.random.Generator
) -> list[PrefixedAttention]:
    """Freeze the model, and put a prefix into every self-attention. Returns what was put in.

    ``middle``: of the small network that gives the prefixes of all layers; 0: they are parameters
    themselves. Raises ValueError for a model without attention.
    """
    model.freeze()
    words: list[Words] = []
    added: list[PrefixedAttention] = []

    def make(path: str, module: Module) -> Module | None:
        if not isinstance(module, MultiHeadAttention) or path.endswith("cross_attention"):
            return None
        if middle and not words:
            width = module.key.weight.shape[0]
            words.append(Words(prefix, width, middle, generator=generator))
        one = PrefixedAttention(
            module, prefix, words=words[0] if words else None, generator=generator
        )
        added.append(one)
        one.astype(module.key.weight.numpy().dtype)
        return one

    replace_modules(model, make)
    if not added:
        raise ValueError(
            f"this network has no attention that a prefix could stand before: {OTHERWISE}"
        )
    return added


class Prefixes(SmallPart):
    """A form's layer on a frozen Transformer with a prefix in every layer."""

    Settings = PrefixSettings
    needs = Layered

    @classmethod
    def open_up(cls, base: Any, settings: PrefixSettings, generator: np.random.Generator) -> Any:
        """Freeze everything, and put the prefixes in.

        Raises ValueError where the words that a prefix begins as are more than can be read at once.
        """
        base.model.freeze()
        middle = settings.middle if settings.reparametrize else 0
        added = add_prefixes(base.encoder, settings.prefix, middle=middle, generator=generator)
        if settings.begin == "words" and not middle:
            if settings.prefix > base.longest:
                raise ValueError(
                    f"prefix is {settings.prefix}, and this network reads {base.longest} words at "
                    "once, whose keys and values it could begin as: give fewer, or begin=random"
                )
            begin_as_words(base, added, random_tokens(base, settings.prefix, generator))
        return base


def begin_as_words(base: Any, added: Sequence[PrefixedAttention], words: Sequence[int]) -> None:
    """Give each prefix the keys and values that these tokens have there, without any prefix."""

    def remember(one: PrefixedAttention, x: Tensor, *inputs: Any, **settings: Any) -> Tensor:
        one.key.array, one.value.array = one.inner.key(x).array[0], one.inner.value(x).array[0]
        return one.inner(x, *inputs, **settings)

    for one in added:
        one.forward = partial(remember, one)  # type: ignore[method-assign]
    with evaluating(base.model):
        base.each(base.padded([words]))
    for one in added:
        del one.forward  # that of the class is in force again


ADAPTATION = Prefixes
