"""Lecture 03: different words grow without end, subwords do not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from minissl.claims.claim import Cell, Claim, Expectation, Measured, Setup, ahead
from minissl.claims.drawing import line, panels
from minissl.claims.gpt_on_english import OWN, english
from minissl.figures import label_ends
from minissl.palette import BLUE, GREY, OCHRE, RED
from minissl.text import Characters, Tokenizer, WordVocabulary, words_of
from minissl.text.words import count_words

WORDS, FREQUENT, CHARACTERS = "words", "words met five times", "characters"
UNKNOWN = "unknown, held out (%)"
ALL, EXPONENT, NEW = "different ones", "growth exponent", "new of the last 1,000"
LEFT = "unknown left by twice the text"
PARTS = (16, 8, 4, 2, 1)  # a sixteenth of the documents, ..., all
POINTS = 40


class Tokens(Protocol):
    """The interface of words, subwords and characters."""

    def encode(self, text: str) -> list[int]: ...
    def decode(self, ids: list[int]) -> str: ...


def measure(setup: Setup) -> Measured:
    """Read the training text and count what is different; then see what is lost of other text."""
    train, held_out = english(setup)
    texts, new = [d.text for d in train], count_words(d.text for d in held_out)
    setup.note("subwords")
    tokenizer = Tokenizer.train(texts, setup.settings["vocab_size"])
    subwords = row(setup.settings)
    characters = Characters.train(texts)
    items: dict[str, list[Hashable]] = {
        WORDS: [word for text in texts for word in words_of(text)],
        subwords: [token for text in texts for token in tokenizer.encode(text)],
        CHARACTERS: [character for text in texts for character in text],
    }
    read: dict[str, Tokens] = {subwords: tokenizer, CHARACTERS: characters}
    table: dict[str, dict[str, float]] = {}
    curves: dict[str, Any] = {}
    for name, stream in items.items():
        setup.note(name)
        firsts = first_times(stream)
        table[name] = growth(firsts, len(stream))
        curves[name] = counted(firsts, len(stream))
        if name in read:
            table[name][UNKNOWN] = lost(read[name], new)
    for name, least in ((WORDS, 1), (FREQUENT, 5)):
        unknown = []
        for part in PARTS:
            vocabulary = WordVocabulary.train(texts[: len(texts) // part], least)
            unknown.append(lost(vocabulary, new))
        cells = table.setdefault(name, {ALL: vocabulary.vocab_size - 1})
        cells |= {UNKNOWN: unknown[-1], LEFT: unknown[-1] / unknown[-2]}
        curves[f"unknown: {name}"] = ([100 / part for part in PARTS], unknown)
    return Measured({name: table[name] for name in (WORDS, FREQUENT, subwords, CHARACTERS)}, curves)


def row(settings: Mapping[str, Any]) -> str:
    """How the subwords are called."""
    return f"BPE, {settings['vocab_size']:,}"


def first_times(stream: Sequence[Hashable]) -> np.ndarray:
    """The places (different,) at which something comes for the first time, in order."""
    seen: dict[Hashable, int] = {}
    for place, item in enumerate(stream):
        seen.setdefault(item, place)
    return np.array(list(seen.values()))


def growth(firsts: np.ndarray, length: int) -> dict[str, float]:
    """How many different ones; the exponent b of Heaps' law, different = K · length^b, by what the
    second half adds; and how many of the last items were new, for 1,000 of the last tenth.
    """
    half, tenth = np.sum(firsts < length // 2), length // 10
    return {
        ALL: len(firsts),
        EXPONENT: float(np.log2(len(firsts) / half)),
        NEW: float(1000 * np.sum(firsts >= length - tenth) / tenth),
    }


def counted(firsts: np.ndarray, length: int) -> tuple[list[float], list[float]]:
    """Different ones against items read, at places that a logarithmic axis shows evenly."""
    read = np.unique(np.geomspace(100, length, POINTS).astype(int))
    return read.tolist(), np.searchsorted(firsts, read).tolist()


def lost(tokens: Tokens, words: Counter[str]) -> float:
    """The percentage of running words that do not come back from their tokens."""
    missing = (n for word, n in words.items() if tokens.decode(tokens.encode(word)) != word)
    return 100 * sum(missing) / words.total()


def figure(measured: Sequence[Measured], settings: Mapping[str, Any]) -> Any:
    """Different ones against the length of the text; what is unknown against the same."""
    drawn, (grown, unknown) = panels(2.9, 2.5)
    for name, color in ((WORDS, RED), (row(settings), BLUE), (CHARACTERS, GREY)):
        line(grown, measured, name, color=color)
    grown.set(xscale="log", yscale="log", ylabel="different ones met")
    grown.set(xlabel="words, subwords or characters read")
    for name, label, color in (
        (FREQUENT, "not met five times", OCHRE), (WORDS, "never met", RED),
    ):  # fmt: skip
        line(unknown, measured, f"unknown: {name}", color=color, label=label, marker="o", ms=4)
    unknown.set(xscale="log", ylim=(0, None), xlabel="part of the training text (%)")
    unknown.set(ylabel="held-out words (%)")
    unknown.set_xticks([100 / part for part in PARTS], [f"{100 / part:.3g}" for part in PARTS])
    unknown.minorticks_off()
    for axis in (grown, unknown):
        label_ends(axis)
    return drawn


CLAIM = Claim(
    name="word-growth",
    title="Different words grow without end, subwords do not",
    statement=(
        "However much was read, the next page has new words (Heaps' law), so a vocabulary of "
        "words is never complete, and twice the text does not halve what it misses. The subwords "
        "of a vocabulary are soon all met, and nothing is ever unknown."
    ),
    lecture="03, section 1",
    measure=measure,
    expectations=(
        Expectation(Cell(WORDS, EXPONENT), 0.0, 0.4, "Heaps' law, with 0.4 to 0.6 for English"),
        Expectation(0.1, Cell("BPE, 4,096", EXPONENT), 0.0, "they were met long before"),
        Expectation(Cell(WORDS, NEW), 0.0, 10.0, "one word in a hundred is new, to the end"),
        Expectation(1.0, Cell("BPE, 4,096", NEW), 0.0),
        ahead(WORDS, "BPE, 4,096", UNKNOWN, 2.0, "new text has new words"),
        ahead(FREQUENT, WORDS, UNKNOWN, 3.0, "a word met once teaches nothing"),
        Expectation(0.0, Cell("BPE, 4,096", UNKNOWN), 0.0, "all bytes are tokens"),
        Expectation(Cell(WORDS, LEFT), 0.0, 0.5, "twice the text finds less than half of them"),
    ),
    figure=figure,
    scales={
        "quick": {"documents": 200, "vocab_size": 4096},
        "small": {"vocab_size": 4096},
        "full": {"vocab_size": 4096},
    },
    own=(*OWN, "vocab_size"),
    formats={ALL: ",.0f", NEW: ".1f"},
    rows="tokens",
    about=(
        "The English inside Python, its documents in the order that the seed gives. Words as "
        "words_of finds them: lower case, without punctuation, which is kind to them (the lecture "
        "also counts what stands between spaces). Unknown are running words of the held-out "
        "documents that do not come back from their tokens."
    ),
)
