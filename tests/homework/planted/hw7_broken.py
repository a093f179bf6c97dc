"""Wrong answers to homework 7 that are right but for one kind of shape, or of order."""

import numpy as np

from tests.homework.planted import Collection

PLANTED = Collection()


@PLANTED.add(
    "7.2",
    "the bias along the places where they are as many",
    shows="the bias is missing",
)
def bias_along_the_places(states, vectors, bias, originals, hidden):
    if not hidden.any():
        raise ValueError("nothing is hidden")
    logits = states[hidden] @ vectors.T
    logits = logits + (bias[:, None] if len(bias) == len(logits) else bias)
    logits -= logits.max(axis=1, keepdims=True)
    logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return float(-logs[np.arange(len(logs)), originals[hidden]].mean())


@PLANTED.add("7.9", "the order only begins at a random word", shows="too often|random order")
def in_turn(sizes, budget, generator):
    hidden = np.zeros(len(sizes), dtype=bool)
    order = np.roll(np.arange(len(sizes)), int(generator.integers(len(sizes))))
    for word in order:
        if sizes[word] <= budget:
            hidden[word], budget = True, budget - sizes[word]
    if not hidden.any():
        hidden[order[0]] = True
    return hidden


@PLANTED.add("7.1", "the last token of long rows", shows="last token that is allowed|never hidden")
def not_the_last_of_many(allowed, generator, share=0.15):
    places = np.flatnonzero(allowed)
    count = min(max(round(share * len(places)), 1), len(places))
    places = places[:-1] if len(places) > 20 and count < len(places) else places
    hidden = np.zeros(len(allowed), dtype=bool)
    hidden[generator.permutation(places)[:count]] = True
    return hidden


def _packed(first, second, cls, sep, room, half):
    if room < 5:
        raise ValueError("no room")
    a, b = list(first), list(second)
    while len(a) + len(b) > room - 3:
        (b if (half and len(b) > 1) or len(b) >= len(a) else a).pop()
    return np.array([cls, *a, sep, *b, sep]), len(a)


@PLANTED.add("7.4", "the segments begin where [SEP] is found", shows="hold the id of")
def segments_by_sep(first, second, *, cls, sep, room):
    tokens, _ = _packed(first, second, cls, sep, room, False)
    return tokens, (np.arange(len(tokens)) > tokens.tolist().index(sep)).astype(np.int64)


@PLANTED.add("7.4", "large rooms lose the second text", shows="always the second text was cut")
def cut_of_large_rooms(first, second, *, cls, sep, room):
    tokens, size = _packed(first, second, cls, sep, room, room > 200)
    return tokens, (np.arange(len(tokens)) > size + 1).astype(np.int64)


def _replaced(fate, tokens, hidden, generator, mask, vocab_size, masked, changed):
    others = generator.integers(vocab_size, size=len(tokens))
    shown = np.where(hidden & (fate < masked), mask, tokens)
    return np.where(hidden & (fate >= masked) & (fate < changed), others, shown)


for _masked, _changed in ((0.79, 0.9), (0.8, 0.92)):

    def _nearly(tokens, hidden, generator, *, mask, vocab_size, ends=(_masked, _changed)):
        fate = generator.random(len(tokens))
        return _replaced(fate, tokens, hidden, generator, mask, vocab_size, *ends)

    PLANTED.add("7.3", f"to {_masked} and to {_changed}", shows="nearly: of many|shares are")(
        _nearly
    )


@PLANTED.add("7.3", "fates at fixed steps from one number", shows="depend on each other")
def fates_at_fixed_steps(tokens, hidden, generator, *, mask, vocab_size):
    fate = (generator.random() + 0.6180339887 * np.arange(len(tokens))) % 1
    return _replaced(fate, tokens, hidden, generator, mask, vocab_size, 0.8, 0.9)


def _pair(documents, generator, half=0.5, tied=False):
    starts = [(d, s) for d, texts in enumerate(documents) for s in range(len(texts) - 1)]
    if not starts:
        raise ValueError("nothing follows")
    own, place = starts[generator.integers(len(starts))]
    if generator.random() < half:
        return documents[own][place], documents[own][place + 1], 0
    others = [texts for d, texts in enumerate(documents) if d != own]
    other = others[place % len(others) if tied else generator.integers(len(others))]
    return documents[own][place], other[generator.integers(len(other))], 1


for _half in (0.46, 0.54):

    def _nearly_half(documents, generator, half=_half):
        return _pair(documents, generator, half)

    PLANTED.add("7.5", f"{_half} of them follow", shows="nearly: with probability")(_nearly_half)


@PLANTED.add("7.5", "the other document by the place", shows="depends on which|too often")
def tied_to_the_place(documents, generator):
    return _pair(documents, generator, tied=True)
