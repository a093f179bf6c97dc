"""Multi-head attention: every token asks all others what it should know. Lecture 06."""

import math
from typing import Any

import numpy as np

from minissl.autograd import fused, no_grad
from minissl.autograd import operations as ops
from minissl.autograd.arrays import Array, namespace
from minissl.autograd.composed import allowed_keys
from minissl.autograd.tensor import Tensor, as_array, differentiable
from minissl.nn.layers import Dropout, Linear
from minissl.nn.module import Module


class KeyValueCache:
    """The keys and values of the tokens so far, so that generating a token computes only its own.

    Room for ``max_length`` tokens is taken once; ``length`` of it is filled. For generation under
    ``no_grad()``: a gradient cannot flow through it. Shapes: (batch, heads, time, head_dim).
    """

    def __init__(self, max_length: int):
        self.max_length = max_length
        self.length = 0
        self._key: Array = None  # (batch, heads, max_length, head_dim), made by the first append
        self._value: Array = None

    def append(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Store the keys and values of new tokens; the answer is those of all tokens so far.

        Raises RuntimeError where a gradient would be lost, ValueError when the cache is full.
        """
        if key.requires_grad or value.requires_grad:
            raise RuntimeError("a KeyValueCache cuts the graph: use it inside no_grad()")
        keys, values = self.store(key.array, value.array)
        return Tensor(keys), Tensor(values)

    def store(self, key: Array, value: Array) -> tuple[Array, Array]:
        """``append`` on arrays; the answer is views into the cache."""
        batch, heads, time, head_dim = key.shape
        start, end = self.length, self.length + time
        if end > self.max_length:
            raise ValueError(
                f"the cache has room for {self.max_length} tokens, {end} were given: "
                "make a larger one, or begin again with the last tokens"
            )
        if self._key is None:
            self._key = _room(key, (batch, heads, self.max_length, head_dim))
            self._value = _room(value, (batch, heads, self.max_length, head_dim))
        self._key[:, :, start:end] = key
        self._value[:, :, start:end] = value
        self.length = end
        return self._key[:, :, :end], self._value[:, :, :end]


def _room(like: Array, shape: tuple[int, ...]) -> Array:
    """An uninitialised array in the dtype, library and place of another."""
    if isinstance(like, np.ndarray):
        return np.empty(shape, like.dtype)
    return like.new_empty(shape)


@differentiable
def split_heads(x, /, num_heads):
    """(batch, time, width) -> (batch, heads, time, head_dim), each head a slice of the width.

    A view: nothing is computed or copied; the gradient goes back by ``join_heads``.
    """
    return _split(x, num_heads), (_join,)


@differentiable
def join_heads(x, /):
    """(batch, heads, time, head_dim) -> (batch, time, width): the way back from ``split_heads``."""
    num_heads = x.shape[1]
    return _join(x), (lambda g: _split(g, num_heads),)


def _split(x, num_heads):
    batch, time, width = x.shape
    heads = x.reshape((batch, time, num_heads, width // num_heads))
    return namespace(x).permute_dims(heads, (0, 2, 1, 3))


def _join(x):
    batch, heads, time, head_dim = x.shape
    return namespace(x).permute_dims(x, (0, 2, 1, 3)).reshape((batch, time, heads * head_dim))


class MultiHeadAttention(Module):
    """softmax(Q Kᵀ / √head_dim) V in several heads, each on its own slice of the width.

    Self-attention: ``attention(x)``. Cross-attention: ``attention(x, memory)``, where the queries
    come from x and the keys and values from the memory (the encoder's output). Parameters are the
    four Linears ``query``, ``key``, ``value``, ``output``. ``dropout`` drops attention weights.

    Shapes: x (batch, time, width), memory (batch, memory_time, width) -> (batch, time, width).
    Raises ValueError when num_heads does not divide width. Vaswani et al. (2017).
    """

    def __init__(
        self,
        width: int,
        num_heads: int,
        *,
        dropout: float = 0.0,
        bias: bool = True,
        init_std: float | None = None,
        output_init_std: float | None = None,
        generator: np.random.Generator,
    ):
        if width % num_heads:
            raise ValueError(f"width {width} cannot be shared by {num_heads} heads equally")
        self.num_heads = num_heads
        self.query, self.key, self.value = (
            Linear(width, width, bias=bias, init_std=init_std, generator=generator)
            for _ in range(3)
        )
        self.output = Linear(width, width, bias=bias, init_std=output_init_std, generator=generator)
        self.dropout = Dropout(dropout)

    def forward(
        self,
        x: Tensor,
        memory: Tensor | None = None,
        *,
        causal: bool = False,
        key_lengths: Any = None,
        cache: KeyValueCache | None = None,
        generator: np.random.Generator | None = None,
    ) -> Tensor:
        """``causal``: no token sees a later one. ``key_lengths``: (batch,) integers, how many of
        the keys are not padding. ``cache``: keys and values of earlier tokens, before x's own.
        """
        masks = {
            "causal": causal and x.shape[1] > 1,  # the last token may see everything
            "key_lengths": key_lengths,
            **self._dropout_now(generator),
        }
        if memory is None and cache is None and self._is_plain(x):
            return self.output(self._of_itself(x, masks))
        source = x if memory is None else memory
        query = split_heads(self.query(x), num_heads=self.num_heads)  # (batch, heads, time, dim)
        key = split_heads(self.key(source), num_heads=self.num_heads)
        value = split_heads(self.value(source), num_heads=self.num_heads)
        if cache is not None:
            key, value = cache.append(key, value)
        return self.output(join_heads(fused.attention(query, key, value, **masks)))

    def _is_plain(self, x: Any) -> bool:
        """Whether three Linears make queries, keys and values, and not adapters in their place."""
        parts = self.query, self.key, self.value
        if any(type(part) is not Linear or "forward" in vars(part) for part in parts):
            return False
        weight = self.query.weight.shape
        biases = {None if part.bias is None else part.bias.shape for part in parts}
        alike = {part.weight.shape for part in parts} == {weight} and len(biases) == 1
        return alike and biases <= {None, weight[:1]} and isinstance(as_array(x), np.ndarray)

    def _of_itself(self, x: Tensor, masks: dict[str, Any]) -> Tensor:
        """All three in one product, which is faster than three with a third of the columns."""
        parts = self.query, self.key, self.value
        weight = ops.concatenate([part.weight for part in parts])  # (3 width, width)
        biases = [part.bias for part in parts if part.bias is not None]
        qkv = ops.linear(x, weight, ops.concatenate(biases) if biases else None)
        return fused.self_attention(qkv, self.num_heads, **masks)

    def _dropout_now(self, generator: np.random.Generator | None) -> dict[str, Any]:
        if not self.dropout.active(generator):
            return {}
        assert generator is not None
        return {"dropout": self.dropout.p, "seed": int(generator.integers(2**63))}

    def weights(
        self,
        x: Tensor,
        memory: Tensor | None = None,
        *,
        causal: bool = False,
        key_lengths: Any = None,
        cache: Any = None,
    ) -> np.ndarray:
        """softmax(Q Kᵀ / √head_dim) itself, for pictures: which token looked at which.

        Shape (batch, heads, time, source_time); every row adds up to 1, or is 0 where nothing may
        be seen. ``forward`` never builds this array whole.
        """
        with no_grad():
            source = x if memory is None else memory
            query = split_heads(self.query(x), num_heads=self.num_heads).numpy()
            key = split_heads(self.key(source), num_heads=self.num_heads)
            if cache is not None:
                value = split_heads(self.value(source), num_heads=self.num_heads)
                key, _ = cache.append(key, value)
        scores = query @ key.numpy().swapaxes(-1, -2) / math.sqrt(query.shape[-1])
        allowed = allowed_keys(scores.shape, causal, key_lengths)
        allowed = np.broadcast_to(True if allowed is None else allowed, scores.shape)
        largest = scores.max(axis=-1, keepdims=True, where=allowed, initial=-np.inf)
        blind = ~allowed.any(axis=-1, keepdims=True)
        weights = np.where(allowed, np.exp(np.minimum(scores - np.where(blind, 0, largest), 0)), 0)
        return weights / (weights.sum(axis=-1, keepdims=True) + blind)
