"""Wrong answers to homework 7, encoders, that are right in most cases: 7.6 to 7.12."""

import functools

import numpy as np

from tests.homework.planted import Collection
from tests.homework.planted import hw7_network as network
from tests.homework.planted import hw7_spans as spans

PLANTED = Collection()


# ---- 7.6 attend ----------------------------------------------------------------------------------


def reweighted(again):
    """Weights of padding set to 0 after the softmax."""

    def attend(query, key, value, lengths):
        real = np.arange(query.shape[1]) < lengths[:, None]
        value = np.where(real[..., None], value, 0)
        scores = query @ key.transpose(0, 2, 1) / np.sqrt(query.shape[2])
        weights = np.exp(scores - scores.max(axis=2, keepdims=True))
        weights = weights / weights.sum(axis=2, keepdims=True) * real[:, None]
        if again:
            weights = weights / weights.sum(axis=2, keepdims=True)
        return weights @ value * real[..., None]

    return attend


def row_alone(query, key, value, lengths):
    """In the caller's array of values."""
    value[:] = network.attender()(query, key, value, lengths)
    return value


def of_a_row(row):
    """The length of one row for all of them."""
    return lambda time, lengths: np.broadcast_to(
        np.arange(time) < lengths[row], (len(lengths), time, time)
    )


for _mistake, _shows, _attender in [
    ("softmax over the queries", "over the queries", network.attender(
        axis=-2, hidden=-1e300, largest=lambda scores: scores.max(axis=-2, keepdims=True))),
    ("not normalised again", "sum to 1", reweighted(False)),
    ("normalised again", "below that of the padding|came through", reweighted(True)),
    ("a mask of -100", "below that of the padding", network.attender(hidden=-100.0)),
    ("a mask of -10000", "below that of the padding", network.attender(hidden=-10000.0)),
    ("one maximum for all", "of each query", network.attender(largest=lambda scores: scores.max())),
    ("the first row's length", "first row's length", network.attender(seen=of_a_row(0))),
    ("float32", "dtype is float32", network.attender(
        finish=lambda outputs, real: np.where(real[..., None], outputs, 0).astype(np.float32))),
    ("into the values", "changed its input", row_alone),
]:  # fmt: skip
    PLANTED.add("7.6", _mistake, shows=_shows)(_attender)


# ---- 7.7 tied_loss -------------------------------------------------------------------------------


def by_differences(loss, x, step):
    """Not a derivative."""
    slopes = np.zeros_like(x)
    for at in np.ndindex(x.shape):
        e = np.zeros_like(x)
        e[at] = step
        slopes[at] = (loss(x + e) - loss(x - e)) / (2 * step)
    return slopes


def tied_by_differences(step):
    """The loss by hand, its gradient by differences."""

    def tied_loss(vectors, weight, tokens, targets):
        def loss(e):
            return network.tier()(e, weight, tokens, targets)[0]

        return loss(vectors), by_differences(loss, vectors, step)

    return tied_loss


def clipped(logits):
    """An epsilon for the logarithm."""
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.log(p / p.sum(axis=1, keepdims=True) + 1e-12)


def one_maximum(logits):
    """The largest of all rows, not of each."""
    p = np.exp(logits - logits.max())
    return np.log(p / p.sum(axis=1, keepdims=True))


def into_the_vectors(vectors, weight, tokens, targets):
    """The caller's vectors become the gradient."""
    loss, gradient = network.tier()(vectors, weight, tokens, targets)
    vectors[:] = gradient
    return loss, vectors


for _mistake, _shows, _tier in [
    ("differences", "finite differences", tied_by_differences(1e-5)),
    ("smaller differences", "finite differences", tied_by_differences(1e-7)),
    ("an epsilon", "ε in the logarithm|no logarithm", network.tier(log_p=clipped)),
    ("one maximum", "of each place|no logarithm", network.tier(log_p=one_maximum)),
    ("into the vectors", "changed its input", into_the_vectors),
    ("no one-hot", "1 of the target", network.tier(
        scale=lambda slopes: np.where(slopes < 0, 1 / len(slopes) + slopes, slopes))),
    ("gradient by the states", "by the states, not by the vectors", lambda *given: (
        network.tier()(*given)[0],
        network.slopes_of(network.log_softmax(given[0][given[2]] @ given[1] @ given[0].T), given[3])
        @ given[0])),
    ("in float32", "dtype is float32", network.tier(finish=lambda g: g.astype(np.float32))),
]:  # fmt: skip
    PLANTED.add("7.7", _mistake, shows=_shows)(_tier)


# ---- 7.8 classify --------------------------------------------------------------------------------


def classify_by_differences(states, weight, bias, output, labels):
    """The loss by hand, its gradients by differences."""
    arrays = [states, weight, bias, output]

    def of(i):
        return lambda x: network.classifier()(*arrays[:i], x, *arrays[i + 1 :], labels)[0]

    return network.classifier()(*arrays, labels)[0], tuple(
        by_differences(of(i), array, 1e-5) for i, array in enumerate(arrays)
    )


def into_the_states(states, weight, bias, output, labels):
    """The caller's states become the gradient."""
    loss, gradients = network.classifier()(states, weight, bias, output, labels)
    states[:] = gradients[0]
    return loss, (states, *gradients[1:])


for _mistake, _shows, _classifier in [
    ("differences", "finite differences", classify_by_differences),
    ("tanh twice", "of the pooled state, not of its tanh", network.classifier(
        slope=lambda pooled: 1 - np.tanh(pooled) ** 2)),
    ("the heads first", "in the order states, weight, bias, output", network.classifier(
        finish=lambda g: (*g[1:], g[0]))),
    ("the bias twice by the batch", "divided by the batch twice", network.classifier(
        finish=lambda g: (*g[:2], g[2] / len(g[0]), g[3]))),
    ("the first example alone", "of the first example", network.classifier(
        place=lambda gradient, first: gradient.__setitem__((0, 0), first[0]))),
    ("no one-hot", "the 1 of the label", network.classifier(
        finish=lambda g: g, scale=lambda slopes: np.where(slopes < 0, 1 / len(slopes) + slopes,
                                                          slopes))),
    ("into the states", "changed its input", into_the_states),
    ("in float32", "dtype is float32", network.classifier(
        finish=lambda gradients: tuple(g.astype(np.float32) for g in gradients))),
]:  # fmt: skip
    PLANTED.add("7.8", _mistake, shows=_shows)(_classifier)


# ---- 7.9 choose_words ----------------------------------------------------------------------------


def by_size(sizes, generator):
    """Larger words earlier, more often."""
    return generator.choice(len(sizes), len(sizes), replace=False, p=sizes / sizes.sum())


def careless(sizes, generator):
    """Each is exchanged with any, not with those from it on."""
    order = np.arange(len(sizes))
    for i in range(len(order)):
        j = generator.integers(len(order))
        order[[i, j]] = order[[j, i]]
    return order


def with_replacement(sizes, generator):
    """Some words come twice, some never."""
    return generator.integers(len(sizes), size=len(sizes))


def filled_best(sizes, budget, generator):
    """As much of the budget as can be spent."""
    tries = (spans.worder()(sizes, budget, generator) for _ in range(15))
    return max(tries, key=lambda taken: sizes @ taken if sizes @ taken <= budget else 0)


def one_visible(taken, sizes):
    """At least one word."""
    if taken.all() and len(taken) > 1:
        taken[-1] = False
    return taken


def shuffles_the_sizes(sizes, budget, generator):
    """The caller's."""
    keys = generator.permutation(len(sizes))
    taken = spans.worder()(sizes, budget, generator)
    sizes[:] = sizes[keys]
    return taken


for _mistake, _shows, _worder in [
    ("by their size", "larger words come earlier", spans.worder(order=by_size)),
    ("a shuffle with any place", "too often", spans.worder(order=careless)),
    ("with replacement", "would still fit", spans.worder(order=with_replacement)),
    ("filled as well as can be", "filled as well", filled_best),
    ("one stays visible", "would still fit", spans.worder(finish=one_visible)),
    ("shuffles the sizes", "changed its input", shuffles_the_sizes),
    ("0 and 1", "expected an array of booleans", spans.worder(
        finish=lambda taken, sizes: taken.astype(int))),
]:  # fmt: skip
    PLANTED.add("7.9", _mistake, shows=_shows)(_worder)


# ---- 7.10 length_probabilities -------------------------------------------------------------------


def recursive_lengths(p=0.2, longest=10):
    """One length more each time."""

    def weights(longest):
        return [1.0] if longest == 1 else [*(before := weights(longest - 1)), before[-1] * (1 - p)]

    found = np.array(weights(longest))
    return found / found.sum()


def by_draws(p=0.2, longest=10):
    """Counted, of many draws."""
    drawn = np.random.default_rng(0).geometric(p, 20_000)
    counts = np.bincount(drawn[drawn <= longest], minlength=longest + 1)[1:]
    return counts / counts.sum()


def kept_by_longest():
    """A cache whose key lacks p."""
    known = {}

    def probabilities(p=0.2, longest=10):
        if longest not in known:
            known[longest] = spans.lengths_by_loop(p, longest)
        return known[longest].copy()

    return probabilities


for _mistake, _shows, _lengther in [
    ("recursive", "RecursionError", recursive_lengths),
    ("counted", "these are counts of draws", by_draws),
    ("a cache without p", "another p", kept_by_longest()),
    ("always the same array", "same array", functools.cache(spans.lengths_by_loop)),
    ("an exponential", "ratio of neighbours is 1 − p, not e", spans.lengther(
        lambda p, longest: np.exp(-p * np.arange(longest)))),
    ("a number for one length", "the shape is \\(\\)", spans.lengther(
        finish=lambda weights: np.squeeze(weights / weights.sum()))),
    ("in float32", "dtype is float32", spans.lengther(
        finish=lambda weights: (weights / weights.sum()).astype(np.float32))),
]:  # fmt: skip
    PLANTED.add("7.10", _mistake, shows=_shows)(_lengther)


# ---- 7.11 choose_spans ---------------------------------------------------------------------------


def spanner(
    start=lambda first, length, count: first,
    words=lambda first, length, count: range(first, min(first + length, count)),
    size=lambda word, sizes: int(sizes[word]),
    near=lambda span: {w + d for w in span for d in (-1, 0, 1)},
    first=lambda hidden, count, generator: int(generator.integers(count)),
    **default,
):
    """choose_spans with other things to get wrong in it."""
    default = {"p": 0.2, "longest": 10, "tries": 60, **default}

    def choose_spans(sizes, budget, generator, **given):
        how = {**default, **given}
        hidden, left, count = [], budget, len(sizes)
        for _ in range(how["tries"]):
            if left <= 0:
                break
            length = spans.drawn_length(how["p"], how["longest"], generator)
            at = start(first(hidden, count, generator), length, count)
            span, room = [], left
            for word in words(at, length, count):
                if size(word, sizes) > room and (hidden or span):
                    break
                span, room = [*span, word], room - size(word, sizes)
            if span and not near(span) & set(hidden):
                hidden, left = hidden + span, room
        return np.isin(np.arange(count), hidden)

    return choose_spans


def among_visible(hidden, count, generator):
    """Only words that may still begin a span."""
    free = [w for w in range(count) if not {w - 1, w, w + 1} & set(hidden)]
    return int(generator.choice(free or [0]))


def kept_tokens(first, length, count):
    """All words: how many is for the tokens to say."""
    return range(first, count)


def in_tokens(sizes, budget, generator, *, p=0.2, longest=10, tries=60):
    """A length is a number of tokens."""

    def words(start, length, count):
        return [w for w in range(start, count) if sizes[start:w].sum() < length]

    how = {"p": p, "longest": longest, "tries": tries}
    return spanner(words=words)(sizes, budget, generator, **how)


for _mistake, _shows, _spanner in [
    ("moved to the left at the end", "was moved", spanner(
        start=lambda first, length, count: max(min(first, count - length), 0))),
    ("round the end", "was moved|goes round", spanner(
        words=lambda first, length, count: [w % count for w in range(first, first + length)][
            :count])),
    ("only the word before", "neighbours are hidden", spanner(
        near=lambda span: {w + d for w in span for d in (-1, 0)})),
    ("only the word behind", "neighbours are hidden", spanner(
        near=lambda span: {w + d for w in span for d in (0, 1)})),
    ("the longest is 10", "longest is not handed on|neighbours are hidden", lambda sizes, budget,
        generator, *, p=0.2, longest=10, tries=60: spanner()(
            sizes, budget, generator, p=p, tries=tries)),
    ("p is ½ by itself", "without p it is 0.2", spanner(p=0.5)),
    ("the longest is 5 by itself", "and without longest it is 10", spanner(longest=5)),
    ("nine tries by themselves", "without tries it is 60", spanner(tries=9)),
    ("a length in tokens", "in words, not in tokens", in_tokens),
    ("only words that are free", "may be in vain", spanner(first=among_visible)),
]:  # fmt: skip
    PLANTED.add("7.11", _mistake, shows=_shows)(_spanner)


# ---- 7.12 boundaries -----------------------------------------------------------------------------


def recursive_boundaries(hidden):
    """From a token to the next one, by a call."""

    def before(at):
        return at if at < 0 or not hidden[at] else before(at - 1)

    def behind(at):
        return (-1 if at == len(hidden) else at) if at == len(hidden) or not hidden[at] else behind(
            at + 1)  # fmt: skip

    found = [(before(at), behind(at), at - before(at) - 1) for at in np.flatnonzero(hidden)]
    left, right, place = np.array(found, np.int64).reshape(-1, 3).T
    return left, right, place


def round_the_end(found, time):
    """A row as a ring."""
    left, right, place = np.array(found, np.int64).reshape(-1, 3).T
    return left % time, right % time, place


def clears_the_row(hidden):
    """Span by span, each taken out of the caller's row."""
    found = spans.bounder()(hidden)
    hidden[:] = False
    return found


for _mistake, _shows, _bounder in [
    ("recursive", "RecursionError", recursive_boundaries),
    ("a ring", "row is no ring", spans.bounder(finish=round_the_end)),
    ("clears the row", "changed its input", clears_the_row),
    ("int32", "dtype is int32", spans.bounder(
        finish=lambda found, time: tuple(x.astype(np.int32)
                                         for x in spans.in_arrays(found, time)))),
    ("from the last span on", "in the order of the row", spans.bounder(
        finish=lambda found, time: tuple(x[::-1] for x in spans.in_arrays(found, time)))),
    ("the first span alone", "only the first span|the shape is", spans.bounder(
        finish=lambda found, time: spans.in_arrays(
            [row for row in found if row[0] == found[0][0]], time))),
    ("a table", "expected three arrays", spans.bounder(
        finish=lambda found, time: np.stack(spans.in_arrays(found, time)))),
]:  # fmt: skip
    PLANTED.add("7.12", _mistake, shows=_shows)(_bounder)
