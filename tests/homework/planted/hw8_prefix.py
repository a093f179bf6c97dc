"""Wrong answers to homework 8, adaptation: a prefix, and adapters."""

import math

import numpy as np

from tests.homework.planted import Collection

PLANTED = Collection()


# ---- 8.4 attend_with_prefix ----------------------------------------------------------------------


def prefixer(
    parts=lambda prefix: prefix,
    root=lambda query: math.sqrt(query.shape[-1]),
    scores=lambda query, key: np.einsum("bqw,bkw->bqk", query, key),
    real=lambda places, time, lengths: (np.arange(places + time) < places + lengths[:, None])[
        :, None
    ],
    seen=lambda places, time: np.tri(time, places + time, places, dtype=bool),
    hidden=-np.inf,
    clean=lambda x, real: np.where(real[..., None], x, 0),
    largest=lambda table: table.max(axis=-1, keepdims=True),
    softmaxed=lambda table, largest, places: (
        (e := np.exp(table - largest(table))) / e.sum(axis=-1, keepdims=True)
    ),
    finish=lambda outputs, real: np.where(real[..., None], outputs, 0),
):
    """attend_with_prefix of all rows at once with a mask, with something to get wrong in it."""

    def attend_with_prefix(query, key, value, prefix, lengths, *, causal):
        batch, time, _ = query.shape
        own = np.arange(time) < lengths[:, None]
        query, key, value = (clean(x, own) for x in (query, key, value))
        keys, values = (
            np.concatenate([np.broadcast_to(p, (batch, *p.shape)), x], axis=1)
            for p, x in zip(parts(prefix), (key, value))
        )
        places = keys.shape[1] - time
        mask = np.broadcast_to(real(places, time, lengths), (batch, time, places + time))
        if causal:
            mask = mask & seen(places, time)
        table = np.where(mask, scores(query, keys) / root(query), hidden)
        weights = softmaxed(table, largest, places)
        return finish(np.einsum("bqk,bkw->bqw", weights, values), own)

    return attend_with_prefix


def prefixed_query_by_query(query, key, value, prefix, lengths, *, causal):
    """In loops."""
    outputs = np.zeros_like(value)
    for b, length in enumerate(lengths.tolist()):
        for t in range(length):
            stop = t + 1 if causal else length
            keys = np.vstack([prefix[0], key[b, :stop]])
            logits = keys @ query[b, t] / query.shape[2] ** 0.5
            weights = np.exp(logits - np.logaddexp.reduce(logits))
            outputs[b, t] = weights @ np.vstack([prefix[1], value[b, :stop]])
    return outputs


def as_given(x, real):
    """With its padding."""
    return x


def _apart(table, largest, places):
    """A softmax for the prefix, and one for the text."""
    parts = []
    for part in (table[..., :places], table[..., places:]):
        if part.shape[-1]:
            e = np.exp(part - part.max(axis=-1, keepdims=True))
            parts.append(e / e.sum(axis=-1, keepdims=True))
    return np.concatenate(parts, axis=-1)


for _mistake, _shows, _prefixer in [
    ("no prefix", "prefix is not read", prefixer(parts=lambda p: tuple(x[:0] for x in p))),
    ("exchanged", "of the prefix are exchanged", prefixer(parts=lambda prefix: prefix[::-1])),
    ("one place", "only the first place", prefixer(parts=lambda p: tuple(x[:1] for x in p))),
    ("no root", "not divided by √width", prefixer(root=lambda query: 1.0)),
    ("by the width", "by the width, not by its root", prefixer(root=lambda q: q.shape[-1])),
    ("two softmaxes", "a softmax each", prefixer(softmaxed=_apart)),
    ("the text is not read", "text is not read", prefixer(
        real=lambda places, time, lengths: (np.arange(places + time) < places)[None, None])),
    ("lengths of all", "took places of it", prefixer(
        real=lambda places, time, lengths: (
            np.arange(places + time) < lengths[:, None])[:, None])),
    ("causal by the keys", "comes? on top|come on top", prefixer(
        seen=lambda places, time: np.tri(time, places + time, dtype=bool))),
    ("off by the prefix", "off by the prefix", prefixer(
        seen=lambda places, time: np.tri(time, places + time, 2 * places, dtype=bool))),
    ("not itself", "does not see itself", prefixer(
        seen=lambda places, time: np.tri(time, places + time, places - 1, dtype=bool))),
    ("the next one", "see the next one|off by the prefix", prefixer(
        seen=lambda places, time: np.tri(time, places + time, places + 1, dtype=bool))),
    ("never causal", "tokens behind are seen", prefixer(
        seen=lambda places, time: np.ones((time, places + time), bool))),
    ("a causal prefix", "not all of the prefix", prefixer(
        seen=lambda places, time: np.concatenate(
            [np.tri(time, places, dtype=bool), np.tri(time, dtype=bool)], axis=1))),
    ("padding is read", "padding is read", prefixer(
        clean=as_given, real=lambda places, time, lengths: np.ones((1, 1, places + time), bool))),
    ("one token of padding", "one token of padding", prefixer(
        clean=as_given, real=lambda places, time, lengths: (
            np.arange(places + time) < places + lengths[:, None] + 1)[:, None])),
    ("padding in the products", "came through", prefixer(clean=as_given)),
    ("outputs of padding", "outputs of padding", prefixer(finish=lambda outputs, real: outputs)),
    ("overflow", "too large for a float", prefixer(largest=lambda table: 0.0)),
    ("one largest", "became 0|values are wrong", prefixer(largest=lambda table: table.max())),
    ("a mask of −1000", "real scores are far below|far below", prefixer(hidden=-1000.0)),
]:  # fmt: skip
    PLANTED.add("8.4", _mistake, shows=_shows)(_prefixer)


@PLANTED.add("8.4", "always causal", shows="though it is not causal")
def always_causal(query, key, value, prefix, lengths, *, causal):
    return prefixer()(query, key, value, prefix, lengths, causal=True)


@PLANTED.add("8.4", "a prefix of one place or more", shows="it raised|without a prefix")
def some_prefix(query, key, value, prefix, lengths, *, causal):
    assert len(prefix[0])
    return prefixer()(query, key, value, prefix, lengths, causal=causal)


# ---- 8.5 adapt -----------------------------------------------------------------------------------


def gelu(z, cube=0.044715):
    """Half of it, and more the larger it is."""
    return 0.5 * z * (1 + np.tanh(np.sqrt(2 / np.pi).astype(z.dtype) * (z + cube * z**3)))


def adapter(
    bend=gelu,
    stays=lambda h: h,
    bias=lambda given: given,
    up_bias=lambda given: given,
    turn=lambda up: up,
    finish=lambda outputs, h: outputs,
):
    """adapt with something to get wrong in it."""

    def adapt(h, weights):
        down, down_bias, up, own_bias = weights
        middle = bend(np.einsum("...w,mw->...m", h, down) + bias(down_bias))
        added = np.einsum("...m,wm->...w", middle, turn(up)) + up_bias(own_bias)
        return finish(stays(h) + added, h)

    return adapt


def adapted_vector_by_vector(h, weights):
    """In a loop, gelu by a sigmoid: (1 + tanh z)/2 is one of 2 z."""
    down, down_bias, up, up_bias = weights
    outputs = np.empty_like(h)
    for at in np.ndindex(h.shape[:-1]):
        z = (down @ h[at] + down_bias).astype(np.float64)
        inside = 2 * math.sqrt(2 / math.pi) * (z + 0.044715 * z**3)
        middle = z / (1 + np.exp(np.clip(-inside, -700, 700)))
        outputs[at] = h[at] + up @ middle + up_bias
    return outputs


def _erf(z):
    return z / 2 * (1 + np.vectorize(math.erf)(z / math.sqrt(2)))


for _mistake, _shows, _adapter in [
    ("no skip", "h itself is missing", adapter(stays=lambda h: 0)),
    ("h twice", "h was added twice", adapter(stays=lambda h: 2 * h)),
    ("no gelu", "gelu is missing", adapter(bend=lambda z: z)),
    ("a relu", "this is a relu", adapter(bend=lambda z: np.maximum(z, 0))),
    ("a tanh", "this is a tanh", adapter(bend=np.tanh)),
    ("erf", "by erf", adapter(bend=_erf)),
    ("1.702", "sigmoid", adapter(bend=lambda z: z / (1 + np.exp(-1.702 * z)))),
    ("no cube", "cube in the gelu", adapter(bend=lambda z: gelu(z, 0))),
    ("no down_bias", "down_bias is missing", adapter(bias=lambda given: 0)),
    ("no up_bias", "up_bias is missing", adapter(up_bias=lambda given: 0)),
    ("in place", "changed its input", adapter(
        finish=lambda outputs, h: np.copyto(h, outputs) or h)),
    ("float64", "dtype is", adapter(finish=lambda outputs, h: outputs.astype(np.float64))),
    ("tanh by exponentials", "too large for a float", adapter(
        bend=lambda z: z / 2 * (1 + (
            (a := np.exp(0.7978845608028654 * (z + 0.044715 * z**3))) - 1 / a) / (a + 1 / a)))),
    ("the first vector for all", "values are wrong|shape is", adapter(
        finish=lambda outputs, h: h + (outputs - h).reshape(-1, h.shape[-1])[0])),
    ("the same array", "make a new one|changed its input", adapter(
        finish=lambda outputs, h: h if np.array_equal(outputs, h) else outputs)),
]:  # fmt: skip
    PLANTED.add("8.5", _mistake, shows=_shows)(_adapter)


# ---- 8.6 new_adapter -----------------------------------------------------------------------------


def maker(
    draw=lambda generator, shape: generator.normal(0, 0.01, shape),
    up=lambda draw, generator, shape, down: draw(generator, shape),
    bias=np.zeros,
    dtype=np.float32,
    own=lambda generator: generator,
    shapes=lambda width, middle: ((middle, width), (width, middle)),
    finish=lambda *weights: weights,
):
    """new_adapter with something to get wrong in it."""

    def new_adapter(width, middle, generator):
        generator = own(generator)
        first, second = shapes(width, middle)
        down = draw(generator, first).astype(dtype)
        other = up(draw, generator, second, down).astype(dtype)
        biases = (bias(n).astype(dtype) for n in (first[0], second[0]))
        return finish(down, next(biases), other, next(biases))

    return new_adapter


def made_number_by_number(width, middle, generator):
    """One draw for each number."""
    matrices = [
        np.array([[generator.standard_normal() / 100 for _ in range(b)] for _ in range(a)])
        for a, b in ((middle, width), (width, middle))
    ]
    down, up = (m.astype("float32") for m in matrices)
    return down, np.zeros_like(down[:, 0]), up, np.zeros_like(up[:, 0])


for _mistake, _shows, _maker in [
    ("all zeros", "has zeros", maker(draw=lambda g, shape: np.zeros(shape))),
    ("up is 0, as in LoRA", "up has zeros", maker(
        up=lambda draw, g, shape, down: np.zeros(shape))),
    ("down is 0", "down has zeros", maker(
        draw=lambda g, shape: np.zeros(shape), up=lambda draw, g, s, down: g.normal(0, 0.01, s))),
    ("as large as a layer's", "the deviation of down", maker(
        draw=lambda g, shape: g.normal(0, shape[1] ** -0.5, shape))),
    ("the variance", "is the deviation, not the variance", maker(
        draw=lambda g, shape: g.normal(0, 0.1, shape))),
    ("0.02", "the deviation of down", maker(draw=lambda g, shape: g.normal(0, 0.02, shape))),
    ("up as large as usual", "the deviation of up", maker(
        up=lambda draw, g, shape, down: g.normal(0, 0.1, shape))),
    ("uniform", "not its tails|deviation of", maker(
        draw=lambda g, shape: g.uniform(-0.017320508, 0.017320508, shape))),
    ("not around 0", "the mean of down", maker(
        draw=lambda g, shape: g.normal(0.002, 0.01, shape))),
    ("the same numbers", "are the same numbers", maker(
        up=lambda draw, g, shape, down: down.T.copy())),
    ("biases of 1", "begins with 0", maker(bias=np.ones)),
    ("random biases", "begins with 0", maker(bias=lambda n: 0.01 * (1 + np.arange(n)))),
    ("float64", "weights are float32", maker(dtype=np.float64)),
    ("matrices turned", "the shapes are", maker(
        shapes=lambda width, middle: ((width, middle), (middle, width)))),
    ("another order", "the shapes are", maker(finish=lambda d, db, u, ub: (d, u, db, ub))),
    ("a seed of its own", "make no other|draw both|another", maker(
        own=lambda g: np.random.default_rng(0))),
    ("NumPy's global numbers", "draw from the one that is given", maker(own=lambda g: np.random)),
    ("two arrays", "expected four arrays", maker(finish=lambda d, db, u, ub: (d, u))),
]:  # fmt: skip
    PLANTED.add("8.6", _mistake, shows=_shows)(_maker)
