"""Wrong answers to homework 3 that small, even or friendly cases do not show: 3.1 to 3.8."""

import math

import numpy as np

from minissl.autograd import operations as ops
from minissl.autograd.tensor import Tensor
from minissl.nn import transformer
from tests.homework.planted import Collection
from tests.homework.planted.hw3_model import attender, blocks, masker, splitter
from tests.homework.planted.hw3_text import cutter, loss, sampler, writer

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


# ---- 3.1 teacher_forcing -------------------------------------------------------------------------

_cut = cutter(lambda w: (w[..., :-1], w[..., 1:]))


def _marked(windows):
    inputs, targets = _cut(windows)
    windows[..., -1] = 0
    return inputs.copy(), targets.copy()


def _by_size(windows):
    if windows.size < 2:
        raise ValueError("too short")
    return windows[..., :-1], windows[..., 1:]


def _asserting(windows):
    assert windows.shape[-1] > 1
    return windows[..., :-1], windows[..., 1:]


for _mistake, _shows, _answer in [
    (
        "remembered by shape",
        "earlier call with the same shape",
        remembering(_cut, lambda windows: windows.shape),
    ),
    ("int64", "the dtype is", cutter(lambda w: (w[..., :-1].astype(int), w[..., 1:].astype(int)))),
    ("batches only", "raised IndexError", cutter(lambda w: (w[:, :-1], w[:, 1:]))),
    ("lists", "got list", cutter(lambda w: (w[..., :-1].tolist(), w[..., 1:].tolist()))),
    ("cut in place", "changed its input", _marked),
    ("too short by size", "should raise a ValueError", _by_size),
    ("assert", "raised AssertionError", _asserting),
]:
    PLANTED.add("3.1", _mistake, shows=_shows)(_answer)


# ---- 3.2 cross_entropy ---------------------------------------------------------------------------


def _one_maximum(logits):
    x = logits - float(logits.array.max())
    return x - ops.log(ops.sum(ops.exp(x), axis=-1, keepdims=True))


def _never_zero(logits):
    return ops.log(ops.softmax(logits) + 1e-12)


def _smooth_without_gradient(losses, uniform, s, classes):
    return (1 - s) * losses + s * uniform.detach()


def _wide(losses, reduction, count):
    losses = losses.astype(np.float64)
    if reduction == "none":
        return losses
    return ops.sum(losses) / (count if reduction == "mean" else 1)


def _always_divided(losses, reduction, count):
    """A gradient of its own: that of the mean, whatever is asked for."""
    if reduction == "none":
        return losses
    mean = ops.sum(losses) / count
    return mean + (ops.sum(losses) - mean).detach() if reduction == "sum" else mean


def _targets_overwritten(logits, targets, **settings):
    ignored = targets == settings.get("ignore_index", -100)
    answer = loss()(logits, targets, **settings)
    targets[ignored] = 0
    return answer


def _negative_is_ignored(logits, targets, *, ignore_index=-100, **settings):
    return loss()(logits, np.where(targets < 0, -100, targets), **settings)


for _mistake, _shows, _answer in [
    ("one maximum for all rows", "of its own row", loss(_one_maximum)),
    ("ε in the logarithm", "a large loss is cut off", loss(_never_zero)),
    ("smoothing without gradient", "smoothing has no gradient", loss(smooth=_smooth_without_gradient)),
    ("float64", "the dtype is", loss(reduce=_wide)),
    ("the gradient of a mean for the sum", "is that of the mean", loss(reduce=_always_divided)),
    ("targets overwritten", r"changed its input \(argument 2\)", _targets_overwritten),
    ("all negative targets ignored", "ignore_index is not used", _negative_is_ignored),
]:  # fmt: skip
    PLANTED.add("3.2", _mistake, shows=_shows)(_answer)


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
    ("remembered by shape", "causal is not used", remembering(masker(), lambda shape, *rest: shape)),
    ("to be added to scores", "the dtype is float64, expected bool", masker(finish=_additive)),
    ("one key at least", "with 0 keys sees one", masker(inside=lambda i, j, n: j < np.maximum(n, 1))),
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
     crossing(lambda s, x, m, other, own: s.cross_attention(x, s.cross_attention_norm(m), **other))),
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


# ---- 3.7 next_token_probabilities ----------------------------------------------------------------


def _in_order(logits, **settings):
    return -np.sort(-sampler()(logits, **settings))


def _nucleus_by_any(p, top_p):
    return int(np.argmax(np.cumsum(p) >= top_p)) + 1


def _warm_nucleus(logits, *, temperature=1.0, top_k=None, top_p=None):
    p = sampler()(logits, top_k=top_k, top_p=top_p)
    return sampler()(np.where(p > 0, logits, -np.inf), temperature=temperature)


def _from_the_end(logits, *, top_k=None, **settings):
    if top_k is not None and top_k < 0:
        top_k = max(len(logits) + top_k, 1)
    return sampler()(logits, top_k=top_k, **settings)


def _finite(logits, **settings):
    if not np.isfinite(logits).all():
        raise ValueError("logits must be finite")
    return sampler()(logits, **settings)


for _mistake, _shows, _answer in [
    ("sorted", "in the order of the tokens", _in_order),
    ("top_p of 1 is never reached", "top_p=1 keeps every token", sampler(nucleus=_nucleus_by_any)),
    ("p must be passed", "to reach p is enough",
     sampler(nucleus=lambda p, q: int(np.searchsorted(np.cumsum(p), q, side="right")) + 1)),
    ("top_p before the temperature", "chosen before the temperature", _warm_nucleus),
    ("top_k from the end", "should raise a ValueError", _from_the_end),
    ("no token may be ruled out", "raised ValueError: logits must", _finite),
    ("NaN is not noticed", "should raise a ValueError", sampler(finite=False)),
    ("remembered by length", "earlier call with the same shape",
     remembering(sampler(), lambda logits, **s: (len(logits), *s.items()))),
]:  # fmt: skip
    PLANTED.add("3.7", _mistake, shows=_shows)(_answer)


# ---- 3.8 generate --------------------------------------------------------------------------------


def _grows(model, prompt, max_new_tokens, **settings):
    new = writer()(model, prompt, max_new_tokens, **settings)
    prompt += new
    return new


def _global_draw(p, generator):
    return int(np.random.choice(len(p), p=p))  # noqa: NPY002


def _told_at_the_end(model, prompt, max_new_tokens, *, on_token=None, **settings):
    new = writer()(model, prompt, max_new_tokens, **settings)
    for token in new if on_token else ():
        on_token(token)
    return new


def _training_afterwards(model, prompt, max_new_tokens, **settings):
    new = writer()(model, prompt, max_new_tokens, **settings)
    model.train()
    return new


def _stops_at_once(model, prompt, max_new_tokens, *, stop=(), **settings):
    new = writer()(model, prompt, max_new_tokens, stop=stop, **settings)
    return new[:1] if set(stop) & set(prompt) else new


def _lists_only(model, prompt, max_new_tokens, **settings):
    return writer(answer=lambda tokens, _: (prompt + tokens)[2 * len(prompt) :])(
        model, prompt, max_new_tokens, **settings
    )


for _mistake, _shows, _answer in [
    ("the prompt grows", "the prompt has changed", _grows),
    ("global generator", "with the same generator", writer(draw=_global_draw)),
    ("told at the end", "as it comes", _told_at_the_end),
    ("training mode afterwards", "was in evaluation mode", _training_afterwards),
    ("stops because of the prompt", "in the prompt does not stop", _stops_at_once),
    ("the first stop token only", "every token of stop",
     writer(stops=lambda tokens, stop: tokens[-1] in list(stop)[:1])),
    ("one token of the context unused", "one token of the context",
     writer(window=lambda tokens, context: tokens[-context:][1 - context :])),
    ("lists only", "raised TypeError", _lists_only),
    ("the mode of the model is not asked", "raised ValueError|dropped", writer(
        restore=lambda model: _AsItIs())),
]:  # fmt: skip
    PLANTED.add("3.8", _mistake, shows=_shows)(_answer)


class _AsItIs:
    def __enter__(self):
        return None

    def __exit__(self, *error):
        return None
