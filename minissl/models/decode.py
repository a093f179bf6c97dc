"""One token through a GPT in plain NumPy: the step that sampling repeats for every token.

For a single token the arrays are so small that an engine spends several times longer on its
bookkeeping than on their arithmetic, and nothing of that bookkeeping is needed: no gradient, no
batch, no mask. So here are the formulas of ``minissl.nn.transformer`` on vectors. The tests hold
both to the same logits; ``generate`` uses the model itself where this does not apply. Lecture 10.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from minissl.autograd import fused
from minissl.models.gpt import GPT
from minissl.nn import (
    MLP,
    Block,
    Dropout,
    Embedding,
    KeyValueCache,
    LayerNorm,
    LearnedPositions,
    Linear,
    MultiHeadAttention,
    Transformer,
)

Vector = np.ndarray  # (width,) of the one token

_KNOWN = {
    GPT, Embedding, LearnedPositions, Dropout, Transformer, Block, LayerNorm,
    MultiHeadAttention, MLP, Linear,
}  # fmt: skip


def applies_to(model: GPT) -> bool:
    """True for a GPT of NumPy arrays, made of the library's own parts, with the tanh GELU.

    A part that was exchanged (by an adapter, say) computes something that is not written here.
    """
    return (
        all(type(module) in _KNOWN for _, module in model.named_modules())
        and all(isinstance(parameter.array, np.ndarray) for parameter in model.parameters())
        and all(block.mlp.activation is fused.gelu for block in model.transformer.blocks)
    )


def step(model: GPT, token: int, caches: Sequence[KeyValueCache]) -> np.ndarray:
    """Logits (vocab_size,) after ``token``, which goes into the caches behind those before it."""
    x = model.tokens.weight.array[token] + model.positions.weight.array[caches[0].length]
    for block, cache in zip(model.transformer.blocks, caches):
        x = _add(block, x, partial(_attend, block.attention, cache), block.attention_norm)
        x = _add(block, x, partial(_think, block.mlp), block.mlp_norm)
    if model.transformer.final_norm is not None:
        x = _normalize(model.transformer.final_norm, x)
    output = model.tokens if model.output is None else model.output
    return output.weight.array @ x


def _add(block: Block, x: Vector, branch: Callable[[Vector], Vector], norm: LayerNorm) -> Vector:
    if block.norm_first:
        return x + branch(_normalize(norm, x))
    return _normalize(norm, x + branch(x))


def _attend(attention: MultiHeadAttention, cache: KeyValueCache, x: Vector) -> Vector:
    """One query for every head, against the keys of all tokens so far."""
    one_token = (1, attention.num_heads, 1, -1)  # (batch, heads, time, head_dim)
    query = _project(attention.query, x).reshape(one_token)
    keys, values = cache.store(
        _project(attention.key, x).reshape(one_token),
        _project(attention.value, x).reshape(one_token),
    )
    query *= 1 / math.sqrt(query.shape[-1])
    weights = query @ keys.mT  # (1, heads, 1, length)
    weights -= np.maximum.reduce(weights, axis=-1, keepdims=True)
    np.exp(weights, out=weights)
    weights /= np.add.reduce(weights, axis=-1, keepdims=True)
    return _project(attention.output, (weights @ values).reshape(-1))


def _think(mlp: MLP, x: Vector) -> Vector:
    """GELU by its tanh formula, in place: ½ h (1 + tanh(√(2/π) (h + 0.044715 h³)))."""
    hidden = _project(mlp.hidden, x)
    t = hidden * hidden
    t *= 0.044715 * math.sqrt(2 / math.pi)
    t += math.sqrt(2 / math.pi)
    t *= hidden
    np.tanh(t, out=t)
    t += 1
    t *= hidden
    t *= 0.5
    return _project(mlp.output, t)


def _project(linear: Linear, x: Vector) -> Vector:
    y = linear.weight.array @ x
    if linear.bias is not None:
        y += linear.bias.array
    return y


def _normalize(norm: LayerNorm, x: Vector) -> Vector:
    y = x - float(np.add.reduce(x)) / len(x)
    y *= 1 / math.sqrt(float(np.vecdot(y, y)) / len(x) + norm.eps)
    y *= norm.weight.array
    y += norm.bias.array
    return y
