"""One token through a language model in plain NumPy: the step that sampling repeats.

For a single token the arrays are so small that an engine spends several times longer on its
bookkeeping than on their arithmetic, and nothing of that bookkeeping is needed: no gradient, no
batch, no mask. So here are the formulas of ``minissl.nn.transformer`` and ``minissl.nn.recurrent``
on vectors. The tests hold both to the same logits; ``generate`` uses the model itself where this
does not apply. Lecture 10.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from minissl.autograd import fused
from minissl.autograd.tensor import Tensor
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


def applies_to(model: GPT | RecurrentLM) -> bool:
    """True for a model of NumPy arrays, made of the library's own parts; a GPT with tanh GELU.

    A part that was exchanged (by an adapter, say) computes something that is not written here.
    """
    return (
        all(type(module) in _KNOWN for _, module in model.named_modules())
        and all(isinstance(parameter.array, np.ndarray) for parameter in model.parameters())
        and all(m.activation is fused.gelu for _, m in model.named_modules() if type(m) is MLP)
    )


def step(model: GPT | RecurrentLM, token: int, caches: Sequence[Any]) -> np.ndarray:
    """Logits (vocab_size,) after ``token``, which goes into the caches behind those before it."""
    if isinstance(model, RecurrentLM):
        return _recurrent_step(model, token, caches)
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


# ---- a recurrent network ------------------------------------------------------------------------


def _recurrent_step(model: RecurrentLM, token: int, caches: Sequence[StateCache]) -> np.ndarray:
    x = model.tokens.weight.array[token]
    for layer, cache in zip(model.layers, caches):
        before = np.zeros((model.config.parts, len(x)), x.dtype)
        if cache.state is not None:
            before = cache.state.array[:, 0, 0]
        if isinstance(layer, LSTM):
            after = np.stack(_lstm(layer, x, *before))
        else:
            after = _gru(layer, x, *before)[None]
        cache.state, cache.length = Tensor(after[:, None, None]), cache.length + 1
        x = after[0]
    return _project(model.output, x)


def _lstm(layer: LSTM, x: Vector, h: Vector, c: Vector) -> tuple[Vector, Vector]:
    weight_ih, weight_hh, bias_ih, bias_hh = (weight.array for weight in layer.weights(0))
    gates = weight_ih @ x
    gates += weight_hh @ h
    gates += bias_ih
    gates += bias_hh
    i, f, g, o = gates.reshape(4, -1)
    c = _sigmoid(f) * c + _sigmoid(i) * np.tanh(g)
    return _sigmoid(o) * np.tanh(c), c


def _gru(layer: GRU, x: Vector, h: Vector) -> Vector:
    weight_ih, weight_hh, bias_ih, bias_hh = (weight.array for weight in layer.weights(0))
    from_x, from_h = weight_ih @ x + bias_ih, weight_hh @ h + bias_hh
    (r, z, n), (r_h, z_h, n_h) = from_x.reshape(3, -1), from_h.reshape(3, -1)
    r, z = _sigmoid(r + r_h), _sigmoid(z + z_h)
    return (1 - z) * np.tanh(n + r * n_h) + z * h


def _sigmoid(x: Vector) -> Vector:
    """½ (1 + tanh(x / 2)), which does not overflow."""
    return 0.5 * (1 + np.tanh(0.5 * x))
