"""Language models in float64 NumPy, by the formulas: the oracles of homework 3.

Every switch that is not at its default is a mistake that students make.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def softmax(scores: NDArray, axis: int = -1) -> NDArray:
    """eˢ / Σ eˢ; a row of nothing but −∞ becomes zeros."""
    largest = scores.max(axis=axis, keepdims=True)
    e = np.exp(scores - np.where(np.isfinite(largest), largest, 0))
    total = e.sum(axis=axis, keepdims=True)
    return e / np.where(total == 0, 1, total)


def cross_entropy(
    logits: NDArray,
    targets: NDArray,
    *,
    reduction: str = "mean",
    smoothing: float = 0.0,
    ignored: str = "left out",
    axis: int = -1,
) -> NDArray:
    """−Σ q log softmax(logits), with q the smoothed target.

    ``ignored``: "left out", or counted as "class 0", or "divided" by as well.
    """
    logits = logits.astype(np.float64)
    log_p = logits - np.logaddexp.reduce(logits, axis=axis, keepdims=True)
    kept = targets != -100
    classes = np.arange(logits.shape[-1])
    q = (1 - smoothing) * (np.where(kept, targets, 0)[..., None] == classes)
    losses = -((q + smoothing / len(classes)) * log_p).sum(axis=-1)
    if "class 0" not in ignored:
        losses = np.where(kept, losses, 0.0)
    if reduction == "none":
        return losses
    count = kept.size if "divided" in ignored else kept.sum()
    return np.asarray(losses.sum() / (max(count, 1) if reduction == "mean" else 1))


def cross_entropy_slope(
    logits: NDArray, targets: NDArray, *, probabilities: float = 1, onehot: float = 1
) -> NDArray:
    """softmax − onehot for every row whose target is not ignored, of the sum of the losses."""
    kept = targets != -100
    q = np.where(kept, targets, -1)[..., None] == np.arange(logits.shape[-1])
    slope = probabilities * softmax(logits.astype(np.float64)) - onehot * q
    return slope * kept[..., None]


def allowed(
    shape: Sequence[int],
    causal: bool,
    key_lengths: Sequence[int] | None,
    *,
    shift: int | None = None,
    later: bool = False,
    longer: int = 0,
    least: int = 0,
    lengths_of: str = "keys",
    either: bool = False,
) -> NDArray:
    """Which key each query may see, one by one: (batch, heads, query, key)."""
    batch, heads, query_time, key_time = shape
    shift = key_time - query_time if shift is None else shift
    answer = np.zeros(shape, bool)
    for b, h, i, j in np.ndindex(batch, heads, query_time, key_time):
        past = j >= i + shift if later else j <= i + shift
        place = j if lengths_of == "keys" else i
        inside = key_lengths is None or place < max(key_lengths[b] + longer, least)
        past = past or not causal
        answer[b, h, i, j] = (past or inside) if either and causal else (past and inside)
    return answer


def attention(
    query: NDArray,
    key: NDArray,
    value: NDArray,
    seen: NDArray | bool = True,
    *,
    scale: float | None = None,
    axis: int = -1,
    mask: str = "before",
    kept: NDArray | float = 1.0,
) -> NDArray:
    """softmax(Q Kᵀ · scale) V. ``kept``: what each weight is multiplied with (dropout).

    ``mask``: "after" the softmax, or scores that may not be seen are "zero" before it, or "small",
    −100, and their weights 0 afterwards, or what nobody may see becomes the "mean".
    """
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    scores = np.einsum("bhid,bhjd->bhij", query, key) * scale
    if mask == "after":
        weights = softmax(scores, axis) * seen
    elif mask == "small":
        weights = softmax(np.where(seen, scores, -100.0), axis) * seen
    elif mask == "zero":
        weights = softmax(np.where(seen, scores, 0.0), axis)
    else:
        weights = softmax(np.where(seen, scores, -np.inf), axis)
        if mask == "mean":
            empty = weights.sum(axis=-1, keepdims=True) == 0
            weights = np.where(empty, 1 / key.shape[2], weights)
    return np.einsum("bhij,bhjd->bhid", weights * kept, value)


def attention_slope(
    inputs: Sequence[NDArray], number: int, along: NDArray, cotangent: NDArray, seen: NDArray
) -> float:
    """How ⟨cotangent, attention⟩ changes as one input moves, by finite differences."""

    def moved(h: float) -> float:
        others = [x + h * along if i == number else x for i, x in enumerate(inputs)]
        return float((cotangent * attention(others[0], others[1], others[2], seen)).sum())

    return (8 * (moved(1e-3) - moved(-1e-3)) - moved(2e-3) + moved(-2e-3)) / 12e-3


# ---- a block of the Transformer, from its parameters ---------------------------------------------

Parameters = Mapping[str, NDArray]


def layer_norm(x: NDArray, p: Parameters, name: str) -> NDArray:
    """(x − mean) / √(variance + 1e-5) · weight + bias."""
    centered = x - x.mean(axis=-1, keepdims=True)
    spread = np.sqrt((centered**2).mean(axis=-1, keepdims=True) + 1e-5)
    return centered / spread * p[f"{name}.weight"] + p[f"{name}.bias"]


def linear(x: NDArray, p: Parameters, name: str) -> NDArray:
    """x Wᵀ + b."""
    return x @ p[f"{name}.weight"].T + p[f"{name}.bias"]


def heads(x: NDArray, num_heads: int) -> NDArray:
    """(batch, time, width) -> (batch, heads, time, head_dim), a slice of the width for each."""
    return np.stack(np.split(x, num_heads, axis=-1), axis=1)


def multi_head(
    x: NDArray, memory: NDArray, p: Parameters, name: str, num_heads: int, seen: Any
) -> NDArray:
    """The four Linears of attention and what is between them."""
    query, key, value = (
        heads(linear(source, p, f"{name}.{part}"), num_heads)
        for part, source in (("query", x), ("key", memory), ("value", memory))
    )
    mixed = attention(query, key, value, seen)
    return linear(np.concatenate(list(mixed.swapaxes(0, 1)), axis=-1), p, f"{name}.output")


def mlp(x: NDArray, p: Parameters) -> NDArray:
    """Two Linears with GPT-2's GELU between them."""
    h = linear(x, p, "mlp.hidden")
    h = 0.5 * h * (1 + np.tanh(math.sqrt(2 / math.pi) * (h + 0.044715 * h**3)))
    return linear(h, p, "mlp.output")


# What a student reads, and the ``how`` of ``block`` that it names.
BLOCK_MISTAKES = {
    "the branches see x without LayerNorm": "no norm",
    "LayerNorm comes at the wrong place: see norm_first": "other order",
    "what is added to must be x, not norm(x)": "normalised residual",
    "x is not added: each branch is added to x": "no residual",
    "LayerNorm is applied to the branch's output": "norm after the branch",
    "the MLP works on the block's input: what attention has made of it is lost": "from the start",
    "the MLP must see what attention has made of x": "side by side",
    "the MLP comes before attention": "mlp first",
    "one LayerNorm is used for both branches": "one norm",
    "the cross-attention is left out": "no memory",
}

# The same, of a block that looks at a memory.
MEMORY_MISTAKES = {
    "the memory is no past of x: the cross-attention is not causal": "causal memory",
    "LayerNorm is for what is added to, not for the memory": "memory normalised",
    "the cross-attention looks at x: its keys and values are the memory": "looks at x",
    "the cross-attention comes after the self-attention": "memory first",
    "the cross-attention has parts of its own: self.cross_attention": "attention again",
}


def _look_at(memory: NDArray, seen: NDArray, p: Parameters, num_heads: int, how: str) -> Any:
    """The cross-attention as a function of x; ``how`` names a mistake."""
    name = "attention" if how == "attention again" else "cross_attention"
    if how == "memory normalised":
        memory = layer_norm(memory, p, "cross_attention_norm")
    if how == "looks at x":
        return lambda x: multi_head(x, x, p, name, num_heads, True)
    return lambda x: multi_head(x, memory, p, name, num_heads, seen)


def block(
    x: NDArray,
    p: Parameters,
    num_heads: int,
    *,
    memory: NDArray | None = None,
    causal: bool = False,
    key_lengths: Any = None,
    memory_lengths: Any = None,
    norm_first: bool = True,
    how: str = "right",
) -> NDArray:
    """x + f(norm(x)) for each branch f, or norm(x + f(x)). ``how`` names a mistake."""
    time = x.shape[1]
    seen = allowed((len(x), 1, time, time), causal, key_lengths)
    branches: list[tuple[str, Any]] = [
        ("attention_norm", lambda x: multi_head(x, x, p, "attention", num_heads, seen))
    ]
    if memory is not None and how != "no memory":
        shape = (len(x), 1, time, memory.shape[1])
        memory_seen = allowed(shape, causal and how == "causal memory", memory_lengths)
        look = _look_at(memory, memory_seen, p, num_heads, how)
        branches.append(("cross_attention_norm", look))
        if how == "memory first":
            branches.reverse()
    branches.append(("mlp_norm", lambda x: mlp(x, p)))
    if how == "mlp first":
        branches.reverse()
    start = x
    for norm, branch in branches:
        norm = "attention_norm" if how == "one norm" else norm
        if how == "no norm":
            x = x + branch(x)
        elif how == "normalised residual":
            x = layer_norm(x, p, norm) + branch(layer_norm(x, p, norm))
        elif how == "no residual":
            x = branch(layer_norm(x, p, norm))
        elif how == "norm after the branch":
            x = x + layer_norm(branch(x), p, norm)
        elif how == "from the start":
            x = start + branch(layer_norm(start, p, norm))
        elif how == "side by side":
            x = x + branch(layer_norm(start, p, norm))
        elif norm_first != (how == "other order"):
            x = x + branch(layer_norm(x, p, norm))
        else:
            x = layer_norm(x + branch(x), p, norm)
    return x


# ---- sampling ------------------------------------------------------------------------------------


def probabilities(
    logits: NDArray,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    *,
    how: str = "right",
) -> NDArray:
    """The distribution to draw from, token by token in order of likelihood."""
    p = softmax(logits.astype(np.float64) / temperature)
    order = sorted(range(len(p)), key=lambda token: (-p[token], token))
    if how == "nucleus first":  # at temperature 1, and the temperature for what is left
        seen = probabilities(logits, 1.0, top_k, top_p) > 0
        return softmax(np.where(seen, logits.astype(np.float64) / temperature, -np.inf))
    if how == "least likely":
        order.reverse()
    k = len(order) if top_k is None else top_k + (how == "one more")
    kept = order[:k]
    if how == "ties":
        kept = [token for token in order if p[token] >= p[kept[-1]]]
    if top_p is not None:
        total = 1.0 if how == "of all" else float(sum(p[token] for token in kept))
        nucleus, reached = [], 0.0
        for token in kept:
            if how == "without the crossing token" and reached + p[token] / total >= top_p:
                break
            nucleus.append(token)
            reached += p[token] / total
            if how != "alone" and (reached > top_p if how == "passed" else reached >= top_p):
                break
        if how == "alone":
            nucleus = [token for token in kept if p[token] >= top_p]
        kept = nucleus
    answer = np.zeros(len(p))
    answer[kept] = p[kept]
    return answer if how == "not normalised" else answer / max(answer.sum(), 1e-300)
