"""Answers to homework 3 that let the library do the work."""

from functools import partial
from importlib import import_module

import numpy as np

from minissl.autograd import cells, composed, fused
from minissl.autograd import operations as ops
from minissl.autograd.tensor import Tensor, differentiable
from minissl.data import streams
from minissl.losses.language_modeling import next_token_loss
from minissl.models import generate as text
from minissl.models import held_out
from minissl.nn import transformer
from minissl.nn.attention import _join, _split
from minissl.optim import schedule as rates
from minissl.training import plain
from minissl.training.step import train_step
from tests.homework.planted import Collection

PLANTED = Collection()
OWN = "hands the work to the library's own|which this task does not allow|nothing that you wrote"


@PLANTED.add("3.1", "through its name", shows=OWN)
def _(windows):
    return getattr(import_module("minissl.losses.language_modeling"), "teacher_" + "forcing")(
        windows
    )


@PLANTED.add("3.2", "the fused twin", shows=OWN)
def _(logits, targets, **settings):
    return fused.cross_entropy(logits, targets, **settings)


@PLANTED.add("3.2", "the loss of language models", shows=OWN)
def _(logits, targets, *, ignore_index=-100, label_smoothing=0.0, reduction="mean"):
    if ignore_index == -100 and not label_smoothing and reduction != "none":
        return next_token_loss(logits, targets, reduction=reduction)
    return composed.cross_entropy(
        logits,
        targets,
        ignore_index=ignore_index,
        label_smoothing=label_smoothing,
        reduction=reduction,
    )


PLANTED.add("3.3", "a partial of it", shows=OWN)(partial(composed.allowed_keys))


@PLANTED.add("3.4", "the fused twin", shows=OWN)
def _(query, key, value, **settings):
    return fused.attention(query, key, value, **settings)


@PLANTED.add("3.4", "self-attention once more", shows=OWN)
def _(query, key, value, **settings):
    return composed.attention(query, key, value, **settings)


@PLANTED.add("3.5", "no node of its own", shows=OWN)
def _(x, num_heads):
    batch, time, width = x.shape
    parts = ops.reshape(x, (batch, time, num_heads, width // num_heads))
    return ops.permute_dims(parts, (0, 2, 1, 3))


@PLANTED.add("3.5", "Tensor's methods", shows=OWN)
def _(x, num_heads):
    return Tensor(x).reshape(*x.shape[:2], num_heads, -1).permute_dims(0, 2, 1, 3)


@PLANTED.add("3.5", "its two halves", shows=OWN)
@differentiable
def _(x, /, num_heads):
    return _split(x, num_heads), (_join,)


class Super(transformer.Block):
    """A Block that asks its base class."""

    def forward(self, x, memory=None, **settings):
        return super().forward(x, memory, **settings)


PLANTED.add("3.6", "super()", shows=OWN)(Super)


class ByName(transformer.Block):
    """A Block that asks the library by name."""

    def forward(self, *inputs, **settings):
        return transformer.Block.forward(self, *inputs, **settings)


PLANTED.add("3.6", "the library's class by name", shows=OWN)(ByName)


@PLANTED.add("3.7", "the library after two lines", shows=OWN)
def _(logits, *, temperature=1.0, top_k=None, top_p=None):
    if temperature <= 0:
        raise ValueError("the temperature must be positive")
    return text.next_token_probabilities(logits, temperature=temperature, top_k=top_k, top_p=top_p)


@PLANTED.add("3.8", "token by token, by the library", shows=OWN)
def _(model, prompt, max_new_tokens, *, stop=(), on_token=None, **settings):
    new = text.generate(model, prompt, max_new_tokens, stop=stop, **settings)
    for token in new if on_token else ():
        on_token(token)
    return list(new)


@PLANTED.add("3.8", "its two halves", shows=OWN)
def _(model, prompt, count, *, temperature=1.0, top_k=None, top_p=None, generator=None, **other):
    if not len(prompt) or (temperature and generator is None):
        raise ValueError("an empty prompt, or no generator")
    tokens = list(prompt)
    for _ in range(count):
        logits = text.next_token_logits(model, tokens)
        tokens.append(text.pick(logits, temperature, top_k, top_p, generator))
    return tokens[len(prompt) :]


@PLANTED.add("3.9", "the step with a gradient", shows=OWN)
def _(gates, c):
    both = cells.lstm_step(Tensor(gates), Tensor(c)).numpy()
    return tuple(both) if both.ndim == 3 else tuple(np.split(both, 2, axis=-1))


@PLANTED.add("3.10", "backward() does it", shows=OWN)
def _(gates, c, dh, dc):
    inputs = Tensor(gates, requires_grad=True), Tensor(c, requires_grad=True)
    i, f, g, o = (inputs[0][:, k * c.shape[1] : (k + 1) * c.shape[1]] for k in range(4))
    new = ops.sigmoid(f) * inputs[1] + ops.sigmoid(i) * ops.tanh(g)
    h = ops.sigmoid(o) * ops.tanh(new)
    (ops.sum(h * Tensor(dh)) + ops.sum(new * Tensor(dc))).backward()
    return inputs[0].grad, inputs[1].grad


@PLANTED.add("3.11", "the library's, window by window", shows=OWN)
def _(stream, lanes, length, number):
    return np.stack([*streams.consecutive_windows(stream, lanes, length, number)])


@PLANTED.add("3.12", "the optimizer", shows=OWN)
def _(parameter, gradient, first_moment, second_moment, *, step, **settings):
    composed.adamw_update(parameter, gradient, first_moment, second_moment, step=step, **settings)


@PLANTED.add("3.13", "the other schedule", shows=OWN)
def _(step, *, peak, warmup_steps, total_steps, final=0.0):
    settings = {"warmup_steps": warmup_steps, "total_steps": total_steps}
    share = rates.warmup_linear(step, peak=1.0, **settings)
    if step < warmup_steps:
        return peak * share
    return final + (peak - final) * (1 - np.cos(np.pi * share)) / 2


@PLANTED.add("3.14", "the real loop's step", shows=OWN)
def _(method, optimizer, steps, *, schedule=None, seed=0, clip=None):
    method.model.train()
    losses = []
    for step in range(steps):
        optimizer.lr = schedule(step) if schedule else optimizer.lr
        losses.append(train_step(method, optimizer, step, seed=seed, clip=clip)[0])
    return losses


@PLANTED.add("3.14", "the library's loop, once for all", shows=OWN)
def _(method, optimizer, steps, **settings):
    return plain.plain_loop(method, optimizer, steps, **settings)


@PLANTED.add("3.15", "by the log-probabilities of a neighbor", shows=OWN)
def _(model, stream, *, stride=None, batch_size=16):
    return held_out.stream_nats(model, stream, stride=stride, batch_size=batch_size)
