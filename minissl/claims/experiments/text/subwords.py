"""Lecture 03: no unknown words; common words stay whole, rare ones are split."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from minissl.claims.claim import Cell, Claim, Expectation, Measured, Setup, ahead
from minissl.claims.drawing import level, line, panels, values
from minissl.claims.gpt_on_english import OWN, english
from minissl.figures import label_ends
from minissl.palette import BLUE, GREY, OCHRE, RED, look
from minissl.text import Tokenizer
from minissl.text.documents import Document

INVENTED = ("laern", "taaaasty", "Transformerify")  # a typo, a stretched word, a new word
WORDS, CHARACTERS = "words", "characters"
COMMON = 100


def measure(setup: Setup) -> Measured:
    """Vocabularies learned from the training text, used on held-out words."""
    train, held_out = english(setup)
    text = "\n".join(document.text for document in held_out)
    seen, new = count_words(train), count_words(held_out)
    sizes = setup.settings["vocab_sizes"]
    common = [word for word, _ in seen.most_common(COMMON)]
    unseen = [word for word in new if word not in seen]
    table = {WORDS + ", all seen twice": words_known({w for w, n in seen.items() if n > 1}, new)}
    characters = {character for document in train for character in document.text}
    table[CHARACTERS] = characters_known(characters, new, text)
    largest = Tokenizer.train([document.text for document in train], max(sizes))
    x, y = [], []
    for size in sizes:
        setup.note(f"{size:,} tokens")
        known = {word for word, _ in seen.most_common(size)}
        table[f"{WORDS}, {size:,}"] = words_known(known, new)
        tokenizer = smaller(largest, size)
        tokens = len(tokenizer.encode(text))
        row = table[f"BPE, {size:,}"] = {
            "unknown words (%)": 100 * not_restored(tokenizer, new) / new.total(),
            "characters per token": len(text) / tokens,
            "pieces, common words": mean_pieces(tokenizer, common),
            "pieces, unseen words": mean_pieces(tokenizer, unseen),
            "invented words kept": sum(restored(tokenizer, word) for word in INVENTED),
        }
        x.append(size)
        y.append(row["characters per token"])
    curves: dict[str, Any] = {"characters per token": (x, y)}
    for size in setup.settings["shown"]:
        curves[f"BPE, {size:,}"] = pieces_by_rank(
            smaller(largest, size), seen, setup.settings["ranks"]
        )
    return Measured(table, curves)


def count_words(documents: Sequence[Document]) -> Counter[str]:
    """How often each word occurs: runs of letters."""
    counts: Counter[str] = Counter()
    for document in documents:
        counts.update(re.findall(r"[^\W\d_]+", document.text))
    return counts


def words_known(known: set[str], new: Counter[str]) -> dict[str, float]:
    """What a vocabulary of whole words makes of new text: the rest becomes one unknown token."""
    unknown = sum(count for word, count in new.items() if word not in known)
    return {
        "unknown words (%)": 100 * unknown / new.total(),
        "invented words kept": sum(word in known for word in INVENTED),
    }


def characters_known(known: set[str], new: Counter[str], text: str) -> dict[str, float]:
    """Every character a token, an unknown one where the training text has none of it."""
    unknown = sum(count for word, count in new.items() if not known.issuperset(word))
    return {
        "unknown words (%)": 100 * unknown / new.total(),
        "characters per token": 1.0,
        "invented words kept": sum(known.issuperset(word) for word in INVENTED),
    }


def smaller(tokenizer: Tokenizer, size: int) -> Tokenizer:
    """The tokenizer that training would have given with fewer merges."""
    ranks = {token: rank for token, rank in tokenizer.ranks.items() if rank < size}
    return Tokenizer(ranks, pattern=tokenizer.pattern)


def restored(tokenizer: Tokenizer, word: str) -> bool:
    """Whether a word comes back from its tokens."""
    return tokenizer.decode(tokenizer.encode(word)) == word


def not_restored(tokenizer: Tokenizer, words: Counter[str]) -> int:
    """How many running words do not come back from their tokens."""
    return sum(count for word, count in words.items() if not restored(tokenizer, word))


def mean_pieces(tokenizer: Tokenizer, words: Sequence[str]) -> float:
    """Tokens per word, after a space as inside a sentence."""
    return float(np.mean([len(tokenizer.encode(" " + word)) for word in words]))


def pieces_by_rank(
    tokenizer: Tokenizer, counts: Counter[str], most: int
) -> tuple[list[float], list[float]]:
    """Mean pieces of the words of rank 1, 2 and 3, 4 to 7, 8 to 15, ... up to about ``most``."""
    words = [word for word, _ in counts.most_common(most)]
    ranks, pieces = [], []
    first = 1
    while 2 * first <= most:
        ranks.append(first * 2**0.5)
        pieces.append(mean_pieces(tokenizer, words[first - 1 : 2 * first - 1]))
        first *= 2
    return ranks, pieces


def figure(measured: Sequence[Measured], settings: Mapping[str, Any]) -> Any:
    """Pieces against the frequency rank of a word; text per token against vocabulary size."""
    drawn, (pieces, length, unknown) = panels(2.7, 2.2, 2.2)
    for size, color in zip(settings["shown"], (OCHRE, BLUE, RED)):
        line(pieces, measured, f"BPE, {size:,}", color=color, marker="o", markersize=3)
    level(pieces, 1, "whole", below=True)
    pieces.set(xscale="log", xlabel="rank of the word by frequency", ylabel="pieces per word")
    pieces.set(ylim=(0.5, None))
    line(length, measured, "characters per token", color=BLUE, marker="o", markersize=4)
    level(length, 1, "characters as tokens")
    length.set(ylabel="characters per token", ylim=(0, None))
    sizes = settings["vocab_sizes"]
    for kind, color in ((WORDS, GREY), ("BPE", BLUE)):
        rows = [values(measured, f"{kind}, {size:,}", "unknown words (%)") for size in sizes]
        unknown.plot(sizes, np.mean(rows, axis=1), **look(color, marker=True), label=kind)
    unknown.set(xlabel="vocabulary size", ylabel="unknown words (%)")
    for axis in (length, unknown):
        axis.set(xscale="log")
        axis.set_xticks(sizes, [f"{size:,}" for size in sizes])
        axis.minorticks_off()
    for axis in (pieces, unknown):
        label_ends(axis)
    return drawn


CLAIM = Claim(
    name="subwords",
    title="Subwords: nothing is unknown, common words stay whole, rare words are split",
    statement=(
        "A vocabulary of words turns every other word into one unknown token. Byte-pair encoding "
        "with as many tokens loses nothing: common words are one token, rare and misspelled ones "
        "are several, and text gets several times shorter than in characters."
    ),
    lecture="03, section 7",
    measure=measure,
    expectations=(
        ahead(
            "words, 4,096",
            "BPE, 4,096",
            "unknown words (%)",
            3.0,
            "the tail of words is long",
        ),
        ahead(
            "words, all seen twice",
            "BPE, 4,096",
            "unknown words (%)",
            1.0,
            "new text has new words, however many are known",
        ),
        Expectation(0.0, Cell("BPE, 4,096", "unknown words (%)"), 0.0, "all bytes are tokens"),
        Expectation(1.1, Cell("BPE, 4,096", "pieces, common words"), 0.0, "they are whole"),
        Expectation(
            Cell("BPE, 4,096", "pieces, unseen words"),
            Cell("BPE, 4,096", "pieces, common words"),
            1.0,
            "rare words are split",
        ),
        ahead(
            "BPE, 4,096",
            CHARACTERS,
            "characters per token",
            2.0,
            "sequences are shorter",
        ),
        ahead(
            "BPE, 8,192",
            "BPE, 512",
            "characters per token",
            1.0,
            "a larger vocabulary has longer tokens",
        ),
        Expectation(Cell("BPE, 512", "invented words kept"), 0.0, 3.0, "made of known pieces"),
    ),
    figure=figure,
    scales={
        "quick": {
            "documents": 400,
            "vocab_sizes": [512, 4096, 8192],
            "shown": [512, 4096],
            "ranks": 1024,
        },
        "small": {
            "vocab_sizes": [512, 1024, 2048, 4096, 8192],
            "shown": [512, 2048, 8192],
            "ranks": 8192,
        },
        "full": {
            "vocab_sizes": [512, 1024, 2048, 4096, 8192, 16384],
            "shown": [512, 2048, 16384],
            "ranks": 8192,
        },
    },
    own=(*OWN, "vocab_sizes", "shown", "ranks"),
    formats={"invented words kept": ".0f"},
    rows="tokens",
    about=(
        "Held-out documents of the English inside Python. Words are runs of letters; the word "
        "vocabularies hold the most frequent ones. Common: the 100 most frequent words of the "
        "training text; unseen: those of the held-out text that it does not have. Invented: "
        "'laern', 'taaaasty' and 'Transformerify'."
    ),
)
