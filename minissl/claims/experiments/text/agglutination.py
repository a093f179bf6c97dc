"""Lecture 03: a verb with hundreds of forms: one row each for words, one stem for subwords."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate, pairwise, product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from minissl.claims.claim import Cell, Claim, Expectation, Measured, Setup, ahead
from minissl.claims.drawing import level, line, panels
from minissl.figures import label_ends
from minissl.palette import BLUE, GREY, OCHRE, RED
from minissl.text import Tokenizer, WordVocabulary
from minissl.text.bpe import segment

# As in Swahili, simplified: who, when, whom (or nobody), the stem, and what is done with it.
BEFORE = (
    ("a", "ni", "wa", "u", "tu", "m"),
    ("na", "li", "ta", "me", "ka"),
    ("", "m", "ku", "ni", "wa"),
)
AFTER = (("a", "wa", "isha"),)
FEW = ((), (("a", "as", "aed", "aing"),))  # four forms, as in English
CONSONANTS, VOWELS = "bdfghjklnprstvz", "aeiou"
HELD_OUT = 0.2  # of the forms of each stem

WORDS, BYTES, RANDOM = "words", "bytes", "random cuts"
UNKNOWN, ALL = "unseen forms unknown (%)", "rows in all"
ROWS, WHOLE, PIECES = "rows of one stem", "stem in one piece (%)", "pieces per form"


class Verb(NamedTuple):
    """A form of a verb, where its stem begins and ends, and how frequent it is."""

    form: str
    start: int
    end: int
    weight: float


Cut = Callable[[str], list[str]]  # the pieces of " " and a form


def measure(setup: Setup) -> Measured:
    """Learn words and subwords from a text of verbs, and read forms that it does not have."""
    settings, generator = setup.settings, np.random.default_rng(setup.seed)
    stems = make_stems(settings["stems"], generator)
    verbs = [conjugate(stem, BEFORE, AFTER) for stem in stems]
    text, unseen = text_without_some(verbs, settings["words"], generator)
    others = write([conjugate(stem, *FEW) for stem in stems], settings["words"], generator)
    vocabulary = WordVocabulary.train(" ".join(text), min_count=1)
    largest = Tokenizer.train(" ".join(text), max(settings["vocab_sizes"]))
    table = {WORDS: of_words(vocabulary, verbs, unseen)}
    curves: dict[str, Any] = {
        f"{len(verbs[0])} forms a stem": grown(text),
        f"{len(FEW[1][0])} forms a stem": grown(others),
    }
    for size in settings["vocab_sizes"]:
        setup.note(f"{size:,} tokens")
        tokenizer = Tokenizer({token: rank for token, rank in largest.ranks.items() if rank < size})
        found = of_pieces(tokens_of(tokenizer), verbs, unseen)
        chance = of_pieces(at_random(tokens_of(tokenizer), generator), verbs, unseen)
        for name, row in (("BPE", found), (RANDOM, chance)):
            x, y = curves.setdefault(name, ([], []))
            x.append(size)
            y.append(row[WHOLE])
        if size == settings["vocab_size"]:
            whole = {UNKNOWN: lost(tokenizer, unseen), ALL: tokenizer.vocab_size}
            table |= {f"BPE, {size:,}": whole | found, RANDOM: chance}
    table[BYTES] = of_pieces(list, verbs, unseen)
    return Measured(table, curves)


# ---- the language --------------------------------------------------------------------------------


def make_stems(number: int, generator: np.random.Generator) -> list[str]:
    """So many invented stems such as "pend" or "fulik": no form of one is a form of another."""
    stems: list[str] = []
    taken: set[str] = set()
    while len(stems) < number:
        shape = ("cvcc", "cvcvc")[generator.integers(2)]
        stem = "".join(generator.choice(list(CONSONANTS if c == "c" else VOWELS)) for c in shape)
        forms = {verb.form for verb in conjugate(stem, BEFORE, AFTER)}
        if not forms & taken:
            stems.append(stem)
            taken |= forms
    return stems


def conjugate(
    stem: str, before: Sequence[Sequence[str]], after: Sequence[Sequence[str]]
) -> list[Verb]:
    """Every form: one of each group before the stem, one of each after it.

    In each group the first is the most frequent, twice as frequent as the second (Zipf).
    """
    verbs = []
    for choice in product(*map(enumerate, [*before, *after])):
        parts = [part for _, part in choice]
        start = len("".join(parts[: len(before)]))
        form = "".join([*parts[: len(before)], stem, *parts[len(before) :]])
        weight = float(np.prod([1 / (rank + 1) for rank, _ in choice]))
        verbs.append(Verb(form, start, start + len(stem), weight))
    return verbs


def write(verbs: Sequence[Sequence[Verb]], words: int, generator: np.random.Generator) -> list[str]:
    """A text of so many of these forms, drawn one by one; the first stem is the most frequent."""
    forms = [verb.form for forms in verbs for verb in forms]
    weights = [verb.weight / rank for rank, forms in enumerate(verbs, 1) for verb in forms]
    chosen = generator.choice(len(forms), words, p=np.array(weights) / sum(weights))
    return [forms[i] for i in chosen]


def text_without_some(
    verbs: Sequence[Sequence[Verb]], words: int, generator: np.random.Generator
) -> tuple[list[str], list[list[Verb]]]:
    """A text, and a fifth of the forms of each stem, by chance, that do not come in it."""
    held_out = generator.random((len(verbs), len(verbs[0]))) < HELD_OUT
    seen, unseen = (
        [[v for v, out in zip(forms, row) if out == side] for forms, row in zip(verbs, held_out)]
        for side in (False, True)
    )
    return write(seen, words, generator), unseen


# ---- how it is read ------------------------------------------------------------------------------


def tokens_of(tokenizer: Tokenizer) -> Cut:
    """The tokens of a form after a space, as text."""
    return lambda text: [t.decode() for t in segment(text.encode(), tokenizer.ranks)]


def at_random(cut: Cut, generator: np.random.Generator) -> Cut:
    """The same lengths of pieces in a random order: what is found without having learned."""

    def shuffled(text: str) -> list[str]:
        ends = accumulate(generator.permutation([len(piece) for piece in cut(text)]), initial=0)
        return [text[start:end] for start, end in pairwise(ends)]

    return shuffled


def holder(verb: Verb, pieces: Sequence[str]) -> str | None:
    """The piece that has the whole stem, of the pieces of a space and the form."""
    ends = accumulate(map(len, pieces), initial=-1)
    spans = zip(pieces, pairwise(ends))
    return next((p for p, (a, b) in spans if a <= verb.start and verb.end <= b), None)


def of_pieces(
    cut: Cut, verbs: Sequence[Sequence[Verb]], unseen: Sequence[Sequence[Verb]]
) -> dict[str, float]:
    """In how many pieces that hold a stem its forms are; what becomes of the unseen ones."""
    rows = [{holder(verb, cut(" " + verb.form)) for verb in forms} - {None} for forms in verbs]
    new = [(verb, cut(" " + verb.form)) for forms in unseen for verb in forms]
    return {
        ROWS: float(np.mean([len(row) for row in rows])),
        WHOLE: 100 * float(np.mean([holder(*one) is not None for one in new])),
        PIECES: float(np.mean([len(pieces) for _, pieces in new])),
    }


def of_words(
    vocabulary: WordVocabulary, verbs: Sequence[Sequence[Verb]], unseen: Sequence[Sequence[Verb]]
) -> dict[str, float]:
    """The same of whole words: a row for each form that was met."""
    rows = [sum(verb.form in vocabulary.ids for verb in forms) for forms in verbs]
    return {
        UNKNOWN: lost(vocabulary, unseen),
        ALL: vocabulary.vocab_size,
        ROWS: float(np.mean(rows)),
        PIECES: 1.0,
    }


def lost(tokens: Tokenizer | WordVocabulary, unseen: Iterable[Sequence[Verb]]) -> float:
    """The percentage of forms that do not come back from their tokens."""
    forms = [verb.form for verbs in unseen for verb in verbs]
    return 100 * float(np.mean([tokens.decode(tokens.encode(form)) != form for form in forms]))


def grown(text: Sequence[str], points: int = 30) -> tuple[list[int], list[int]]:
    """Words read, and how many different ones were among them."""
    read = np.linspace(0, len(text), points + 1).astype(int)[1:].tolist()
    seen: dict[str, int] = {}
    for place, word in enumerate(text):
        seen.setdefault(word, place)
    firsts: NDArray[np.int64] = np.array(list(seen.values()))
    return read, np.searchsorted(firsts, read).tolist()


def figure(measured: Sequence[Measured], settings: Mapping[str, Any]) -> Any:
    """Rows that words need against the text; stems in one piece against the vocabulary."""
    drawn, (rows, stems) = panels(2.6, 2.6)
    many, few = list(measured[0].curves)[:2]
    for name, color in ((many, RED), (few, OCHRE)):
        line(rows, measured, name, color=color, label=f"words, {name}")
    level(rows, settings["vocab_size"], f"BPE, {settings['vocab_size']:,}")
    rows.set(xlabel="running words", ylabel="rows", ylim=(0, None))
    for axis in (rows.xaxis, rows.yaxis):
        axis.set_major_formatter("{x:,.0f}")
    rows.locator_params(nbins=5)
    for name, color in (("BPE", BLUE), (RANDOM, GREY)):
        line(stems, measured, name, color=color, marker="o", ms=4)
    sizes = settings["vocab_sizes"]
    stems.set(xscale="log", ylim=(0, 100), xlabel="tokens in the vocabulary")
    stems.set(ylabel="unseen forms with\nthe stem in one piece (%)")
    stems.set_xticks(sizes, [f"{size:,}" for size in sizes])
    stems.minorticks_off()
    for axis in (rows, stems):
        label_ends(axis)
    return drawn


MAIN = "BPE, 1,024"

CLAIM = Claim(
    name="agglutination",
    title="A verb with 450 forms: words need a row for each, subwords find the stem",
    statement=(
        "Where a verb has hundreds of forms, a vocabulary of words needs a row for each and knows "
        "none that it has not met. Byte-pair encoding, told nothing of grammar, keeps most stems "
        "in one piece, also in forms that it never met, and writes all of them."
    ),
    lecture="03, section 1",
    measure=measure,
    expectations=(
        Expectation(Cell(WORDS, UNKNOWN), 0.0, 100.0, "a form that was not met has no row"),
        Expectation(0.0, Cell(MAIN, UNKNOWN), 0.0, "all bytes are tokens"),
        ahead(WORDS, MAIN, ROWS, 100.0, "the same stem in row after row"),
        ahead(WORDS, MAIN, ALL, 4000.0),
        Expectation(Cell(MAIN, WHOLE), 0.0, 60.0, "what is frequent in all forms is the stem"),
        ahead(MAIN, RANDOM, WHOLE, 20.0, "and it is not by chance"),
    ),
    figure=figure,
    scales={
        "quick": {"stems": 12, "words": 4000, "vocab_size": 1024, "vocab_sizes": [300, 1024]},
        "small": {
            "stems": 60,
            "words": 100_000,
            "vocab_size": 1024,
            "vocab_sizes": [300, 400, 512, 1024, 2048, 4096],
        },
        "full": {
            "stems": 300,
            "words": 1_000_000,
            "vocab_size": 1024,
            "vocab_sizes": [300, 400, 512, 1024, 2048, 4096, 8192],
        },
    },
    own=("stems", "words", "vocab_size", "vocab_sizes"),
    formats={ALL: ",.0f", UNKNOWN: ".0f", WHOLE: ".1f", ROWS: ".1f"},
    rows="tokens",
    about=(
        "An invented language with the verbs of Swahili, simplified: subject, tense, object or "
        "none, stem, ending, 6 · 5 · 5 · 3 = 450 forms of each of 60 invented stems, where the "
        "second of a group is half as frequent as the first. The text is 100,000 verbs in a row; a "
        "fifth of the forms of each stem never comes, and is what is read afterwards. A stem is in "
        "one piece when no cut goes through it, whatever is glued to it. Random cuts: the pieces' "
        "lengths of each form in another order. Rows of one stem: pieces that hold it whole, over "
        "all of its forms; of words those that were met. The other curve is of verbs with four "
        "forms. With 512 tokens and fewer the cuts are no better than random ones: the affixes are "
        "more frequent than most stems, and are merged first."
    ),
)
