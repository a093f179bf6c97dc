"""Wrong answers to homework 3 that friendly cases do not show: 3.1, 3.2, 3.7 and 3.8."""

import numpy as np

from minissl.autograd import operations as ops
from tests.homework.planted import Collection
from tests.homework.planted.hw3_text import cutter, loss, sampler, writer
from tests.homework.planted.hw3_unusual import remembering

PLANTED = Collection()


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


def _no_slope(losses, uniform, s, classes):
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
    ("smoothing without gradient", "smoothing has no gradient", loss(smooth=_no_slope)),
    ("float64", "the dtype is", loss(reduce=_wide)),
    ("the gradient of a mean for the sum", "is that of the mean", loss(reduce=_always_divided)),
    ("targets overwritten", r"changed its input \(argument 2\)", _targets_overwritten),
    ("all negative targets ignored", "ignore_index is not used", _negative_is_ignored),
]:  # fmt: skip
    PLANTED.add("3.2", _mistake, shows=_shows)(_answer)


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
    ("the prompt grows", "changed its input|the prompt has changed", _grows),
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
