"""Wrong answers to homework 3, around the model: tasks 3.1, 3.2, 3.7 and 3.8."""

import math

import numpy as np

from minissl.autograd import composed
from minissl.autograd import operations as ops
from minissl.nn.evaluating import evaluating
from tests.homework.planted import Collection

PLANTED = Collection()


# ---- 3.1 teacher_forcing -------------------------------------------------------------------------


def cutter(cut, check=True):
    """teacher_forcing with a wrong cut, or without the check of the length."""

    def teacher_forcing(windows):
        if check and windows.shape[-1] < 2:
            raise ValueError(f"windows of shape {windows.shape} are too short")
        return cut(windows)

    return teacher_forcing


for _mistake, _shows, _cut in [
    ("exchanged", "exchanged", cutter(lambda w: (w[..., 1:], w[..., :-1]))),
    ("the same twice", "one step later", cutter(lambda w: (w[..., :-1], w[..., :-1]))),
    ("along the first axis", "last axis is time", cutter(lambda w: (w[:-1], w[1:]))),
    ("rolled", "turned round", cutter(lambda w: (w, np.roll(w, -1, axis=-1)))),
    ("two steps", "two steps later", cutter(lambda w: (w[..., :-2], w[..., 2:]))),
    (
        "not checked",
        "should raise a ValueError",
        cutter(lambda w: (w[..., :-1], w[..., 1:]), check=False),
    ),
]:
    PLANTED.add("3.1", _mistake, shows=_shows)(_cut)


# ---- 3.2 cross_entropy ---------------------------------------------------------------------------


def loss(
    log_softmax=ops.log_softmax,
    pick=lambda log_p, targets: ops.take_along_axis(log_p, targets[..., None], axis=-1),
    finish=lambda loss: -loss,
    smooth=lambda loss, uniform, s, classes: (1 - s) * loss + s * uniform,
    left_out=True,
    count=lambda kept: max(int(kept.sum()), 1),
    reduce=composed._reduce,
    ignored=lambda ignore_index: ignore_index,
):
    """cross_entropy as it reads, with something to get wrong in it."""

    def cross_entropy(logits, targets, *, ignore_index=-100, label_smoothing=0.0, reduction="mean"):
        kept = targets != ignored(ignore_index)
        log_p = log_softmax(logits)
        losses = finish(ops.squeeze(pick(log_p, np.where(kept, targets, 0)), axis=-1))
        if label_smoothing:
            uniform = -ops.mean(log_p, axis=-1)
            losses = smooth(losses, uniform, label_smoothing, logits.shape[-1])
        if left_out:
            losses = ops.where(kept, losses, 0.0)
        return reduce(losses, reduction, count=count(kept))

    return cross_entropy


def _log_of_softmax(logits):
    return ops.log(ops.softmax(logits))


def _without_maximum(logits):
    return logits - ops.log(ops.sum(ops.exp(logits), axis=-1, keepdims=True))


def _detached_sum(logits):
    return logits - ops.logsumexp(logits, axis=-1, keepdims=True).detach()


def _always_mean(losses, reduction, count):
    return ops.sum(losses) / count


for _mistake, _shows, _loss in [
    ("the sign", "sign is missing", loss(finish=lambda loss: loss)),
    ("the mean over padding too", "ignored ones included", loss(count=lambda kept: kept.size)),
    ("padding counts as class 0", "class 0", loss(left_out=False)),
    ("NaN when all is ignored", "NaN|raised", loss(count=lambda kept: kept.sum() or math.nan)),
    ("softmax over the first axis", "wrong axis", loss(lambda x: ops.log_softmax(x, axis=0))),
    ("bits", "in bits", loss(finish=lambda loss: -loss / math.log(2))),
    ("no logarithm", "mean probability", loss(ops.softmax, finish=lambda loss: loss)),
    ("reduction not used", "the answer is the mean", loss(reduce=_always_mean)),
    ("log of softmax", "exp overflows, or log meets 0", loss(_log_of_softmax)),
    ("softmax without the maximum", "exp overflows, or log meets 0", loss(_without_maximum)),
    ("the sum of the softmax detached", "onehot alone", loss(_detached_sum)),
    ("leaves the graph", "through the graph", loss(lambda x: ops.log_softmax(x.detach()))),
    ("ignore_index not used", "ignore_index is not used", loss(ignored=lambda index: -100)),
    ("no label smoothing", "smoothing is not used", loss(smooth=lambda loss, *rest: loss)),
    (
        "label smoothing the wrong way round",
        "wrong way round",
        loss(smooth=lambda loss, uniform, s, classes: s * loss + (1 - s) * uniform),
    ),
    (
        "label smoothing over the other classes",
        "leaves the target out",
        loss(
            smooth=lambda loss, uniform, s, n: (1 - s) * loss + s * (n * uniform - loss) / (n - 1)
        ),
    ),
]:
    PLANTED.add("3.2", _mistake, shows=_shows)(_loss)


# ---- 3.7 next_token_probabilities ----------------------------------------------------------------


def sampler(
    cool=lambda logits, temperature: logits / temperature,
    softmax=lambda x: np.exp(x - x.max()) / np.exp(x - x.max()).sum(),
    order=lambda p: np.argsort(-p, kind="stable"),
    more=0,
    nucleus=lambda p, top_p: int(np.searchsorted(np.cumsum(p), top_p)) + 1,
    again=True,
    dtype=np.float64,
    check=True,
    finite=True,
    normalise=True,
):
    """next_token_probabilities as it reads, with something to get wrong in it."""

    def next_token_probabilities(logits, *, temperature=1.0, top_k=None, top_p=None):
        if check and (
            temperature <= 0
            or (1 if top_k is None else top_k) < 1
            or not 0 < (1 if top_p is None else top_p) <= 1
        ):
            raise ValueError("temperature, top_k or top_p is out of range")
        if finite and not np.isfinite(logits.max()):
            raise ValueError("the largest logit is not finite")
        p = softmax(cool(logits.astype(dtype), temperature))
        kept = order(p)
        if top_k is not None:
            kept = kept[: top_k + more]
        if top_p is not None:
            kept = kept[: nucleus(p[kept] / (p[kept].sum() if again else 1), top_p)]
        answer = np.zeros_like(p)
        answer[kept] = p[kept]
        return answer / answer.sum() if normalise else answer

    return next_token_probabilities


def _in_place(logits, temperature):
    logits /= temperature
    return logits


@PLANTED.add("3.2", "the mean over classes too", shows="over classes too")
def _(logits, targets, *, ignore_index=-100, label_smoothing=0.0, reduction="mean"):
    onehot = (targets[..., None] == np.arange(logits.shape[-1])).astype(logits.dtype)
    losses = -onehot * ops.log_softmax(logits)
    if reduction == "none":
        return ops.sum(losses, axis=-1)
    return ops.sum(losses) if reduction == "sum" else ops.mean(losses)


@PLANTED.add("3.7", "the logits are overwritten", shows="changed its input")
def _(logits, *, temperature=1.0, top_k=None, top_p=None):
    logits -= logits.max()
    return sampler()(logits, temperature=temperature, top_k=top_k, top_p=top_p)


def _ties_kept(logits, *, temperature=1.0, top_k=None, top_p=None):
    if top_k is not None and top_k > 0:
        least = np.sort(logits)[::-1][:top_k][-1]
        logits = np.where(logits >= least, logits, -1e9)
    return sampler()(logits, temperature=temperature, top_p=top_p, top_k=None if top_k else top_k)


PLANTED.add("3.7", "top_k keeps all that are equal", shows="ties go to")(_ties_kept)

for _mistake, _shows, _sampler in [
    ("temperature multiplied", "multiplied with the temp", sampler(lambda x, t: x * t)),
    ("temperature not used", "temperature is not used", sampler(lambda x, t: x)),
    ("softmax without the maximum", "NaN", sampler(softmax=lambda x: np.exp(x) / np.exp(x).sum())),
    ("top_p drops the crossing token", "keep it",
     sampler(nucleus=lambda p, top_p: max(int(np.searchsorted(np.cumsum(p), top_p)), 1))),
    ("top_p as a threshold", "likelier than p", sampler(nucleus=lambda p, q: int((p >= q).sum()))),
    ("top_p before top_k", "as they were before top_k", sampler(again=False)),
    ("one token too many", "one token too many", sampler(more=1)),
    ("the least likely", "least likely", sampler(order=np.argsort)),
    ("not normalised again", "add up to 1", sampler(normalise=False)),
    ("float32", "dtype", sampler(dtype=np.float32)),
    ("nothing is refused", "should raise|raised", sampler(check=False)),
    ("top_p not used", "top_p is not used", sampler(nucleus=lambda p, top_p: len(p))),
]:  # fmt: skip
    PLANTED.add("3.7", _mistake, shows=_shows)(_sampler)


# ---- 3.8 generate --------------------------------------------------------------------------------


def writer(
    choose=np.argmax,
    answer=lambda tokens, prompt: tokens[len(prompt) :],
    steps=0,
    window=lambda tokens, context: tokens[-context:],
    known=lambda cache: cache.length,
    note=True,
    stops=lambda tokens, stop: tokens[-1] in stop,
    keep_stop=True,
    check=True,
    restore=evaluating,
    draw=lambda p, generator: int(generator.choice(len(p), p=p)),
    options=lambda temperature, top_k, top_p: (temperature, top_k, top_p),
    reset=False,
):
    """generate as it reads, with something to get wrong in it."""
    right = sampler()

    def generate(
        model,
        prompt,
        max_new_tokens,
        *,
        temperature=1.0,
        top_k=None,
        top_p=None,
        generator=None,
        stop=(),
        cache=True,
        on_token=None,
    ):
        if check and (not len(prompt) or (temperature and generator is None)):
            raise ValueError("an empty prompt, or no generator")
        tokens, context = list(prompt), model.config.context_length
        caches = model.new_caches() if cache else None
        with restore(model):
            for _ in range(max_new_tokens + steps):
                start, seen = 0, window(tokens, context)
                if caches and len(tokens) <= context:
                    start = known(caches[0])
                else:
                    caches = None
                hidden = model.hidden(np.array([seen[start:]]), caches=caches)
                logits = model.logits(hidden[0, -1:]).numpy()[0]
                if temperature == 0:
                    tokens.append(int(choose(logits)))
                else:
                    t, k, p = options(temperature, top_k, top_p)
                    tokens.append(draw(right(logits, temperature=t, top_k=k, top_p=p), generator))
                if note and on_token is not None:
                    on_token(tokens[-1])
                if stops(tokens, stop):
                    tokens = tokens if keep_stop else tokens[:-1]
                    break
                if reset:
                    caches = model.new_caches()
        return answer(tokens, prompt)

    return generate


def _short_sighted(tokens, context):
    return tokens[-1:] if len(tokens) > 1 else tokens


def _left_in_evaluation(model):
    model.eval()
    return evaluating(model)


_SEEDED = [np.random.default_rng(0)]


def _seeding(model):
    _SEEDED[0] = np.random.default_rng(0)
    return evaluating(model)


def _from_seed(p, generator):
    return int(_SEEDED[0].choice(len(p), p=p))


def _seeded(p, generator):
    return int(np.random.default_rng(0).choice(len(p), p=p))


for _mistake, _shows, _write in [
    ("the prompt in the answer", "begins with the prompt", writer(answer=lambda t, p: t)),
    ("one token more", "too many", writer(steps=1)),
    ("one token less", "too few", writer(steps=-1)),
    ("the unlikeliest token", "unlikeliest", writer(np.argmin)),
    ("from the first tokens of the context", "first tokens of the context",
     writer(window=lambda tokens, context: tokens[:context])),
    ("the whole text, longer than the context", "raised ValueError",
     writer(window=lambda tokens, context: tokens)),
    ("the cache's position one too late", "with the cache other tokens",
     writer(known=lambda cache: max(cache.length - 1, 0))),
    ("everything goes through again, cache thrown away", "twice",
     writer(known=lambda cache: 0, reset=True)),
    ("everything goes into the cache again", "raised ValueError: positions|with the cache",
     writer(known=lambda cache: 0)),
    ("stop not used", "stop is not used", writer(stops=lambda tokens, stop: False)),
    ("the stop token dropped", "must be in the answer", writer(keep_stop=False)),
    ("on_token forgotten", "on_token must be called", writer(note=False)),
    ("the likeliest instead of a draw", "always taken", writer(draw=lambda p, g: int(p.argmax()))),
    ("a generator of its own", "as often|always", writer(draw=_seeded)),
    ("a seed for each call", "at every call", writer(restore=_seeding, draw=_from_seed)),
    ("uniform draws", "as likely as", writer(draw=lambda p, g: int(g.integers(len(p))))),
    ("temperature not handed on", "temperature is not handed",
     writer(options=lambda t, k, p: (1.0, k, p))),
    ("top_k and top_p not handed on", "not handed on",
     writer(options=lambda t, k, p: (t, None, None))),
    ("nothing refused", "should raise|raised", writer(check=False)),
    ("the model left in evaluation mode", "evaluation mode", writer(restore=_left_in_evaluation)),
]:  # fmt: skip
    PLANTED.add("3.8", _mistake, shows=_shows)(_write)
