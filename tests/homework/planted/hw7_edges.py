"""Wrong answers to homework 7, encoders, that are right in most cases: 7.1 to 7.5.

Ties, ends, sizes of one, shared memory, what is kept between calls, and rules that look like
another one until somebody counts.
"""

import itertools

import numpy as np

from tests.homework.planted import Collection
from tests.homework.planted import hw7_pairs as pairs

PLANTED = Collection()


# ---- 7.1 choose_pieces ---------------------------------------------------------------------------


def pieces(allowed, generator, share=0.15):
    """Right."""
    places = np.flatnonzero(allowed)
    count = min(max(round(share * len(places)), 1), len(places))
    hidden = np.zeros(len(allowed), bool)
    hidden[generator.permutation(places)[:count]] = True
    return hidden


@PLANTED.add("7.1", "a half goes up", shows="a half goes to the even")
def half_up(allowed, generator, share=0.15):
    """int(x + 0.5)."""
    number = int(allowed.sum())
    return pieces(allowed, generator, int(share * number + 0.5) / max(number, 1))


@PLANTED.add("7.1", "always 15 %", shows="share is not handed on")
def always_fifteen(allowed, generator, share=0.15):
    """The share is not used."""
    return pieces(allowed, generator)


@PLANTED.add("7.1", "one stays visible", shows="all of them are hidden where the share says so")
def one_stays(allowed, generator, share=0.15):
    """At most all but one."""
    hidden = pieces(allowed, generator, share)
    if hidden.sum() == allowed.sum() > 1:
        hidden[np.flatnonzero(hidden)[-1]] = False
    return hidden


@PLANTED.add("7.1", "its input where all are hidden", shows="give a new array")
def its_input(allowed, generator, share=0.15):
    """The same object."""
    hidden = pieces(allowed, generator, share)
    return allowed if (hidden == allowed).all() else hidden


@PLANTED.add("7.1", "into its input", shows="changed its input")
def into_its_input(allowed, generator, share=0.15):
    """In place."""
    allowed[:] = pieces(allowed, generator, share)
    return allowed.copy()


@PLANTED.add("7.1", "evenly spaced", shows="not all sets")
def spaced(allowed, generator, share=0.15):
    """Every third one, say, from a random one on."""
    places = np.flatnonzero(allowed)
    count = int(pieces(allowed, generator, share).sum())
    hidden = np.zeros(len(allowed), bool)
    if count:
        start = generator.integers(len(places))
        at = (start + np.arange(count) * len(places) // count) % len(places)
        hidden[places[at]] = True
    return hidden


@PLANTED.add("7.1", "never the first", shows="never hidden")
def never_the_first(allowed, generator, share=0.15):
    """Off by one."""
    count = int(pieces(allowed, generator, share).sum())
    places = np.flatnonzero(allowed)
    hidden = np.zeros(len(allowed), bool)
    few = places[1:] if len(places) > count else places
    hidden[generator.permutation(few)[:count]] = True
    return hidden


@PLANTED.add("7.1", "a shuffle with any place", shows="not all sets")
def careless_shuffle(allowed, generator, share=0.15):
    """Each is exchanged with any, not with those from it on."""
    places = np.flatnonzero(allowed)
    count = int(pieces(allowed, generator, share).sum())
    for i in range(len(places)):
        j = generator.integers(len(places))
        places[[i, j]] = places[[j, i]]
    hidden = np.zeros(len(allowed), bool)
    hidden[places[:count]] = True
    return hidden


def kept_by_size():
    """What was drawn for a row of this length is given again."""
    known = {}

    def choose_pieces(allowed, generator, share=0.15):
        key = allowed.tobytes(), share
        if key not in known:
            known[key] = pieces(allowed, generator, share)
        return known[key].copy()

    return choose_pieces


PLANTED.add("7.1", "kept from the call before", shows="kept|make no other|not all sets")(
    kept_by_size()
)


# ---- 7.2 masked_loss -----------------------------------------------------------------------------


def loser(
    largest=lambda logits: logits.max(axis=1, keepdims=True),
    originals=lambda given, hidden: given[hidden],
    states=lambda given, hidden: given[hidden],
    kind=np.float64,
    least=0.0,
    finish=lambda log_p: float(-np.mean(log_p)),
    error=ValueError,
):
    """masked_loss with other things to get wrong in it."""

    def masked_loss(given, vectors, bias, targets, hidden):
        if not hidden.any():
            raise error("nothing hidden")
        logits = (states(given, hidden) @ vectors.T + bias).astype(kind)
        shifted = logits - largest(logits)
        p = np.exp(shifted)
        rows, right = np.arange(len(p)), originals(targets, hidden)
        if least:
            return finish(np.log(p[rows, right] / p.sum(axis=1) + least))
        return finish(shifted[rows, right] - np.log(p.sum(axis=1)))

    return masked_loss


@PLANTED.add("7.2", "marks the visible originals", shows="changed its input")
def marks_the_originals(states, vectors, bias, originals, hidden):
    """As other libraries want it, in the caller's array."""
    originals[~hidden] = -100
    return loser()(states, vectors, bias, originals, hidden)


for _mistake, _shows, _loser in [
    ("one maximum for all rows", "of each row", loser(largest=lambda logits: logits.max())),
    ("an epsilon in the logarithm", "ε in the logarithm", loser(least=1e-12)),
    ("the first originals", "originals of the hidden places", loser(
        originals=lambda given, hidden: given[: hidden.sum()])),
    ("booleans as places", "is booleans, not places", loser(
        originals=lambda given, hidden: given[hidden.astype(int)],
        states=lambda given, hidden: given[hidden.astype(int)])),
    ("the first hidden place alone", "one hidden place was looked at", loser(
        finish=lambda log_p: -float(log_p[0]))),
    ("a perplexity", "perplexity", loser(finish=lambda log_p: float(np.exp(-np.mean(log_p))))),
    ("1 - p", "probability, not its logarithm", loser(
        finish=lambda log_p: float(np.mean(1 - np.exp(log_p))))),
    ("in float32", "in float32", loser(kind=np.float32)),
    ("another error", "it raised IndexError", loser(error=IndexError)),
]:  # fmt: skip
    PLANTED.add("7.2", _mistake, shows=_shows)(_loser)


# ---- 7.3 replace ---------------------------------------------------------------------------------


def replacer(
    draws=lambda generator, tokens, hidden: generator.random(len(tokens)),
    others=lambda generator, tokens, mask, vocab: generator.integers(vocab, size=len(tokens)),
    finish=lambda shown, tokens, hidden: shown,
):
    """replace with other things to get wrong in it."""

    def replace(tokens, hidden, generator, *, mask, vocab_size):
        drawn = draws(generator, tokens, hidden)
        shown = tokens.copy()
        shown[hidden & (drawn < 0.8)] = mask
        random = hidden & (drawn >= 0.8) & (drawn < 0.9)
        shown[random] = others(generator, tokens, mask, vocab_size)[random]
        return finish(shown, tokens, hidden)

    return replace


def but(kept_out):
    """Other tokens that are none of these."""

    def others(generator, tokens, mask, vocab):
        drawn = generator.integers(vocab, size=len(tokens))
        while (again := kept_out(drawn, tokens, mask)).any():
            drawn[again] = generator.integers(vocab, size=int(again.sum()))
        return drawn

    return others


def exact_shares(generator, tokens, hidden):
    """Exactly 80 % of the row's hidden tokens, 10 % and the rest."""
    drawn = np.ones(len(tokens))
    places = generator.permutation(np.flatnonzero(hidden))
    many, more = round(0.8 * len(places)), round(0.9 * len(places))
    drawn[places[:many]], drawn[places[many:more]] = 0.0, 0.85
    return drawn


def by_token(generator, tokens, hidden):
    """One draw for each token of the vocabulary."""
    return generator.random(int(tokens.max()) + 1)[tokens]


def neighbours_alike(generator, tokens, hidden):
    """Two neighbours share a draw."""
    return np.repeat(generator.random(len(tokens)), 2)[: len(tokens)]


def leave(place):
    """One place of the row is never replaced."""

    def finish(shown, tokens, hidden):
        shown[place] = tokens[place]
        return shown

    return finish


for _mistake, _shows, _replacer in [
    ("never [MASK] as a random token", "\\[MASK\\] is never drawn as the random token", replacer(
        others=but(lambda drawn, tokens, mask: drawn == mask))),
    ("never the token itself", "the token itself is never drawn", replacer(
        others=but(lambda drawn, tokens, mask: drawn == tokens))),
    ("no special tokens", "tokens 0 to 4 are never drawn", replacer(
        others=but(lambda drawn, tokens, mask: (drawn < 5) & (tokens >= 5)))),
    ("exactly 80 % of a row", "each token is drawn by itself, not a share of the row", replacer(
        exact_shares)),
    ("by the token", "share their draw", replacer(by_token)),
    ("two neighbours alike", "share their draw", replacer(neighbours_alike)),
    ("never the first", "first token of the row", replacer(finish=leave(0))),
    ("never the last", "last token of the row", replacer(finish=leave(-1))),
    ("int32", "expected int64", replacer(
        finish=lambda shown, tokens, hidden: shown.astype(np.int32))),
    ("its input where nothing changed", "give a new array", replacer(
        finish=lambda shown, tokens, hidden: shown if (shown != tokens).any() else tokens)),
]:  # fmt: skip
    PLANTED.add("7.3", _mistake, shows=_shows)(_replacer)


# ---- 7.4 pack ------------------------------------------------------------------------------------


@PLANTED.add("7.4", "recursive", shows="RecursionError")
def recursive(first, second, *, cls, sep, room):
    """A token less each time."""
    if room < 5:
        raise ValueError("no room")
    if len(first) + len(second) + 3 <= room:
        return pairs.packer()(first, second, cls=cls, sep=sep, room=room)
    if len(first) > len(second):
        return recursive(first[:-1], second, cls=cls, sep=sep, room=room)
    return recursive(first, second[:-1], cls=cls, sep=sep, room=room)


def trimmed(sizes):
    """Both cut at once, to the sizes that a rule gives for m, n and what there is room for."""

    def pack(first, second, *, cls, sep, room):
        if room < 5:
            raise ValueError("no room")
        m, n = len(first), len(second)
        m, n = sizes(m, n, room - 3) if m + n > room - 3 else (m, n)
        return pairs.packer()(first[:m], second[:n], cls=cls, sep=sep, room=m + n + 3)

    return pack


def in_proportion(m, n, room):
    """Each loses its share."""
    kept = min(max(round(room * m / (m + n)), 1), room - 1)
    return kept, room - kept


def longer_at_first(m, n, room):
    """Which one loses is asked once."""
    return (max(room - n, 1), room - max(room - n, 1)) if m > n else (
        room - max(room - m, 1), max(room - m, 1))  # fmt: skip


def segments_of_the_texts(tokens, segments, room):
    """A segment for each token that is left, of the texts as they were."""
    return np.array(tokens), np.array(segments)


def uncut_segments(first, second, *, cls, sep, room):
    """Segments that were made before anything was cut, and cut at the end."""
    tokens, _ = pairs.packer()(first, second, cls=cls, sep=sep, room=room)
    segments = [0] * (len(first) + 2) + [1] * (len(second) + 1)
    return tokens, np.array(segments[: len(tokens)])


def numbered(first, second, *, cls, sep, room):
    """Tokens 1, 2, ... and 51, 52, ...: what the examples have."""
    own = list(range(1, 1 + len(first))), list(range(51, 51 + len(second)))
    return pairs.packer()(*own, cls=cls, sep=sep, room=room)


def sure_of_its_room(first, second, *, cls, sep, room):
    """An error where the texts do not fit, not where there is no room for any."""
    if room < 5 and len(first) + len(second) + 3 > max(room, 4):
        raise ValueError("no room")
    return pairs.packer(check=False)(first, second, cls=cls, sep=sep, room=max(room, 5))


for _mistake, _shows, _packer in [
    ("pops from the caller's lists", "changed its input", pairs.packer(into=lambda text: text)),
    ("half of the room for each", "half of the room", trimmed(
        lambda m, n, room: (min(m, (room + 1) // 2), min(n, room // 2)))),
    ("in proportion", "in proportion", trimmed(in_proportion)),
    ("asked once", "asked anew", trimmed(longer_at_first)),
    ("segments before the cut", "before they were cut", uncut_segments),
    ("BERT's own ids", "101 and 102", lambda first, second, *, cls, sep, room: pairs.packer()(
        first, second, cls=101, sep=102, room=room)),
    ("the ids of the examples", "other tokens", numbered),
    ("each id once", "comes twice", lambda first, second, **how: pairs.packer()(
        [*dict.fromkeys(first)], [*dict.fromkeys(second)], **how)),
    ("int32", "dtype is int32", pairs.packer(
        finish=lambda t, s, _: (np.array(t, np.int32), np.array(s, np.int32)))),
    ("booleans", "dtype is bool", pairs.packer(
        finish=lambda t, s, _: (np.array(t), np.array(s, bool)))),
]:  # fmt: skip
    PLANTED.add("7.4", _mistake, shows=_shows)(_packer)


# ---- 7.5 next_sentence ---------------------------------------------------------------------------


@PLANTED.add("7.5", "takes the document out of the list", shows="changed its input")
def takes_out(documents, generator):
    """So that the other is another."""
    starts = [(d, s) for d, document in enumerate(documents) for s in range(len(document) - 1)]
    if not starts:
        raise ValueError("no pair")
    own, place = starts[generator.integers(len(starts))]
    document = documents.pop(own)
    other = documents[generator.integers(len(documents))]
    if generator.random() < 0.5:
        return document[place], document[place + 1], 0
    return document[place], other[generator.integers(len(other))], 1


def the_next(documents, own):
    """The document behind, or the first."""
    at = [d is own for d in documents].index(True)
    return [documents[(at + 1) % len(documents)]]


def not_last(found, generator):
    """Never the last sentence of the other document."""
    document = found[generator.integers(len(found))]
    return document[generator.integers(max(len(document) - 1, 1))]


def retried(found, generator):
    """A document by its size."""
    weights = np.array([len(d) for d in found], float)
    document = found[generator.choice(len(found), p=weights / weights.sum())]
    return document[generator.integers(len(document))]


def as_places(documents, generator):
    """Places in place of sentences."""
    a, b, label = pairs.pairer()(documents, generator)
    every = [s for d in documents for s in d]
    return every.index(a), every.index(b), label


CALLS = itertools.count()


def turns(documents, generator):
    """Every second one follows, by a state that is kept between calls."""
    label = next(CALLS) % 2
    while True:
        found = pairs.pairer()(documents, generator)
        if found[2] == label:
            return found


for _mistake, _shows, _pairer in [
    ("the next document", "the document behind it is always taken", pairs.pairer(others=the_next)),
    ("never the last of the other", "last sentence of another document", pairs.pairer(
        other=not_last)),
    ("the other by its size", "draw the document first", pairs.pairer(other=retried)),
    ("places", "expected a sentence", as_places),
    ("by turns", "the same generator gave", turns),
    ("compared by what is in them", "the same sentences", pairs.pairer(
        others=lambda documents, own: [d for d in documents if d != own])),
]:  # fmt: skip
    PLANTED.add("7.5", _mistake, shows=_shows)(_pairer)
