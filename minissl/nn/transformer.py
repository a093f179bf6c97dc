"""The Transformer: encoder, decoder or encoder-decoder, by the masks and the memory it is given.

    encoder   transformer(x, key_lengths=lengths)         every token sees every token
    decoder   transformer(x, causal=True)                 every token sees itself and the past
    both      memory = encoder(source)                    source sees all of the source,
              decoder(target, memory, causal=True)        target sees its past and all of the source

Vaswani et al. (2017). Lecture 06.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from minissl.autograd.recompute import recompute
from minissl.autograd.tensor import Tensor
from minissl.nn.attention import KeyValueCache, MultiHeadAttention
from minissl.nn.layers import MLP, Dropout, LayerNorm
from minissl.nn.module import Module


@dataclass(frozen=True, kw_only=True)
class TransformerConfig:
    """The sizes and choices of a stack of blocks. Raises ValueError for sizes that do not fit."""

    num_layers: int  # blocks, one above the other
    width: int  # numbers per token, everywhere between the blocks ("d_model")
    num_heads: int  # attention patterns per layer; each works on width / num_heads numbers
    hidden_width: int | None = None  # inside each MLP; None: 4 · width, as in every GPT and BERT
    cross_attention: bool = False  # blocks also look at a memory: the decoder of a pair
    norm_first: bool = True  # True: x + f(norm(x)) (GPT-2); False: norm(x + f(x)) (GPT, BERT)
    activation: str = "gelu"  # "gelu" (tanh formula), "gelu_exact", "relu": see nn.layers
    bias: bool = True  # whether the Linears have one
    dropout: float = 0.0  # of each branch before it is added, in training (and of embeddings)
    attention_dropout: float = 0.0  # of attention weights, in training
    norm_eps: float = 1e-5  # added to the variance in every LayerNorm
    init_std: float = 0.02  # of the initial weights; see ``output_init_std``
    recompute: bool = False  # in training, each block's activations are computed twice, not kept

    def __post_init__(self) -> None:
        sizes = (self.num_layers, self.width, self.num_heads, self.mlp_width)
        if min(sizes) < 1 or self.width % self.num_heads:
            raise ValueError(
                "layers, width, heads and hidden_width must be positive and num_heads must divide "
                f"width; got {self.num_layers} layers, width {self.width}, {self.num_heads} heads, "
                f"hidden_width {self.mlp_width}"
            )

    @property
    def mlp_width(self) -> int:
        """The width inside each MLP."""
        return 4 * self.width if self.hidden_width is None else self.hidden_width

    @property
    def output_init_std(self) -> float:
        """Of the weights that write into x: 2 · num_layers branches add up (GPT-2, section 2.3)."""
        return self.init_std / math.sqrt(2 * self.num_layers)

    def num_parameters(self) -> int:
        """Of the whole stack, without building it: L (12 d² + 13 d) + 2 d for GPT-2's choices."""
        d, hidden, bias = self.width, self.mlp_width, int(self.bias)
        attention = 4 * (d * d + d * bias)
        mlp = 2 * d * hidden + (hidden + d) * bias
        norm = 2 * d
        block = attention + mlp + 2 * norm + self.cross_attention * (attention + norm)
        return self.num_layers * block + self.norm_first * norm


class Block(Module):
    """Tokens look at each other (attention), then each thinks for itself (MLP).

    Shapes: x (batch, time, width), memory (batch, memory_time, width) -> (batch, time, width).
    """

    def __init__(self, config: TransformerConfig, *, generator: np.random.Generator):
        def attention() -> MultiHeadAttention:
            return MultiHeadAttention(
                config.width,
                config.num_heads,
                dropout=config.attention_dropout,
                bias=config.bias,
                init_std=config.init_std,
                output_init_std=config.output_init_std,
                generator=generator,
            )

        def norm() -> LayerNorm:
            return LayerNorm(config.width, config.norm_eps)

        self.norm_first = config.norm_first
        self.attention, self.attention_norm = attention(), norm()
        self.cross_attention: MultiHeadAttention | None = None
        if config.cross_attention:
            self.cross_attention, self.cross_attention_norm = attention(), norm()
        self.mlp = MLP(
            config.width,
            config.mlp_width,
            config.width,
            activation=config.activation,
            bias=config.bias,
            init_std=config.init_std,
            output_init_std=config.output_init_std,
            generator=generator,
        )
        self.mlp_norm = norm()
        self.dropout = Dropout(config.dropout)

    def forward(
        self,
        x: Tensor,
        memory: Tensor | None = None,
        *,
        causal: bool = False,
        key_lengths: Any = None,
        memory_lengths: Any = None,
        cache: KeyValueCache | None = None,
        generator: np.random.Generator | None = None,
    ) -> Tensor:
        """Two branches, each added to x: attention, then the MLP; see the config's ``norm_first``.

        x + f(norm(x)) with ``norm_first``, else norm(x + f(x)); in training the output of each
        branch passes ``dropout`` before it is added. The parts are ``attention_norm`` and
        ``attention``, ``mlp_norm`` and ``mlp``; between them, if ``cross_attention`` is not None,
        ``cross_attention_norm`` and ``cross_attention``, whose keys and values are the memory.

        ``causal``, ``key_lengths``, ``cache``: of the self-attention, see MultiHeadAttention;
        ``memory_lengths``: the key_lengths of the memory. ``generator``: the randomness of all
        dropout, the attentions' included.
        """

        def add(x: Tensor, branch: Callable[[Tensor], Tensor], norm: LayerNorm) -> Tensor:
            if self.norm_first:
                return x + self.dropout(branch(norm(x)), generator)
            return norm(x + self.dropout(branch(x), generator))

        def look_around(x: Tensor) -> Tensor:
            return self.attention(
                x, causal=causal, key_lengths=key_lengths, cache=cache, generator=generator
            )

        def look_at_memory(x: Tensor) -> Tensor:
            assert self.cross_attention is not None
            return self.cross_attention(x, memory, key_lengths=memory_lengths, generator=generator)

        x = add(x, look_around, self.attention_norm)
        if self.cross_attention is not None:
            x = add(x, look_at_memory, self.cross_attention_norm)
        return add(x, self.mlp, self.mlp_norm)


class Transformer(Module):
    """A stack of Blocks; with pre-norm, a last LayerNorm above them.

    Shapes: x (batch, time, width), memory (batch, memory_time, width) -> (batch, time, width).
    Token and position vectors are already in x: see GPT for how they come in.
    """

    def __init__(self, config: TransformerConfig, *, generator: np.random.Generator):
        self.config = config
        self.blocks = [Block(config, generator=generator) for _ in range(config.num_layers)]
        self.final_norm: LayerNorm | None = None
        if config.norm_first:  # the sum of all branches was never normalised
            self.final_norm = LayerNorm(config.width, config.norm_eps)

    def forward(
        self,
        x: Tensor,
        memory: Tensor | None = None,
        *,
        causal: bool = False,
        key_lengths: Any = None,
        memory_lengths: Any = None,
        caches: Sequence[KeyValueCache] | None = None,
        generator: np.random.Generator | None = None,
    ) -> Tensor:
        """``key_lengths``, ``memory_lengths``: (batch,) integers, how many tokens of x and of the
        memory are not padding. ``caches``: one per block, holding the tokens before x.

        Raises ValueError for a memory without cross-attention, and the other way round.
        """
        if (memory is not None) != self.config.cross_attention:
            raise ValueError(
                "a memory and cross_attention=True in the config belong together: got "
                f"memory {'of shape ' + str(memory.shape) if memory is not None else None}, "
                f"cross_attention={self.config.cross_attention}"
            )
        inputs = () if memory is None else (memory,)
        for i, block in enumerate(self.blocks):
            run = partial(
                block,
                causal=causal,
                key_lengths=key_lengths,
                memory_lengths=memory_lengths,
                cache=None if caches is None else caches[i],
            )
            if self.config.recompute and self.training:
                x = recompute(run, x, *inputs, generator=generator)
            else:
                x = run(x, *inputs, generator=generator)
        return x if self.final_norm is None else self.final_norm(x)

    def states(
        self,
        x: Tensor,
        *,
        causal: bool = False,
        key_lengths: Any = None,
        generator: np.random.Generator | None = None,
    ) -> list[Tensor]:
        """x and what each block makes of it, the last as ``forward`` returns it."""
        found = [x]
        for block in self.blocks:
            found.append(
                block(found[-1], causal=causal, key_lengths=key_lengths, generator=generator)
            )
        if self.final_norm is not None and self.blocks:
            found[-1] = self.final_norm(found[-1])
        return found

    def attention_weights(
        self, x: Tensor, *, causal: bool = False, key_lengths: Any = None
    ) -> np.ndarray:
        """The self-attention of every layer, for pictures: (layers, batch, heads, time, time)."""
        weights = []
        for block in self.blocks:
            seen = block.attention_norm(x) if block.norm_first else x
            weights.append(block.attention.weights(seen, causal=causal, key_lengths=key_lengths))
            x = block(x, causal=causal, key_lengths=key_lengths)
        return np.stack(weights)


class EncoderDecoder(Module):
    """Two stacks: the decoder writes while looking at what the encoder read. Lecture 09.

    Shapes: source (batch, source_time, width), target (batch, target_time, width) -> (batch,
    target_time, width). ``source_lengths``: (batch,) integers, how many are not padding.
    """

    def __init__(self, config: TransformerConfig, *, generator: np.random.Generator):
        self.encoder = Transformer(replace(config, cross_attention=False), generator=generator)
        self.decoder = Transformer(replace(config, cross_attention=True), generator=generator)

    def forward(
        self,
        source: Tensor,
        target: Tensor,
        *,
        source_lengths: Any = None,
        generator: np.random.Generator | None = None,
    ) -> Tensor:
        memory = self.encoder(source, key_lengths=source_lengths, generator=generator)
        return self.decoder(
            target, memory, causal=True, memory_lengths=source_lengths, generator=generator
        )
