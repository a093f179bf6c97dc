"""Wrong answers to homework 7, encoders: the network."""

import numpy as np

from tests.homework.planted import Collection

PLANTED = Collection()


# ---- 7.6 attend ----------------------------------------------------------------------------------


def attender(
    root=lambda query: np.sqrt(query.shape[-1]),
    scores=lambda query, key: np.einsum("bqw,bkw->bqk", query, key),
    seen=lambda time, lengths: np.broadcast_to(
        np.arange(time) < lengths[:, None, None], (len(lengths), time, time)
    ),
    hidden=-np.inf,
    clean=lambda x, real: np.where(real[..., None], x, 0),
    largest=lambda scores: scores.max(axis=-1, keepdims=True),
    axis=-1,
    finish=lambda outputs, real: np.where(real[..., None], outputs, 0),
):
    """attend of all rows at once with a mask, with something to get wrong in it."""

    def attend(query, key, value, lengths):
        time = query.shape[1]
        real = np.arange(time) < lengths[:, None]
        query, key, value = (clean(x, real) for x in (query, key, value))
        table = np.where(seen(time, lengths), scores(query, key) / root(query), hidden)
        weights = np.exp(table - largest(table))
        weights = weights / weights.sum(axis=axis, keepdims=True)
        return finish(np.einsum("bqk,bkw->bqw", weights, value), real)

    return attend


def attend_by_words(query, key, value, lengths):
    """Query by query, in loops."""
    outputs = np.zeros_like(value)
    for i, length in enumerate(lengths.tolist()):
        for t in range(length):
            logits = [float(query[i, t] @ key[i, j]) / query.shape[2] ** 0.5 for j in range(length)]
            weights = np.exp(np.array(logits) - np.logaddexp.reduce(logits))
            outputs[i, t] = weights @ value[i, :length]
    return outputs


def as_given(x, real):
    """With its padding."""
    return x


def beside(time, lengths):
    """All real tokens but itself, where there are others."""
    alone = (lengths == 1)[:, None, None]
    return (np.arange(time) < lengths[:, None, None]) & (~np.eye(time, dtype=bool) | alone)


for _mistake, _shows, _attender in [
    ("causal", "looks in both directions", attender(
        seen=lambda time, lengths: (np.arange(time) < lengths[:, None, None])
        & np.tri(time, dtype=bool))),
    ("not itself", "does not see itself", attender(seen=beside)),
    ("no root", "not divided by √width", attender(root=lambda query: 1.0)),
    ("by the width", "by the width, not by its root", attender(root=lambda q: q.shape[-1])),
    ("by the time", "divided by √time", attender(root=lambda query: np.sqrt(query.shape[1]))),
    ("exchanged", "exchanged", attender(
        scores=lambda query, key: np.einsum("bqw,bkw->bqk", key, query))),
    ("no mask", "came through|padding was attended to", attender(
        seen=lambda time, lengths: np.ones((len(lengths), time, time), bool), clean=as_given)),
    ("a score of 0", "a score of 0 is no mask", attender(hidden=0.0)),
    ("one too few", "last real token", attender(
        seen=lambda time, lengths: np.broadcast_to(
            np.arange(time) < np.maximum(lengths - 1, 1)[:, None, None],
            (len(lengths), time, time)))),
    ("one too many", "one token of the padding", attender(
        clean=as_given, seen=lambda time, lengths: np.broadcast_to(
            np.arange(time) < lengths[:, None, None] + 1, (len(lengths), time, time)))),
    ("padding in the products", "came through", attender(clean=as_given)),
    ("one length", "values are wrong|came through", attender(
        clean=as_given, seen=lambda time, lengths: np.broadcast_to(
            np.arange(time) < lengths.max(), (len(lengths), time, time)))),
    ("outputs of padding", "outputs of padding", attender(finish=lambda outputs, real: outputs)),
    ("overflow", "too large for a float", attender(largest=lambda scores: 0.0)),
    ("without padding's rows", "the shape is|it raised", attender(
        finish=lambda outputs, real: outputs[real])),
]:  # fmt: skip
    PLANTED.add("7.6", _mistake, shows=_shows)(_attender)


# ---- the softmax of both heads -------------------------------------------------------------------


def log_softmax(logits):
    """ln p of each row."""
    return logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)


def slopes_of(log_p, targets):
    """Of the mean, by the logits: (p − one-hot) / rows."""
    return (np.exp(log_p) - np.eye(log_p.shape[1])[targets]) / len(targets)


# ---- 7.7 tied_loss -------------------------------------------------------------------------------


def _add(gradient, tokens, slopes):
    np.add.at(gradient, tokens, slopes)


def _add_once(gradient, tokens, slopes):
    gradient[tokens] += slopes


def _overwrite(gradient, tokens, slopes):
    gradient[tokens] = 0
    np.add.at(gradient, tokens, slopes)


def tier(
    turn=lambda weight: weight,
    log_p=log_softmax,
    loss=lambda costs: float(np.mean(costs)),
    scale=lambda slopes: slopes,
    as_output=lambda slopes, states: slopes.T @ states,
    as_input=lambda slopes, vectors, weight: slopes @ vectors @ weight.T,
    add=_add,
    finish=lambda gradient: gradient,
):
    """tied_loss with something to get wrong in it."""

    def tied_loss(vectors, weight, tokens, targets):
        states = vectors[tokens] @ turn(weight)
        table = log_p(states @ vectors.T)
        costs = -table[np.arange(len(tokens)), targets]
        slopes = scale(slopes_of(table, targets))
        gradient = as_output(slopes, states)
        add(gradient, tokens, as_input(slopes, vectors, turn(weight)))
        return loss(costs), finish(gradient)

    return tied_loss


def tied_by_one_hot(vectors, weight, tokens, targets):
    """Both uses as products with matrices of ones."""
    chosen = np.eye(len(vectors))[tokens]
    states = chosen @ vectors @ weight
    table = log_softmax(states @ vectors.T)
    slopes = slopes_of(table, targets)
    loss = -np.sum(table * np.eye(len(vectors))[targets]) / len(tokens)
    return loss, slopes.T @ states + chosen.T @ (slopes @ vectors @ weight.T)


for _mistake, _shows, _tier in [
    ("summed", "sum was taken", tier(loss=lambda costs: float(np.sum(costs)))),
    ("the sign", "sign is wrong", tier(loss=lambda costs: -float(np.mean(costs)))),
    ("turned", "weight is turned|values are wrong", tier(turn=lambda weight: weight.T)),
    ("no weight", "weight is missing", tier(turn=lambda weight: np.eye(len(weight)))),
    ("overflow", "overflow", tier(
        log_p=lambda x: x - np.log(np.exp(x).sum(axis=1, keepdims=True)))),
    ("output alone", "use as input is missing", tier(add=lambda *_: None)),
    ("input alone", "use as output is missing", tier(
        as_output=lambda slopes, states: np.zeros((slopes.shape[1], states.shape[1])))),
    ("half of it", "not their mean", tier(finish=lambda gradient: gradient / 2)),
    ("overwritten", "was overwritten", tier(add=_overwrite)),
    ("of the sum", "gradient of the sum over the places", tier(
        scale=lambda slopes: slopes * len(slopes))),
    ("uphill", "sign is wrong", tier(finish=lambda gradient: -gradient)),
    ("+= with an index", "gets both gradients", tier(add=_add_once)),
    ("weight forgotten on the way back", "gradient is wrong", tier(
        as_input=lambda slopes, vectors, weight: slopes @ vectors)),
    ("weight turned on the way back", "gradient is wrong", tier(
        as_input=lambda slopes, vectors, weight: slopes @ vectors @ weight)),
    ("the targets' rows", "gradient is wrong|gets both", tier(
        add=lambda gradient, tokens, slopes: _add(gradient, tokens[::-1], 2 * slopes))),
    ("the loss alone", "expected the loss and", lambda *given: tier()(*given)[0]),
]:  # fmt: skip
    PLANTED.add("7.7", _mistake, shows=_shows)(_tier)


# ---- 7.8 classify --------------------------------------------------------------------------------


def classifier(
    pick=lambda states: states[:, 0],
    turn=lambda weight: weight,
    squash=np.tanh,
    slope=lambda pooled: 1 - pooled**2,
    bias=lambda given: given,
    loss=lambda costs: float(np.mean(costs)),
    scale=lambda slopes: slopes,
    place=lambda gradient, first: gradient.__setitem__((slice(None), 0), first),
    finish=lambda gradients: tuple(gradients),
):
    """classify with something to get wrong in it."""

    def classify(states, weight, given, output, labels):
        first = pick(states)
        pooled = squash(first @ turn(weight).T + bias(given))
        table = log_softmax(pooled @ output.T)
        slopes = scale(slopes_of(table, labels))
        back = slopes @ output * slope(pooled)
        by_states = np.zeros_like(states)
        place(by_states, back @ turn(weight))
        gradients = [by_states, back.T @ first, back.sum(axis=0), slopes.T @ pooled]
        costs = -table[np.arange(len(labels)), labels]
        return loss(costs), finish(gradients)

    return classify


def classify_row_by_row(states, weight, bias, output, labels):
    """Example by example, the gradients added up."""
    gradients = [np.zeros_like(x) for x in (states, weight, bias, output)]
    loss, count = 0.0, len(labels)
    for i, label in enumerate(labels.tolist()):
        pooled = np.tanh(weight @ states[i, 0] + bias)
        table = log_softmax((output @ pooled)[None])[0]
        loss -= table[label] / count
        slopes = np.exp(table) / count
        slopes[label] -= 1 / count
        back = output.T @ slopes * (1 - pooled * pooled)
        gradients[0][i, 0] = weight.T @ back
        gradients[1] += np.outer(back, states[i, 0])
        gradients[2] += back
        gradients[3] += np.outer(slopes, pooled)
    return loss, tuple(gradients)


def _everywhere(gradient, first):
    gradient[:] = first[:, None]


for _mistake, _shows, _classifier in [
    ("the last token", "last token's state", classifier(pick=lambda states: states[:, -1])),
    ("the mean of the states", "mean of the states", classifier(
        pick=lambda states: states.mean(axis=1))),
    ("no tanh", "tanh is missing", classifier(squash=lambda x: x, slope=lambda pooled: 1.0)),
    ("turned", "weight is turned", classifier(turn=lambda weight: weight.T)),
    ("no bias", "bias is missing", classifier(bias=lambda given: 0)),
    ("summed", "sum was taken", classifier(loss=lambda costs: float(np.sum(costs)))),
    ("the sign", "sign is wrong", classifier(loss=lambda costs: -float(np.mean(costs)))),
    ("no slope of tanh", "slope of tanh", classifier(slope=lambda pooled: 1.0)),
    ("slope of the sigmoid", "gradient by weight is wrong", classifier(
        slope=lambda pooled: pooled * (1 - pooled))),
    ("of the sum", "gradient of the sum over the batch", classifier(
        scale=lambda slopes: slopes * len(slopes))),
    ("uphill", "sign is wrong", classifier(finish=lambda g: tuple(-x for x in g))),
    ("W turned", "it is turned", classifier(finish=lambda g: (g[0], g[1].T, *g[2:]))),
    ("the output's turned", "it is turned|the shape is", classifier(
        finish=lambda g: (*g[:3], g[3].T))),
    ("bias of each example", "the shape is|by bias is wrong|of the sum", classifier(
        finish=lambda g: (g[0], g[1], np.repeat(g[2][None], 2, axis=0), g[3]))),
    ("all states", "only \\[CLS\\] was read", classifier(place=_everywhere)),
    ("of [CLS] alone", "that of all states is asked for", classifier(
        finish=lambda g: (g[0][:, 0], *g[1:]))),
    ("no gradient of the states", "by states is wrong", classifier(place=lambda *_: None)),
    ("three gradients", "a tuple of four", classifier(finish=lambda g: tuple(g[1:]))),
]:  # fmt: skip
    PLANTED.add("7.8", _mistake, shows=_shows)(_classifier)
