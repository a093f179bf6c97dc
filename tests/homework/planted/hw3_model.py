"""Wrong answers to homework 3, the model: tasks 3.3 to 3.6."""

import math
from typing import Any

import numpy as np

from minissl.autograd import operations as ops
from minissl.autograd.composed import allowed_keys, check_key_lengths, dropout_mask
from minissl.autograd.tensor import Tensor, differentiable
from minissl.nn import transformer
from tests.homework.planted import Collection

PLANTED = Collection()


# ---- 3.3 allowed_keys ----------------------------------------------------------------------------


def masker(
    past=lambda i, j, q, k: j <= i + (k - q),
    inside=lambda i, j, lengths: j < lengths,
    both=np.logical_and,
    finish=lambda allowed: allowed,
    check=True,
):
    """allowed_keys as it reads, with something to get wrong in it."""

    def allowed_keys(shape, causal, key_lengths):
        i, j = np.arange(shape[-2])[:, None], np.arange(shape[-1])[None, :]
        allowed = past(i, j, *shape[-2:]) if causal else None
        if key_lengths is not None:
            if check:
                check_key_lengths(key_lengths, shape[0])
            lengths = np.asarray(key_lengths)[:, None, None, None]
            padding = inside(i, j, lengths)
            allowed = padding if allowed is None else both(allowed, padding)
        return None if allowed is None else finish(allowed)

    return allowed_keys


for _mistake, _shows, _mask in [
    ("j < i", "may not see itself", masker(lambda i, j, q, k: j < i + k - q)),
    ("j ≤ i + 1", "off by one", masker(lambda i, j, q, k: j <= i + k - q + 1)),
    ("aligned at the beginning", "first query and key", masker(lambda i, j, q, k: j <= i)),
    ("the shift subtracted", "wrong sign", masker(lambda i, j, q, k: j <= i - (k - q))),
    ("the upper triangle", "the future and not", masker(lambda i, j, q, k: j >= i + k - q)),
    ("True where hidden", "exchanged", masker(finish=np.logical_not)),
    ("one key of padding", "padding is seen", masker(inside=lambda i, j, n: j <= n)),
    ("the last key lost", "is not seen", masker(inside=lambda i, j, n: j < n - 1)),
    ("padding for queries", "hides queries", masker(inside=lambda i, j, n: (i < n) & (j == j))),
    ("or instead of and", "both must hold", masker(both=np.logical_or)),
    ("lengths not checked", "should raise a ValueError", masker(check=False)),
]:
    PLANTED.add("3.3", _mistake, shows=_shows)(_mask)


@PLANTED.add("3.3", "lengths spread along the wrong axis", shows="shape|padding|nothing")
def _(shape, causal, key_lengths):
    allowed = allowed_keys(shape, causal, None)
    if key_lengths is None:
        return allowed
    check_key_lengths(key_lengths, shape[0])
    inside = np.arange(shape[-1]) < np.asarray(key_lengths)[:, None]
    return inside if allowed is None else allowed & inside


# ---- 3.4 attention -------------------------------------------------------------------------------


def attender(
    default=lambda head_dim: 1 / math.sqrt(head_dim),
    use_scale=True,
    axis=-1,
    hidden=lambda scores: float(np.finfo(scores.dtype).min),
    after=False,
    zeros=True,
    mask=True,
    softmax=ops.softmax,
    early=False,
    grow=True,
    prepare=lambda x: x,
    drop=True,
):
    """attention as it reads, with something to get wrong in it."""

    def attention(
        query, key, value, *, causal=False, key_lengths=None, dropout=0.0, seed=None, scale=None
    ):
        query, key, value = prepare(query), prepare(key), prepare(value)
        scale = scale if use_scale and scale is not None else default(query.shape[-1])
        scores = ops.matmul(query, ops.matrix_transpose(key)) * scale
        kept = dropout_mask(scores.shape, dropout, seed) if dropout and drop else None
        allowed = allowed_keys(scores.shape, causal, key_lengths) if mask else None
        if allowed is not None:
            allowed = np.broadcast_to(allowed, scores.shape).copy()
            if not after:
                scores = ops.where(allowed, scores, hidden(scores))
        if early and kept is not None:
            scores = ops.where(kept, scores, -1e30)
        weights = softmax(scores, axis=axis)
        if allowed is not None and zeros:
            weights = ops.where(allowed, weights, 0.0)
        if kept is not None and not early:
            weights = ops.where(kept, weights, 0.0) * (1 / (1 - dropout) if grow else 1.0)
        return ops.matmul(weights, value)

    return attention


def _naive_softmax(scores, axis=-1):
    e = ops.exp(scores)
    return e / ops.sum(e, axis=axis, keepdims=True)


def _detached_softmax(scores, axis=-1):
    e = ops.exp(scores - Tensor(scores.array.max(axis=axis, keepdims=True)))
    return e / e.detach().sum(axis=axis, keepdims=True)


for _mistake, _shows, _attention in [
    ("no √head_dim", "not divided by √head_dim", attender(lambda d: 1.0)),
    ("head_dim without the root", "not by its root", attender(lambda d: 1 / d)),
    ("multiplied with √head_dim", "multiplied with √head_dim", attender(math.sqrt)),
    ("scale not used", "scale is not used", attender(use_scale=False)),
    ("softmax over the queries", "over the queries", attender(axis=-2)),
    ("masked after the softmax", "after the softmax", attender(after=True)),
    ("score 0 for hidden keys", "score 0", attender(hidden=lambda s: 0.0, zeros=False)),
    ("the mean where nothing is seen", "not the mean", attender(zeros=False)),
    ("no mask", "nothing is masked", attender(mask=False)),
    ("softmax without the maximum", "NaN", attender(softmax=_naive_softmax)),
    (
        "−inf, and NaN where nothing is seen",
        "NaN",
        attender(hidden=lambda s: -math.inf, zeros=False),
    ),
    ("a softmax that forgets its sum", "gradient", attender(softmax=_detached_softmax)),
    ("everything in NumPy", "through the graph", attender(prepare=lambda x: x.detach())),
    ("no rescaling in dropout", "must grow by", attender(grow=False)),
    ("dropout before the softmax", "before the softmax", attender(early=True)),
    ("no dropout", "nothing is dropped", attender(drop=False)),
]:
    PLANTED.add("3.4", _mistake, shows=_shows)(_attention)


# ---- 3.5 split_heads -----------------------------------------------------------------------------


def _right_split(x, num_heads):
    batch, time, width = x.shape
    return x.reshape(batch, time, num_heads, width // num_heads).transpose(0, 2, 1, 3)


def _right_join(g):
    batch, heads, time, dim = g.shape
    return g.transpose(0, 2, 1, 3).reshape(batch, time, heads * dim)


def splitter(split=_right_split, join=lambda g, shape: _right_join(g)):
    """split_heads with a wrong way there, or back."""

    @differentiable
    def split_heads(x, /, num_heads):
        return split(x, num_heads), (lambda g: join(g, x.shape),)

    return split_heads


def _shape(x, heads):
    return x.shape[0], x.shape[1], heads, x.shape[2] // heads


for _mistake, _shows, _split in [
    (
        "reshape to (batch, heads, time, head_dim)",
        "reshaped alone",
        splitter(lambda x, h: x.reshape(x.shape[0], h, x.shape[1], -1)),
    ),
    ("no transpose", "not exchanged", splitter(lambda x, h: x.reshape(_shape(x, h)))),
    (
        "heads interleaved",
        "slice of the width",
        splitter(lambda x, h: x.reshape(*x.shape[:2], -1, h).transpose(0, 3, 1, 2)),
    ),
    (
        "transposed as (0, 2, 3, 1)",
        "last two axes",
        splitter(lambda x, h: x.reshape(_shape(x, h)).transpose(0, 2, 3, 1)),
    ),
    (
        "transposed as (2, 0, 1, 3)",
        "batch and heads",
        splitter(lambda x, h: x.reshape(_shape(x, h)).transpose(2, 0, 1, 3)),
    ),
    (
        "the gradient only reshaped",
        "only reshaped",
        splitter(join=lambda g, shape: g.reshape(shape)),
    ),
    (
        "heads joined in the wrong order",
        "joined as if",
        splitter(join=lambda g, shape: g.transpose(0, 2, 3, 1).reshape(shape)),
    ),
    ("a gradient of zeros", "no gradient", splitter(join=lambda g, shape: np.zeros(shape))),
]:
    PLANTED.add("3.5", _mistake, shows=_shows)(_split)


@PLANTED.add("3.5", "leaves the graph", shows="through the graph")
def _(x, num_heads):
    return Tensor(_right_split(x.numpy(), num_heads))


# ---- 3.6 Block.forward ---------------------------------------------------------------------------


def blocks(
    add: Any = None, *, order=1, one_norm=False, start=False, memory=True, hand_on=(), drop=True
):
    """A Block whose forward is as it reads, with something to get wrong in it."""

    def right(self, x, branch, norm, dropped):
        if self.norm_first:
            return x + dropped(branch(norm(x)))
        return norm(x + dropped(branch(x)))

    class Block(transformer.Block):
        def forward(
            self,
            x,
            memory=None,
            *,
            causal=False,
            key_lengths=None,
            memory_lengths=None,
            cache=None,
            generator=None,
        ):
            def dropped(y):
                return self.dropout(y, generator) if drop else y

            settings = {"causal": causal, "key_lengths": key_lengths, "cache": cache}
            settings = {k: v for k, v in settings.items() if k not in left_out}
            lengths = None if "memory_lengths" in left_out else memory_lengths
            branches = [
                (lambda x: self.attention(x, generator=generator, **settings), self.attention_norm)
            ]
            look = self.cross_attention
            if look is not None and use_memory:
                options = {"key_lengths": lengths, "generator": generator}
                branches.append((lambda x: look(x, memory, **options), self.cross_attention_norm))
            branches.append((self.mlp, self.attention_norm if one_norm else self.mlp_norm))
            first = x
            for branch, norm in branches[::order]:
                x = step(self, first if start else x, branch, norm, dropped)
            return x

    left_out, use_memory, step = hand_on, memory, right if add is None else add
    return Block


for _mistake, _shows, _class in [
    ("no norm", "without LayerNorm", blocks(lambda s, x, f, norm, d: x + d(f(x)))),
    ("always post-norm", "wrong place", blocks(lambda s, x, f, norm, d: norm(x + d(f(x))))),
    ("always pre-norm", "wrong place", blocks(lambda s, x, f, norm, d: x + d(f(norm(x))))),
    (
        "the normalised x is added to",
        r"not norm\(x\)",
        blocks(lambda s, x, f, norm, d: norm(x) + d(f(norm(x)))),
    ),
    ("no residual", "x is not added", blocks(lambda s, x, f, norm, d: d(f(norm(x))))),
    (
        "the branch is normalised",
        "to the branch's output",
        blocks(lambda s, x, f, norm, d: x + d(norm(f(x)))),
    ),
    ("each branch starts from the input", "MLP works on", blocks(start=True)),
    ("the MLP first", "MLP comes before", blocks(order=-1)),
    ("one LayerNorm for both", "used for both", blocks(one_norm=True)),
    ("no cross-attention", "left out", blocks(memory=False)),
    ("causal forgotten", "causal is not handed on", blocks(hand_on=("causal",))),
    ("key_lengths forgotten", "key_lengths is not", blocks(hand_on=("key_lengths",))),
    ("memory_lengths forgotten", "memory_lengths is not", blocks(hand_on=("memory_lengths",))),
    ("cache forgotten", "cache is not handed on", blocks(hand_on=("cache",))),
    ("no dropout", "nothing is dropped", blocks(drop=False)),
    (
        "dropout of the sum",
        "must fall on the branch",
        blocks(lambda s, x, f, norm, d: d(x + f(norm(x)))),
    ),
]:
    PLANTED.add("3.6", _mistake, shows=_shows)(_class)
