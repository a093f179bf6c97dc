"""Homework 3 in styles of their own: nodes with a hand-made gradient, loops, sorting, inlining."""

import math

import numpy as np

from minissl.autograd import no_grad
from minissl.autograd import operations as ops
from minissl.autograd.composed import allowed_keys, check_key_lengths, dropout_mask
from minissl.autograd.tensor import Tensor, differentiable
from minissl.models.generate import next_token_probabilities
from minissl.nn import transformer


def teacher_forcing(windows):
    """By a matrix with time first."""
    steps = np.moveaxis(windows, -1, 0)
    if not len(steps) > 1:
        raise ValueError("nothing follows the only token")
    return np.moveaxis(steps[: len(steps) - 1], 0, -1), np.moveaxis(steps[1:], 0, -1)


@differentiable
def _losses(logits, /, q):
    """−Σ q log softmax for each row, and its gradient by the formula."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    e = np.exp(shifted)
    total = e.sum(axis=-1, keepdims=True)
    q = q.astype(logits.dtype)
    losses = -(q * (shifted - np.log(total))).sum(axis=-1)
    slope = q.sum(axis=-1, keepdims=True) * e / total - q
    return losses, (lambda g: g[..., None] * slope,)


def cross_entropy_by_a_node(
    logits, targets, *, ignore_index=-100, label_smoothing=0.0, reduction="mean"
):
    """One node for the rows, with all of the targets' distribution in one array."""
    classes = logits.shape[-1]
    kept = np.not_equal(targets, ignore_index)
    q = np.equal(targets[..., None], np.arange(classes)) * (1 - label_smoothing)
    losses = _losses(logits, (q + label_smoothing / classes) * kept[..., None])
    if reduction == "none":
        return losses
    return losses.sum() * (1.0 if reduction == "sum" else 1 / max(1, np.count_nonzero(kept)))


def cross_entropy_by_one_hot(
    logits, targets, *, ignore_index=-100, label_smoothing=0.0, reduction="mean"
):
    """By the log of the sum, a one-hot matrix, and multiplication with a mask."""
    top = logits.detach().max(axis=-1, keepdims=True)
    log_sum = ops.log(ops.exp(logits - top).sum(axis=-1, keepdims=True)) + top
    kept = (targets != ignore_index).astype(logits.dtype)
    one_hot = (targets[..., None] == np.arange(logits.shape[-1])).astype(logits.dtype)
    chosen = (logits * one_hot).sum(axis=-1)
    plain = log_sum.sum(axis=-1) - chosen
    even = (log_sum - logits).mean(axis=-1)
    losses = ((1 - label_smoothing) * plain + label_smoothing * even) * kept
    if reduction == "mean":
        return losses.sum() / max(float(kept.sum()), 1.0)
    return losses.sum() if reduction == "sum" else losses


def allowed_one_by_one(shape, causal, key_lengths):
    """allowed_keys, key by key."""
    batch, _, queries, keys = shape
    if key_lengths is None and not causal:
        return None
    if key_lengths is not None:
        check_key_lengths(key_lengths, batch)
    answer = np.zeros((batch, 1, queries, keys), dtype=bool)
    for b in range(batch):
        end = keys if key_lengths is None else int(key_lengths[b])
        for i in range(queries):
            last = i + 1 + keys - queries if causal else keys
            answer[b, 0, i, : max(0, min(end, last))] = True
    return answer


@differentiable
def _attend(query, key, value, /, seen, kept, scale):
    """Attention in NumPy, and its three gradients by hand."""
    scores = np.einsum("...id,...jd->...ij", query, key) * scale
    scores = np.where(seen, scores, -np.inf)
    top = scores.max(axis=-1, keepdims=True)
    e = np.exp(scores - np.where(np.isfinite(top), top, 0)).astype(query.dtype)
    total = e.sum(axis=-1, keepdims=True)
    weights = e / np.where(total > 0, total, 1)
    used = weights * kept

    def slope(g):
        d = np.einsum("...iv,...jv->...ij", g, value) * kept
        return weights * (d - (d * weights).sum(axis=-1, keepdims=True)) * scale

    return used @ value, (
        lambda g: slope(g) @ key,
        lambda g: np.swapaxes(slope(g), -1, -2) @ query,
        lambda g: np.swapaxes(used, -1, -2) @ g,
    )


def attention_by_a_node(
    query, key, value, *, causal=False, key_lengths=None, dropout=0.0, seed=None, scale=None
):
    """All of attention in one node."""
    shape = (*query.shape[:3], key.shape[2])
    mask = allowed_keys(shape, causal, key_lengths)
    kept = np.ones(shape) if not dropout else dropout_mask(shape, dropout, seed) / (1 - dropout)
    scale = query.shape[3] ** -0.5 if scale is None else scale
    seen = np.ones(shape, bool) if mask is None else np.broadcast_to(mask, shape)
    return _attend(query, key, value, seen, kept.astype(query.dtype), float(scale))


def attention_head_by_head(
    query, key, value, *, causal=False, key_lengths=None, dropout=0.0, seed=None, scale=None
):
    """Head by head, and the softmax by its formula."""
    batch, heads, time, width = query.shape
    shape = (batch, heads, time, key.shape[2])
    mask = allowed_keys(shape, causal, key_lengths)
    mask = np.ones(shape, bool) if mask is None else np.broadcast_to(mask, shape)
    kept = dropout_mask(shape, dropout, seed) if dropout else None
    rows = []
    for b, h in np.ndindex(batch, heads):
        scores = query[b, h] @ ops.matrix_transpose(key[b, h])
        scores = scores * (1 / math.sqrt(width) if scale is None else scale)
        scores = ops.where(mask[b, h].copy(), scores, -1e30)
        e = ops.exp(scores - Tensor(scores.numpy().max(axis=-1, keepdims=True)))
        e = ops.where(mask[b, h].copy(), e, 0.0)
        total = e.sum(axis=-1, keepdims=True)
        weights = e / ops.where(total.numpy() > 0, total, 1.0)
        if kept is not None:
            weights = ops.where(kept[b, h], weights, 0.0) / (1 - dropout)
        rows.append(weights @ value[b, h])
    return ops.reshape(ops.stack(rows), (batch, heads, time, value.shape[3]))


@differentiable
def split_by_slices(x, /, num_heads):
    """split_heads by np.split, and back by np.concatenate."""
    parts = np.split(x, num_heads, axis=2)
    return np.stack(parts, axis=1), (lambda g: np.concatenate([*np.moveaxis(g, 1, 0)], axis=2),)


@differentiable
def split_by_einsum(x, /, num_heads):
    """split_heads by a table of where each number goes."""
    batch, time, width = x.shape
    places = np.arange(width).reshape(num_heads, -1)

    def back(g):
        out = np.empty((batch, time, width), g.dtype)
        for h in range(num_heads):
            out[:, :, places[h]] = g[:, h]
        return out

    return np.einsum("bthd->bhtd", x[:, :, places]), (back,)


class Inlined(transformer.Block):
    """forward without a function inside of it."""

    def forward(
        self, x, memory=None, *, causal=False, key_lengths=None, memory_lengths=None, cache=None,
        generator=None,
    ):  # fmt: skip
        post = not self.norm_first
        seen = x if post else self.attention_norm(x)
        mixed = self.attention(
            seen, causal=causal, key_lengths=key_lengths, cache=cache, generator=generator
        )
        x = x + self.dropout(mixed, generator=generator)
        x = self.attention_norm(x) if post else x
        if memory is not None and self.cross_attention is not None:
            seen = x if post else self.cross_attention_norm(x)
            x = x + self.dropout(
                self.cross_attention(seen, memory, key_lengths=memory_lengths, generator=generator),
                generator=generator,
            )
            x = self.cross_attention_norm(x) if post else x
        x = x + self.dropout(self.mlp(x if post else self.mlp_norm(x)), generator=generator)
        return self.mlp_norm(x) if post else x


def probabilities_by_sorting(logits, *, temperature=1.0, top_k=None, top_p=None):
    """next_token_probabilities in plain Python, token by token."""
    if not (temperature > 0 and (top_k is None or top_k >= 1)):
        raise ValueError("temperature or top_k")
    if top_p is not None and (top_p <= 0 or top_p > 1):
        raise ValueError("top_p")
    numbers = [float(x) for x in logits]
    top = max(numbers)
    if any(x != x for x in numbers) or not math.isfinite(top):
        raise ValueError("the largest logit is not finite")
    weights = [math.exp((x - top) / temperature) for x in numbers]
    likely = sorted(range(len(numbers)), key=lambda token: -weights[token])  # stable
    likely = likely[: top_k or len(likely)]
    left = math.fsum(weights[token] for token in likely)
    answer, so_far = np.zeros(len(numbers)), 0.0
    for token in likely:
        answer[token] = weights[token] / left
        so_far += answer[token]
        if top_p is not None and so_far >= top_p:
            break
    return answer / answer.sum()


def generate_by_hand(
    model, prompt, max_new_tokens, *, temperature=1.0, top_k=None, top_p=None, generator=None,
    stop=(), cache=True, on_token=None,
):  # fmt: skip
    """generate with the mode set by hand, and draws from a sum of probabilities."""
    if not list(prompt):
        raise ValueError("empty")
    if temperature and generator is None:
        raise ValueError("no generator")
    was_training, new = model.training, []
    most = model.config.context_length
    model.eval()
    try:
        with no_grad():
            caches = model.new_caches()
            for _ in range(max_new_tokens):
                text = [*prompt, *new]
                if cache and len(text) <= most:
                    hidden = model.hidden(np.array([text[caches[0].length :]]), caches=caches)
                    logits = model.logits(hidden).numpy()[0, -1]
                else:
                    logits = model(np.array([text[-most:]])).numpy()[0, -1]
                if temperature == 0:
                    token = max(range(len(logits)), key=lambda k: logits[k])
                else:
                    p = next_token_probabilities(
                        logits, temperature=temperature, top_k=top_k, top_p=top_p
                    )
                    reached = np.cumsum(p)
                    token = int(np.searchsorted(reached, generator.random() * reached[-1], "right"))
                new.append(token)
                if on_token:
                    on_token(token)
                if token in stop:
                    break
    finally:
        model.train(was_training)
    return new
