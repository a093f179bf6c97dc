"""One token through a GPT, an LSTM or a GRU in plain NumPy: what sampling repeats for every token.

For a single token the arrays are so small that an engine spends several times longer on its
bookkeeping than on their arithmetic, and nothing of that bookkeeping is needed: no gradient, no
batch, no mask. So here are the formulas of ``minissl.nn.transformer`` and ``minissl.nn.recurrent``
on vectors. The tests hold both to the same logits; ``generate`` uses the model itself where this
does not apply. Lectures 05 and 10.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from minissl.autograd import Tensor, fused
from minissl.models.gpt import GPT
from minissl.models.recurrent import RecurrentLM, StateCache
from minissl.nn import (
    GRU,
    LSTM,
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
    MultiHeadAttention, MLP, Linear, RecurrentLM, LSTM, GRU,
}  # fmt: skip


def applies_to(model: Any) -> bool:
    """True for a GPT with the tanh GELU and a RecurrentLM, of NumPy arrays and the library's parts.

    A part that was exchanged (by an adapter, say) computes something that is not written here.
    """
    return (
        all(type(module) in _KNOWN for _, module in model.named_modules())
        and all(isinstance(parameter.array, np.ndarray) for parameter in model.parameters())
        and (
            isinstance(model, RecurrentLM)
            or all(block.mlp.activation is fused.gelu for block in model.transformer.blocks)
        )
    )


def step(model: Any, token: int, caches: Sequence[Any]) -> np.ndarray:
    """Logits (vocab_size,) after ``token``, which goes into the caches behind those before it."""
    if isinstance(model, RecurrentLM):
        return _project(model.output, _through_cells(model, token, caches))
    output = model.tokens if model.output is None else model.output
    return output.weight.array @ _through_blocks(model, token, caches)


# ---- a recurrent network: a state that is replaced -----------------------------------------------


def _through_cells(model: RecurrentLM, token: int, caches: Sequence[StateCache]) -> Vector:
    x = model.tokens.weight.array[token]
    for layer, cache in zip(model.layers, caches):
        before = np.zeros((model.config.parts, len(x)), x.dtype)
        if cache.state is not None:
            before = cache.state.array[0]
        after = (_lstm if isinstance(layer, LSTM) else _gru)(layer, x, before)
        cache.state, cache.length = Tensor(after[None]), cache.length + 1
        x = after[0]
    return x


def _lstm(layer: Any, x: Vector, before: np.ndarray) -> np.ndarray:
    """h and c, (2, width), after a step: c ← f c + i g, h ← o tanh(c)."""
    gates = layer.weight_ih_l0.array @ x
    gates += layer.weight_hh_l0.array @ before[0]
    gates += layer.bias_ih_l0.array
    gates += layer.bias_hh_l0.array
    gates = gates.reshape(4, -1)
    g = np.tanh(gates[2])
    i, f, _, o = _sigmoid(gates)
    after = np.empty_like(before)
    np.multiply(f, before[1], out=after[1])
    i *= g
    after[1] += i
    np.multiply(o, np.tanh(after[1]), out=after[0])
    return after


def _gru(layer: Any, x: Vector, before: np.ndarray) -> np.ndarray:
    """h, (1, width), after a step: n = tanh(x′ + r h′), h ← (1 − z) n + z h."""
    of_x = (layer.weight_ih_l0.array @ x + layer.bias_ih_l0.array).reshape(3, -1)
    of_h = (layer.weight_hh_l0.array @ before[0] + layer.bias_hh_l0.array).reshape(3, -1)
    r, z = _sigmoid(of_x[:2] + of_h[:2])
    n = np.tanh(of_x[2] + r * of_h[2])
    return n + z * (before - n)


def _sigmoid(a: np.ndarray) -> np.ndarray:
    """1 / (1 + e⁻ᵃ), in place."""
    np.negative(a, out=a)
    with np.errstate(over="ignore"):
        np.exp(a, out=a)
    a += 1
    return np.reciprocal(a, out=a)


# ---- a GPT: keys and values that are appended ----------------------------------------------------


def _through_blocks(model: GPT, token: int, caches: Sequence[KeyValueCache]) -> Vector:
    x = model.tokens.weight.array[token] + model.positions.weight.array[caches[0].length]
    for block, cache in zip(model.transformer.blocks, caches):
        x = _add(block, x, partial(_attend, block.attention, cache), block.attention_norm)
        x = _add(block, x, partial(_think, block.mlp), block.mlp_norm)
    if model.transformer.final_norm is not None:
        x = _normalize(model.transformer.final_norm, x)
    return x


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
