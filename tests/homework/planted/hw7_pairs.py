"""Wrong answers to homework 7, encoders: pairs of texts."""

import numpy as np

from tests.homework.planted import Collection

PLANTED = Collection()


# ---- 7.4 pack ------------------------------------------------------------------------------------


def packer(
    loses=lambda a, b: a if len(a) > len(b) else b,
    end=-1,
    special=3,
    row=lambda a, b, cls, sep: [cls, *a, sep, *b, sep],
    segments=lambda a, b: [0] * (len(a) + 2) + [1] * (len(b) + 1),
    finish=lambda tokens, segments, room: (np.array(tokens), np.array(segments)),
    check=True,
    into=list,
):
    """pack token by token, with something to get wrong in it."""

    def pack(first, second, *, cls, sep, room):
        if check and room < 5:
            raise ValueError("no room")
        a, b = into(first), into(second)
        while len(a) + len(b) + special > room and (a or b):
            loses(a, b).pop(end)
        return finish(row(a, b, cls, sep), segments(a, b), room)

    return pack


def pack_by_arithmetic(first, second, *, cls, sep, room):
    """How much is left of each at once, and segments from where the first [SEP] is."""
    if room < 5:
        raise ValueError("no room")
    half, rest = (room - 3 + 1) // 2, (room - 3) // 2
    m, n = len(first), len(second)
    if m + n > room - 3:
        m, n = (m, room - 3 - m) if m <= half else (room - 3 - n, n) if n <= rest else (half, rest)
    row = np.full(m + n + 3, sep, dtype=np.int64)
    row[0], row[1 : m + 1], row[m + 2 : m + 2 + n] = cls, first[:m], second[:n]
    return row, (np.arange(len(row)) > m + 1).astype(np.int64)


for _mistake, _shows, _packer in [
    ("no [SEP] at the end", "at the end is missing", packer(
        row=lambda a, b, cls, sep: [cls, *a, sep, *b])),
    ("no [SEP] between", "between the texts is missing", packer(
        row=lambda a, b, cls, sep: [cls, *a, *b, sep])),
    ("no [CLS]", "missing in front", packer(row=lambda a, b, cls, sep: [*a, sep, *b, sep])),
    ("two [CLS]", "a \\[CLS\\] of its own", packer(
        row=lambda a, b, cls, sep: [cls, *a, sep, cls, *b, sep])),
    ("exchanged", "texts are exchanged", packer(
        row=lambda a, b, cls, sep: [cls, *b, sep, *a, sep])),
    ("[SEP] is of the second", "belongs to the first", packer(
        segments=lambda a, b: [0] * (len(a) + 1) + [1] * (len(b) + 2))),
    ("[CLS] forgotten", "has a segment, too", packer(
        segments=lambda a, b: [0] * (len(a) + 1) + [1] * (len(b) + 1))),
    ("the end is 0", "belongs to the second", packer(
        segments=lambda a, b: [0] * (len(a) + 2) + [1] * len(b) + [0])),
    ("1 and 2", "segments are 0 and 1", packer(
        segments=lambda a, b: [1] * (len(a) + 2) + [2] * (len(b) + 1))),
    ("one segment", "of one segment", packer(segments=lambda a, b: [0] * (len(a) + len(b) + 3))),
    ("segments exchanged", "segments are exchanged", packer(
        segments=lambda a, b: [1] * (len(a) + 2) + [0] * (len(b) + 1))),
    ("nothing cut", "nothing was cut", packer(special=-99)),
    ("special ones forgotten", "need room, too", packer(special=0)),
    ("one too many", "more was cut", packer(special=4)),
    ("the first at a tie", "of equally long texts", packer(
        loses=lambda a, b: a if len(a) >= len(b) else b)),
    ("the second only", "always the second", packer(loses=lambda a, b: b if len(b) > 1 else a)),
    ("the first only", "always the first", packer(loses=lambda a, b: a if len(a) > 1 else b)),
    ("in front", "a token in front", packer(end=0)),
    ("the shorter one", "always the (first|second)", packer(
        loses=lambda a, b: b if (len(b) <= len(a) and len(b) > 1) or len(a) < 2 else a)),
    ("the row itself", "at its end: the texts are", packer(
        special=-99, finish=lambda t, s, room: (np.array(t[:room]), np.array(s[:room])))),
    ("segments of the whole", "one segment for each token", packer(
        special=-99, row=lambda a, b, cls, sep: (a, b, cls, sep),
        finish=lambda t, s, room: (packer()(t[0], t[1], cls=t[2], sep=t[3], room=room)[0],
                                   np.array(s)))),
    ("a list", "expected numbers|got list", packer(finish=lambda t, s, _: (t, s))),
    ("no room", "should raise|it raised", packer(check=False)),
    ("one array", "expected two arrays", packer(finish=lambda t, s, _: np.array(t))),
]:  # fmt: skip
    PLANTED.add("7.4", _mistake, shows=_shows)(_packer)


# ---- 7.5 next_sentence ---------------------------------------------------------------------------


def pairer(
    starts=lambda documents: [(d, s) for d in documents for s in range(len(d) - 1)],
    start=lambda found, generator: found[generator.integers(len(found))],
    half=0.5,
    behind=lambda document, place: document[place + 1],
    others=lambda documents, own: [d for d in documents if d is not own],
    other=lambda found, generator: (lambda d: d[generator.integers(len(d))])(
        found[generator.integers(len(found))]
    ),
    label=lambda follows: 0 if follows else 1,
    own=lambda generator: generator,
    check=True,
    finish=lambda a, b, label: (a, b, label),
):
    """next_sentence with something to get wrong in it."""

    def next_sentence(documents, generator):
        generator, found = own(generator), starts(documents)
        if check and not any(len(d) > 1 for d in documents):
            raise ValueError("no pair")
        document, place = start(found, generator)
        follows = generator.random() < half and place + 1 < len(document)
        if follows:
            return finish(document[place], behind(document, place), label(True))
        return finish(document[place], other(others(documents, document), generator), label(False))

    return next_sentence


def pair_by_weights(documents, generator):
    """The document by its number of sentences, the label first."""
    label = int(generator.integers(2))
    weights = np.array([len(document) - 1.0 for document in documents])
    if not weights.any():
        raise ValueError("no pair")
    own = int(generator.choice(len(documents), p=weights / weights.sum()))
    place = int(generator.integers(len(documents[own]) - 1))
    if label == 0:
        return documents[own][place], documents[own][place + 1], 0
    other = own
    while other == own:
        other = int(generator.integers(len(documents)))
    return documents[own][place], str(generator.choice(documents[other])), 1


def by_document(documents):
    """Each with all its sentences but the last."""
    return [d for d in documents if len(d) > 1]


for _mistake, _shows, _pairer in [
    ("1 follows", "0 is the label of a text that follows", pairer(label=int)),
    ("the one before", "in front of the first", pairer(
        behind=lambda document, place: document[place - 1])),
    ("itself", "paired with itself", pairer(behind=lambda document, place: document[place])),
    ("two behind", "does not follow", pairer(
        behind=lambda document, place: document[(place + 2) % len(document)])),
    ("of the same document", "of the same document|with itself", pairer(
        others=lambda documents, own: documents)),
    ("only of its own", "of the same document|with itself", pairer(
        others=lambda documents, own: [own])),
    ("all follow", "all pairs follow", pairer(half=1.0)),
    ("none follows", "no pair follows", pairer(half=0.0)),
    ("three of four", "too often", pairer(half=0.75)),
    ("the document first", "a document is drawn first", pairer(
        starts=by_document,
        start=lambda found, g: (lambda d: (d, g.integers(len(d) - 1)))(
            found[g.integers(len(found))]))),
    ("all sentences alike", "draw the document first", pairer(
        other=lambda found, g: (lambda every: every[g.integers(len(every))])(
            [s for d in found for s in d]))),
    ("the last is first", "last sentence of a document may be first", pairer(
        starts=lambda documents: [(d, s) for d in documents for s in range(len(d))])),
    ("the first of the others", "too often", pairer(other=lambda found, generator: found[0][0])),
    ("a seed of its own", "too often|make no other", pairer(
        own=lambda _: np.random.default_rng(0))),
    ("no seed", "draw from the one", pairer(
        own=lambda _: np.random.default_rng())),
    ("no error", "should raise|it raised", pairer(
        check=False, start=lambda found, g: found[g.integers(len(found))] if found
        else (("a0",), 0))),
    ("a label in words", "a label is 0 or 1", pairer(label=lambda f: "next" if f else "other")),
    ("no label", "expected a sentence", pairer(finish=lambda a, b, _: (a, b))),
]:  # fmt: skip
    PLANTED.add("7.5", _mistake, shows=_shows)(_pairer)
