"""Wrong answers to homework 5, words: losses, a step of training, analogies."""

import math

import numpy as np

from minissl.autograd import operations as ops
from minissl.autograd.rows import Rows
from minissl.autograd.tensor import Tensor
from minissl.losses import words
from minissl.optim import adagrad
from tests.homework.planted import Collection

PLANTED = Collection()


# ---- 5.7 negative_sampling_gradients -------------------------------------------------------------


def sampler(
    *,
    batch=len,
    seen=lambda s: s - 1,
    noise=lambda s: s,
    loss=lambda real, noise, n: (real.sum() + noise.sum()) / n,
    center=lambda of_seen, of_noise: of_seen + of_noise,
    context=lambda w, c: w,
    negatives=lambda w, n: w[:, None],
    sign=1,
    softplus=lambda x: np.logaddexp(0, x),
    sigmoid=lambda x: 1 / (1 + np.exp(-np.maximum(x, -500))),
    dtype=None,
):
    """The loss and the gradients of seen pairs and noise pairs apart, with one thing wrong."""

    def negative_sampling_gradients(w, c, n):
        size = batch(w)
        real = np.einsum("bd,bd->b", w, c)
        drawn = np.einsum("bd,bkd->bk", w, n)
        value = loss(softplus(-real), softplus(drawn), size)
        s = (seen(sigmoid(real)) / size)[:, None] * sign
        d = (noise(sigmoid(drawn)) / size)[:, :, None] * sign
        gradients = (center(s * c, (d * n).sum(axis=1)), s * context(w, c), d * negatives(w, n))
        return float(value), *(np.asarray(g, dtype or w.dtype) for g in gradients)

    return negative_sampling_gradients


def sample_in_a_loop(center, context, negatives):
    """Pair by pair, as word2vec's program does it."""
    loss, batch = 0.0, len(center)
    gradients = [np.zeros_like(x, np.float64) for x in (center, context, negatives)]
    for i in range(batch):
        for k, word in enumerate([context[i], *negatives[i]]):
            score = float(center[i] @ word)
            label = 1.0 if k == 0 else 0.0
            sigmoid = 0.5 * (1 + math.tanh(score / 2))
            loss += np.logaddexp(0, -score if label else score) / batch
            pull = (sigmoid - label) / batch
            gradients[0][i] += pull * word
            target = gradients[1][i] if label else gradients[2][i, k - 1]
            target += pull * center[i]
    dtypes = [x.dtype for x in (center, context, negatives)]
    return float(loss), *(g.astype(d) for g, d in zip(gradients, dtypes))


for _mistake, _shows, _sampler in [
    ("sums", "sum over the batch was taken|not divided by the batch", sampler(batch=lambda w: 1)),
    ("loss summed", "sum over the batch", sampler(loss=lambda r, n, b: r.sum() + n.sum())),
    ("noise averaged", "mean over the noise", sampler(loss=lambda r, n, b: (r + n.mean(1)).mean())),
    ("no noise in the loss", "noise is missing", sampler(loss=lambda r, n, b: r.mean())),
    (
        "mean over all pairs",
        "mean over all pairs",
        sampler(loss=lambda r, n, b: np.concatenate([r[:, None], n], 1).mean()),
    ),
    ("the sign", "sign is wrong: this", sampler(loss=lambda r, n, b: -(r.sum() + n.sum()) / b)),
    ("uphill", "a step against the gradient", sampler(sign=-1)),
    ("no noise at the center", "noise pulls at the center", sampler(center=lambda s, n: s)),
    ("only noise at the center", "that was seen pulls", sampler(center=lambda s, n: n)),
    ("σ for what was seen", "is σ.s. − 1, not σ.s.", sampler(seen=lambda s: s)),
    ("σ − 1 for noise", "not by σ.s. − 1", sampler(noise=lambda s: s - 1)),
    ("c for w", "of w·c by c is w", sampler(context=lambda w, c: c)),
    ("n for w", "of w·n by n is w", sampler(negatives=lambda w, n: n)),
    ("no factor", "factor σ.s. − 1 is missing", sampler(seen=lambda s: -np.ones_like(s))),
    (
        "overflow",
        "overflow|NaN|σ of a large",
        sampler(softplus=lambda x: np.log(1 + np.exp(x))),
    ),
    ("float64", "gradients of float32", sampler(dtype=np.float64)),
]:
    PLANTED.add("5.7", _mistake, shows=_shows)(_sampler)


@PLANTED.add("5.7", "noise words added up", shows="noise words were added up|the shape is")
def _(center, context, negatives):
    loss, of_center, of_context, of_noise = words.negative_sampling_gradients(
        center, context, negatives
    )
    return loss, of_center, of_context, of_noise.sum(axis=1)


@PLANTED.add("5.7", "gradients alone", shows="three gradients")
def _(center, context, negatives):
    return words.negative_sampling_gradients(center, context, negatives)[1:]


# ---- 5.8 glove_weights, 5.9 glove ----------------------------------------------------------------


def refuse(counts, largest, power):
    """ValueError for what has to be refused."""
    if not (0 < largest < math.inf and 0 < power < math.inf) or not (np.asarray(counts) >= 0).all():
        raise ValueError("no such weights")


def weigher(formula, check=refuse, dtype=None):
    """glove_weights by a formula of (x / largest, power)."""

    def glove_weights(counts, largest=100.0, power=0.75):
        check(counts, largest, power)
        counts = np.asarray(counts)
        found = formula(counts, largest, power)
        return found.astype(dtype or (counts.dtype if counts.dtype.kind == "f" else np.float64))

    return glove_weights


weigh_by_where = weigher(lambda x, most, p: np.where(x < most, np.power(x / most, p), 1.0))
weigh_by_clip = weigher(lambda x, most, p: np.power(np.clip(x, 0, most) / most, p))

for _mistake, _shows, _weigher in [
    ("no cap", "it is at most 1", weigher(lambda x, most, p: (x / most) ** p)),
    ("no power", "the power is missing", weigher(lambda x, most, p: np.minimum(1, x / most))),
    ("0.75", "need not be 0.75", weigher(lambda x, most, p: np.minimum(1, x / most) ** 0.75)),
    ("power first", "before the power", weigher(lambda x, most, p: np.minimum(1, x**p / most))),
    (
        "100 always",
        "need not be 100",
        weigher(lambda x, most, p: np.minimum(1, x / 100) ** p),
    ),
    (
        "large ones dropped",
        "large counts get 1, not 0",
        weigher(lambda x, most, p: np.where(x < most, (x / most) ** p, 0.0)),
    ),
    ("float64", "dtype", weigher(lambda x, m, p: np.minimum(1, x / m) ** p, dtype=np.float64)),
    (
        "nothing refused",
        "should raise",
        weigher(lambda x, m, p: np.minimum(1, x / m) ** p, lambda *a: None),
    ),
]:
    PLANTED.add("5.8", _mistake, shows=_shows)(_weigher)


def fitter(
    *,
    half=0.5,
    reduce=ops.mean,
    log=np.log,
    weights=words.glove_weights,
    power=lambda error: error * error,
    check=True,
):
    """glove as it reads, with something to get wrong in it."""

    def glove(predicted, counts, largest=100.0, power_=0.75):
        counts = np.asarray(counts)
        if check and (counts.shape != predicted.shape or not (counts > 0).all()):
            raise ValueError("this cannot be")
        f = Tensor(weights(counts, largest, power_))
        return half * reduce(f * power(predicted - Tensor(log(counts))))

    return glove


def fit_by_roots(predicted, counts, largest=100.0, power=0.75):
    """glove as the squares of errors that were multiplied by the roots of the weights."""
    counts = np.asarray(counts)
    if counts.shape != predicted.shape or not (counts > 0).all():
        raise ValueError("this cannot be")
    root = np.sqrt(words.glove_weights(counts, largest, power) / 2 / len(counts))
    error = Tensor(root) * (predicted - Tensor(np.log(counts)))
    return ops.sum(error * error)


for _mistake, _shows, _fitter in [
    ("no half", "half is missing", fitter(half=1.0)),
    ("the sum", "sum over the pairs", fitter(reduce=ops.sum)),
    ("no weights", "weights are missing", fitter(weights=lambda c, *a: np.ones(len(c)))),
    ("no logarithm", "logarithm is missing", fitter(log=lambda x: x)),
    ("log 1 + x", "log.1 . x.", fitter(log=np.log1p)),
    ("defaults", "not handed on", fitter(weights=lambda c, *a: words.glove_weights(c))),
    (
        "weights squared",
        "f.x.² is too",
        fitter(weights=lambda c, *a: words.glove_weights(c, *a) ** 2),
    ),
    ("absolute", "square is missing", fitter(power=lambda e: (e * e) ** 0.5)),
    ("nothing refused", "should raise", fitter(check=False)),
    (
        "no gradient",
        "there is no gradient",
        fitter(power=lambda error: Tensor(error.numpy() ** 2)),
    ),
]:
    PLANTED.add("5.9", _mistake, shows=_shows)(_fitter)


# ---- 5.10 AdaGrad.update -------------------------------------------------------------------------


def stepper(
    *,
    step=lambda g, s, eps: g / (np.sqrt(s) + eps),
    add=lambda sum_, g: sum_ + g * g,
    late=False,
    initial=True,
    downhill=1,
    in_place=True,
    rows=True,
):
    """An AdaGrad whose ``update`` writes the gradient out, with something to get wrong in it."""

    class AdaGrad(adagrad.AdaGrad):
        def update(self, name, parameter, lr):
            g = parameter.grad
            if isinstance(g, Rows):
                g = g.whole() if rows else np.broadcast_to(g.values[:1], g.shape)
            sums = self.state["sum_of_squares"]
            before, sums[name] = sums[name], add(sums[name], g)
            s = (before if late else sums[name]) + (self.initial_sum if initial else 0.0)
            moved = np.zeros_like(parameter.array)
            there = g != 0
            with np.errstate(all="ignore"):
                moved[there] = lr * step(g[there], s[there], self.eps)
            array = parameter.array - downhill * moved
            if in_place:
                parameter.array[...] = array

    return AdaGrad


class LoopedAdaGrad(adagrad.AdaGrad):
    """Row by row."""

    def update(self, name, parameter, lr):
        g = parameter.grad
        some = isinstance(g, Rows)
        numbers = g.positions.tolist() if some else range(len(parameter.array))
        squares = self.state["sum_of_squares"][name]
        for row, values in zip(numbers, g.values if some else g):
            squares[row] += values**2
            scale = np.sqrt(squares[row] + self.initial_sum) + self.eps
            parameter.array[row] -= lr * values / scale


for _mistake, _shows, _stepper in [
    ("forgets", "squares are not added up", stepper(add=lambda s, g: g * g)),
    ("late", "before the step", stepper(late=True)),
    ("no root", "square root is missing", stepper(step=lambda g, s, eps: g / (s + eps))),
    ("ε under the root", "not under it", stepper(step=lambda g, s, eps: g / np.sqrt(s + eps))),
    ("no initial sum", "initial_sum is left out", stepper(initial=False)),
    ("uphill", "goes uphill", stepper(downhill=-1)),
    ("plain descent", "plain gradient descent", stepper(step=lambda g, s, eps: g)),
    ("not in place", "has not moved", stepper(in_place=False)),
    ("absolute values", "was added up, not g²", stepper(add=lambda s, g: s + np.abs(g))),
    ("every row moves", "values are wrong", stepper(rows=False)),
]:
    PLANTED.add("5.10", _mistake, shows=_shows)(_stepper)


@PLANTED.add("5.10", "arrays only", shows="TypeError|AttributeError|raised")
class _(adagrad.AdaGrad):
    def update(self, name, parameter, lr):
        squares = self.state["sum_of_squares"][name]
        squares += parameter.grad**2
        root = np.sqrt(squares + self.initial_sum) + self.eps
        parameter.array -= lr * parameter.grad / root


# ---- 5.11 analogy_scores -------------------------------------------------------------------------


def scorer(
    *,
    total=lambda cosines: np.sum(cosines, axis=0) if len(cosines) else 0.0,
    minus=lambda above, below: above - below,
    shift=lambda cosine: (1 + cosine) / 2,
    above=0.0,
    below=1e-3,
    divide=lambda top, bottom: top / bottom,
    rules=("add", "multiply"),
):
    """analogy_scores as it reads, with something to get wrong in it."""

    def analogy_scores(near, far, rule="add"):
        if rule not in rules:
            raise ValueError(f"no such rule: {rule}")
        if rule == "add":
            return np.asarray(minus(total(near), total(far)))
        top = np.prod([shift(c) + above for c in near], axis=0)
        bottom = np.prod([shift(c) + below for c in far], axis=0)
        with np.errstate(all="ignore"):
            return np.asarray(divide(top, bottom))

    return analogy_scores


def score_by_logarithms(plus, minus, rule="add"):
    """3CosMul as a sum of logarithms; 3CosAdd one after the other."""
    if rule == "add":
        scores = np.zeros_like(plus[0])
        for cosines in plus:
            scores = scores + cosines
        for cosines in minus:
            scores = scores - cosines
        return scores
    if rule != "multiply":
        raise ValueError("there are two rules")
    with np.errstate(divide="ignore"):
        logs = sum(np.log((1 + c) / 2) for c in plus)
        return np.exp(logs - sum(np.log((1 + c) / 2 + 1e-3) for c in minus))


for _mistake, _shows, _scorer in [
    ("added", "taken away was added", scorer(minus=lambda a, b: a + b)),
    ("the sign", "the sign is wrong", scorer(minus=lambda a, b: b - a)),
    ("left out", "was left out", scorer(minus=lambda a, b: a)),
    (
        "means",
        "means were taken",
        scorer(total=lambda c: np.mean(c, axis=0) if len(c) else 0.0),
    ),
    ("not shifted", "from −1 to 1", scorer(shift=lambda cosine: cosine)),
    ("no half", "half is missing", scorer(shift=lambda cosine: 1 + cosine)),
    ("no ε", "0.001 is missing|NaN", scorer(below=0.0)),
    ("ε twice", "to what divides", scorer(above=1e-3)),
    ("multiplied", "taken away divides", scorer(below=0.0, divide=lambda t, b: t * b)),
    ("logarithms", "this is the logarithm", scorer(divide=lambda t, b: np.log(t / b))),
    ("any rule", "should raise", scorer(rules=("add", "multiply", "divide"))),
]:
    PLANTED.add("5.11", _mistake, shows=_shows)(_scorer)


@PLANTED.add("5.11", "one rule for both", shows="rule of sums")
def _(plus, minus, rule="add"):
    return scorer()(plus, minus, "add" if rule == "multiply" else rule)
