"""Wrong answers to homework 7, encoders: masked tokens, and those of the other files."""

import math
import random

import numpy as np

from tests.homework.planted import (
    Collection,
    hw7_borrowed,
    hw7_broken,
    hw7_corners,
    hw7_edges,
    hw7_experiment,
    hw7_network,
    hw7_pairs,
    hw7_spans,
)

PLANTED = Collection(
    [
        *hw7_pairs.PLANTED,
        *hw7_network.PLANTED,
        *hw7_spans.PLANTED,
        *hw7_experiment.PLANTED,
        *hw7_borrowed.PLANTED,
        *hw7_edges.PLANTED,
        *hw7_corners.PLANTED,
        *hw7_broken.PLANTED,
    ]
)


# ---- 7.1 choose_pieces ---------------------------------------------------------------------------


def piecer(
    of=lambda allowed: allowed.sum(),
    whole=round,
    least=1,
    places=np.flatnonzero,
    draw=lambda generator, places, count: generator.choice(places, count, replace=False),
    own=lambda generator: generator,
    default=0.15,
    finish=lambda hidden: hidden,
):
    """choose_pieces with a draw of places, with something to get wrong in it."""

    def choose_pieces(allowed, generator, share=None):
        share = default if share is None else share
        found = places(allowed)
        count = min(max(whole(share * of(allowed)), least), len(found))
        hidden = np.zeros(len(allowed), bool)
        hidden[draw(own(generator), found, count)] = True
        return finish(hidden)

    return choose_pieces


def pieces_by_keys(allowed, generator, share=0.15):
    """The smallest of random keys."""
    keys = np.where(allowed, generator.random(len(allowed)), np.inf)
    number = int(allowed.sum())
    count = min(number, max(1, int(np.rint(share * number))))
    hidden = np.zeros(len(allowed), dtype=bool)
    hidden[np.argsort(keys)[:count]] = True
    return hidden


def each_by_itself(allowed, generator, share=0.15):
    """A coin for each token."""
    return allowed & (generator.random(len(allowed)) < share)


for _mistake, _shows, _piecer in [
    ("a coin for each", "changes from draw to draw", each_by_itself),
    ("drawn twice", "changes from draw to draw", piecer(
        draw=lambda generator, places, count: generator.choice(places, count))),
    ("[CLS] too", "not allowed", piecer(places=lambda allowed: np.arange(len(allowed)))),
    ("15 % of the row", "that are allowed, not of all", piecer(of=len)),
    ("none of a short row", "at least one", piecer(least=0)),
    ("rounded down", "rounded down", piecer(whole=math.floor)),
    ("rounded up", "rounded up", piecer(whole=math.ceil)),
    ("the first ones", "equally likely", piecer(draw=lambda g, places, count: places[:count])),
    ("a block", "equally likely", piecer(
        draw=lambda g, places, count: np.roll(places, g.integers(len(places) or 1))[:count])),
    ("the kept ones", "not allowed", piecer(finish=lambda hidden: ~hidden)),
    ("places, not booleans", "expected an array of booleans", piecer(finish=np.flatnonzero)),
    ("numbers 0 and 1", "expected an array of booleans", piecer(
        finish=lambda hidden: hidden.astype(int))),
    ("a seed of its own", "make no other", piecer(own=lambda g: np.random.default_rng(0))),
    ("NumPy's global numbers", "draw from the one that is given", piecer(own=lambda g: np.random)),
    ("10 % by itself", "without a share", piecer(default=0.1)),
]:  # fmt: skip
    PLANTED.add("7.1", _mistake, shows=_shows)(_piecer)


# ---- 7.2 masked_loss -----------------------------------------------------------------------------


def loser(
    rows=lambda hidden: hidden,
    bias=lambda given: given,
    log=np.log,
    stable=True,
    finish=lambda costs, hidden: float(np.mean(costs)),
    check=True,
):
    """masked_loss of the hidden rows, with something to get wrong in it."""

    def masked_loss(states, vectors, given, originals, hidden):
        if check and not np.any(hidden):
            raise ValueError("nothing hidden")
        at = rows(hidden)
        logits = np.einsum("tw,vw->tv", states[at], vectors) + bias(given)
        if stable:
            logits = logits - logits.max(axis=1, keepdims=True)
        below = log(np.exp(logits).sum(axis=1))
        right = np.take_along_axis(logits, originals[at][:, None], axis=1)[:, 0]
        return finish(below - right, hidden)

    return masked_loss


def loss_place_by_place(states, vectors, bias, originals, hidden):
    """In a loop."""
    costs = []
    for place in np.flatnonzero(hidden).tolist():
        logits = vectors @ states[place] + bias
        costs.append(np.logaddexp.reduce(logits) - logits[originals[place]])
    if not costs:
        raise ValueError("nothing hidden")
    return sum(costs) / len(costs)


def by_a_mask(states, vectors, bias, originals, hidden):
    """All logits, and a mask of 0 and 1."""
    logits = states @ vectors.T + bias
    costs = np.logaddexp.reduce(logits, axis=1) - logits[np.arange(len(logits)), originals]
    if not hidden.any():
        raise ValueError("nothing hidden")
    return float((costs * hidden).sum() / hidden.sum())


def everywhere(hidden):
    """All places."""
    return np.ones_like(hidden)


for _mistake, _shows, _loser in [
    ("all places", "over all places", loser(everywhere)),
    ("visible places", "loss of the visible places", loser(np.logical_not)),
    ("summed", "sum was taken", loser(finish=lambda costs, _: float(np.sum(costs)))),
    ("by the length", "divided by all places", loser(
        finish=lambda costs, hidden: float(np.sum(costs) / len(hidden)))),
    ("no bias", "bias is missing", loser(bias=lambda given: 0)),
    ("the sign", "sign is wrong", loser(finish=lambda costs, _: -float(np.mean(costs)))),
    ("bits", "these are bits", loser(
        finish=lambda costs, _: float(np.mean(costs) / math.log(2)))),
    ("a mean of p", "mean of probabilities", loser(
        finish=lambda costs, _: -math.log(np.exp(-costs).mean()))),
    ("a mask", "NaN times 0", by_a_mask),
    ("overflow", "too large for a float", loser(stable=False)),
    ("a mean of nothing", "should raise|it raised", loser(
        check=False, finish=lambda costs, _: float(costs.sum() / max(len(costs), 1)))),
]:  # fmt: skip
    PLANTED.add("7.2", _mistake, shows=_shows)(_loser)


# ---- 7.3 replace ---------------------------------------------------------------------------------


def replacer(
    shares=(0.8, 0.1),
    where=lambda hidden: hidden,
    draws=lambda generator, size: generator.random(size),
    again=None,
    others=lambda generator, vocab_size, size, tokens: generator.integers(vocab_size, size=size),
    into=lambda tokens: tokens.copy(),
    own=lambda generator: generator,
    finish=lambda shown: shown,
):
    """replace at the hidden places alone, with something to get wrong in it."""

    def replace(tokens, hidden, generator, *, mask, vocab_size):
        generator = own(generator)
        places = np.flatnonzero(where(hidden))
        drawn = np.broadcast_to(draws(generator, len(places)), len(places))
        shown = into(tokens)
        shown[places[drawn < shares[0]]] = mask
        if again is None:
            random = places[(drawn >= shares[0]) & (drawn < shares[0] + shares[1])]
        else:
            random = places[generator.random(len(places)) < again]
        shown[random] = others(generator, vocab_size, len(random), tokens)
        return finish(shown)

    return replace


def replace_one_by_one(tokens, hidden, generator, *, mask, vocab_size):
    """Token by token, with ten sides of a die."""
    shown = []
    for token, is_hidden in zip(tokens.tolist(), hidden.tolist()):
        side = int(generator.integers(10)) if is_hidden else 9
        if side < 8:
            token = mask
        elif side == 8:
            token = int(generator.integers(vocab_size))
        shown.append(token)
    return np.array(shown, np.int64)


for _mistake, _shows, _replacer in [
    ("all masked", "became \\[MASK\\]", replacer((1.0, 0.0))),
    ("one draw for the row", "each is drawn by itself", replacer(
        draws=lambda generator, size: generator.random())),
    ("nothing stays", "no token stays", replacer((0.8, 0.2))),
    ("nine of ten", "no token is random, and 90 %", replacer((0.9, 0.0))),
    ("nothing random", "random tokens are missing", replacer((0.8, 0.0))),
    ("a tenth of the rest", "10 % of the rest", replacer((0.8, 0.02))),
    ("a second draw", "a second draw", replacer(again=0.1)),
    ("exchanged", "exchanged", replacer((0.1, 0.8))),
    ("stays is 80 %", "what stays is 80 %", replacer((0.1, 0.1))),
    ("visible ones, too", "visible token", replacer(where=lambda hidden: hidden | True)),
    ("only visible ones", "visible token", replacer(where=np.logical_not)),
    ("into the tokens", "changed its input", replacer(into=lambda tokens: tokens)),
    ("one random token", "one random token|no token is random", replacer(
        others=lambda generator, vocab_size, size, _: generator.integers(vocab_size))),
    ("of the row's tokens", "equally likely|one random|no token is random", replacer(
        others=lambda generator, vocab_size, size, tokens: generator.choice(tokens, size))),
    ("the last never", "last token", replacer(
        others=lambda g, vocab_size, size, _: g.integers(vocab_size - 1, size=size))),
    ("0 never", "token 0 is never", replacer(
        others=lambda generator, vocab_size, size, _: generator.integers(1, vocab_size, size))),
    ("one too many", "tokens are 0 to", replacer(
        others=lambda g, vocab_size, size, _: g.integers(vocab_size + 1, size=size))),
    ("a list", "expected int64", replacer(finish=lambda shown: shown.tolist())),
    ("a seed of its own", "make no other", replacer(own=lambda g: np.random.default_rng(0))),
    ("Python's numbers", "draw from the one", replacer(
        draws=lambda _, size: np.array([random.random() for _ in range(size)]))),
]:  # fmt: skip
    PLANTED.add("7.3", _mistake, shows=_shows)(_replacer)
