"""Wrong answers to homework 3 that small, even or friendly cases do not show: 3.3 to 3.6."""

import math

import numpy as np

from minissl.autograd import operations as ops
from minissl.autograd.tensor import Tensor
from minissl.nn import transformer
from tests.homework.planted import Collection
from tests.homework.planted.hw3_model import attender, blocks, masker, splitter

PLANTED = Collection()


def remembering(function, key):
    """The function, which answers again what it once answered to a call with this key."""
    known = {}

    def answer(*arguments, **settings):
        at = key(*arguments, **settings)
        if at not in known:
            known[at] = function(*arguments, **settings)
        return known[at]

    return answer


# ---- 3.3 allowed_keys ----------------------------------------------------------------------------


def _additive(allowed):
    return np.where(allowed, 0.0, -np.inf)


def _one_length_for_all(shape, causal, key_lengths):
    if key_lengths is not None:
        key_lengths = np.broadcast_to(key_lengths, shape[0])
    return masker()(shape, causal, key_lengths)


def _any_number(shape, causal, key_lengths):
    if key_lengths is not None and key_lengths.shape != shape[:1]:
        raise ValueError("one length for each example")
    return masker(check=False)(shape, causal, key_lengths)


def _square(shape, causal, key_lengths):
    triangle = np.tril(np.ones((shape[-1], shape[-1]), bool)) if causal else None
    padding = masker()(shape, False, key_lengths)
    return padding if triangle is None else triangle if padding is None else triangle & padding


for _mistake, _shows, _answer in [
    ("remembered by shape and causal", "earlier call with the same shape",
     remembering(masker(), lambda shape, causal, lengths: (shape, causal, lengths is None))),
    ("remembered by shape", "causal is not used",
     remembering(masker(), lambda shape, *rest: shape)),
    ("to be added to scores", "the dtype is float64, expected bool", masker(finish=_additive)),
    ("one key at least", "with 0 keys sees one",
     masker(inside=lambda i, j, n: j < np.maximum(n, 1))),
    ("one length for all", "should raise a ValueError", _one_length_for_all),
    ("lengths that are no integers", "should raise a ValueError", _any_number),
    ("square", "cannot be broadcast", _square),
]:  # fmt: skip
    PLANTED.add("3.3", _mistake, shows=_shows)(_answer)


# ---- 3.4 attention -------------------------------------------------------------------------------


def _true_or(query, key, value, *, scale=None, **settings):
    return attender()(query, key, value, scale=scale or None, **settings)


def _scaled_by(sizes):
    def attention(query, key, value, *, scale=None, **settings):
        scale = 1 / math.sqrt(sizes(query, key, value)) if scale is None else scale
        return attender()(query, key, value, scale=scale, **settings)

    return attention


def _either(query, key, value, *, causal=False, key_lengths=None, **settings):
    return attender()(
        query, key, value, causal=causal, key_lengths=None if causal else key_lengths, **settings
    )


def _with_weights(query, key, value, **settings):
    return attender()(query, key, value, **settings), None


def _dropping(kept, grow):
    """attention whose dropout is something else."""

    def attention(query, key, value, *, dropout=0.0, seed=None, **settings):
        if not dropout:
            return attender()(query, key, value, **settings)
        shape = (*query.shape[:3], key.shape[2])
        eye = np.eye(shape[3], dtype=query.dtype)
        eye = Tensor(np.broadcast_to(eye, (*shape[:2], shape[3], shape[3])))
        weights = attender()(query, key, eye, **settings)
        mask = kept(shape, dropout, seed)
        return ops.matmul(ops.where(mask, weights, 0.0) * grow(dropout), value)

    return attention


def _global(shape, dropout, seed):
    np.random.seed(seed)  # noqa: NPY002
    return np.random.random(shape) >= dropout  # noqa: NPY002


def _inverted(shape, dropout, seed):
    from minissl.autograd.composed import dropout_mask

    return ~dropout_mask(shape, dropout, seed)


def _kept(shape, dropout, seed):
    return ~_inverted(shape, dropout, seed)


def _renormalised(scores, axis=-1):
    """Weights made small first, so that a large hidden score leaves nothing of the others."""
    e = ops.exp(scores - Tensor(scores.array.max(axis=axis, keepdims=True)))
    return e / (ops.sum(e, axis=axis, keepdims=True) + 1e-6)


def _in_float64(query, key, value, **settings):
    masked = settings.get("causal") or settings.get("key_lengths") is not None
    answer = attender()(query, key, value, **settings)
    return answer.astype(np.float64) if masked else answer


for _mistake, _shows, _answer in [
    ("a scale of 0 does not count", "scale is not used", _true_or),
    ("√value_dim", "√value_dim", _scaled_by(lambda q, k, v: v.shape[-1])),
    ("√key_time", "√key_time", _scaled_by(lambda q, k, v: k.shape[-2])),
    ("a mask of −100", "is not small enough", attender(hidden=lambda scores: -100.0)),
    ("causal or lengths", "key_lengths is not used", _either),
    ("weights, too", "got tuple", _with_weights),
    ("a mask of its own", "not those of dropout_mask", _dropping(_global, lambda p: 1 / (1 - p))),
    ("the dropped are kept", "True in dropout_mask", _dropping(_inverted, lambda p: 1 / (1 - p))),
    ("grows the wrong way", "must grow by", _dropping(_kept, lambda p: 1 - p)),
    ("ε below the weights", "values are wrong", attender(softmax=_renormalised)),
    ("float64 with a mask", "the dtype is", _in_float64),
]:
    PLANTED.add("3.4", _mistake, shows=_shows)(_answer)


# ---- 3.5 split_heads -----------------------------------------------------------------------------


def _join(g, shape):
    return g.transpose(0, 2, 1, 3).reshape(shape)


for _mistake, _shows, _answer in [
    ("the mean of the heads goes back", "shared by all heads",
     splitter(join=lambda g, s: _join(np.broadcast_to(g.mean(1, keepdims=True), g.shape), s))),
    ("the gradient once for each head", "times num_heads",
     splitter(join=lambda g, s: _join(g, s) * g.shape[1])),
    ("float64", "would give float64",
     splitter(lambda x, h: x.astype(float).reshape(*x.shape[:2], h, -1).swapaxes(1, 2))),
]:  # fmt: skip
    PLANTED.add("3.5", _mistake, shows=_shows)(_answer)


# ---- 3.6 Block.forward ---------------------------------------------------------------------------


def crossing(cross, order=1, attend=lambda self, x, **settings: self.attention(x, **settings)):
    """A Block whose cross-attention branch is ``cross(self, x, memory, lengths, settings)``."""

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
            own = {"causal": causal, "key_lengths": key_lengths, "cache": cache}
            other = {"key_lengths": memory_lengths, "generator": generator}
            branches = [
                (lambda x: attend(self, x, **own, generator=generator), self.attention_norm)
            ]
            if self.cross_attention is not None:
                branches.append(
                    (lambda x: cross(self, x, memory, other, own), self.cross_attention_norm)
                )
                branches = branches[::order]
            for branch, norm in [*branches, (self.mlp, self.mlp_norm)]:
                if self.norm_first:
                    x = x + self.dropout(branch(norm(x)), generator)
                else:
                    x = norm(x + self.dropout(branch(x), generator))
            return x

    return Block


def _cross(self, x, memory, other, own):
    return self.cross_attention(x, memory, **other)


def _always_dropped(self, x, branch, norm, dropped):
    """Dropout of its own, which does not ask for the mode."""
    y = branch(norm(x)) if self.norm_first else branch(x)
    if self.dropout.p:
        kept = np.random.default_rng(0).random(y.shape) >= self.dropout.p
        y = y * Tensor(kept / (1 - self.dropout.p))
    return x + y if self.norm_first else norm(x + y)


for _mistake, _shows, _answer in [
    ("a causal memory", "the memory is no past",
     crossing(lambda s, x, m, other, own: s.cross_attention(x, m, causal=own["causal"], **other))),
    ("the lengths of x for the memory", "raised|memory_lengths is not",
     crossing(lambda s, x, m, other, own: s.cross_attention(
         x, m, key_lengths=own["key_lengths"], generator=other["generator"]))),
    ("the memory normalised", "not for the memory",
     crossing(lambda s, x, m, other, own: s.cross_attention(
         x, s.cross_attention_norm(m), **other))),
    ("x instead of the memory", "looks at x",
     crossing(lambda s, x, m, other, own: s.cross_attention(x, x))),
    ("the memory first", "after the self-attention", crossing(_cross, order=-1)),
    ("self-attention reused", "parts of its own",
     crossing(lambda s, x, m, other, own: s.attention(x, m, **other))),
    ("dropout in evaluation", "in evaluation mode", blocks(_always_dropped)),
    ("no generator for the attention", "the attentions' dropout",
     crossing(_cross, attend=lambda s, x, generator, **own: s.attention(
         x, generator=np.random.default_rng(1), **own))),
]:  # fmt: skip
    PLANTED.add("3.6", _mistake, shows=_shows)(_answer)
