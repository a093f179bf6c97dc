"""Lecture 03: one vocabulary, several ways to cut a word; merges are not the shortest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from minissl.claims.claim import Cell, Claim, Expectation, Measured, Setup, ahead
from minissl.claims.drawing import line, panels
from minissl.claims.gpt_on_english import OWN, english
from minissl.figures import label_ends
from minissl.palette import BLUE, OCHRE, RED
from minissl.text import Tokenizer
from minissl.text.bpe import segment
from minissl.text.patterns import count_pieces
from minissl.text.segment import fewest_pieces, longest_match, merges_with_dropout

MERGES, LONGEST, FEWEST = "merges replayed", "longest match", "fewest pieces"
DROPOUT = "merges, dropout 0.1"
Cut = Callable[[bytes], list[bytes]]


def measure(setup: Setup) -> Measured:
    """Cut every word of the held-out text in each way, with vocabularies of several sizes."""
    train, held_out = english(setup)
    sizes = setup.settings["vocab_sizes"]
    largest = Tokenizer.train([document.text for document in train], max(sizes))
    words = count_pieces([document.text for document in held_out], largest.pattern, ())
    table: dict[str, dict[str, float]] = {}
    curves: dict[str, tuple[list[int], list[float]]] = {}
    for size in sizes:
        setup.note(f"{size:,} tokens")
        tokens = {token: rank for token, rank in largest.ranks.items() if rank < size}
        rows = compare(words, ways(tokens, setup.seed))
        if size == setup.settings["vocab_size"]:
            table = rows
        for way in (MERGES, LONGEST, DROPOUT):
            for column in ("more than needed (%)", "not the fewest (%)"):
                x, y = curves.setdefault(f"{way}: {column}", ([], []))
                x.append(size)
                y.append(rows[way][column])
    return Measured(table, curves)


def ways(ranks: Mapping[bytes, int], seed: int) -> dict[str, Cut]:
    """The ways to cut a word with this vocabulary, by name."""
    generator = np.random.default_rng(seed)
    return {
        FEWEST: lambda word: fewest_pieces(word, ranks),
        LONGEST: lambda word: longest_match(word, ranks),
        MERGES: lambda word: segment(word, ranks),
        DROPOUT: lambda word: merges_with_dropout(word, ranks, 0.1, generator),
        "bytes": lambda word: [bytes([byte]) for byte in word],
    }


def compare(words: Mapping[bytes, int], cuts: Mapping[str, Cut]) -> dict[str, dict[str, float]]:
    """Each way beside the fewest pieces, over running text: a word of count n counts n times.

    Words of which the fewest pieces are one leave no choice, and are not among those of which it
    is said how many differ.
    """
    counts = np.array(list(words.values()))
    pieces = {name: [cut(word) for word in words] for name, cut in cuts.items()}
    lengths = {name: np.array([len(p) for p in split]) for name, split in pieces.items()}
    fewest = lengths[FEWEST]
    longer = np.where(fewest > 1, counts, 0)  # running words that need more than one piece
    num_bytes = counts @ np.array([len(word) for word in words])
    rows = {}
    for name, split in pieces.items():
        other = np.array([a != b for a, b in zip(split, pieces[MERGES])])
        rows[name] = {
            "bytes per token": num_bytes / (counts @ lengths[name]),
            "more than needed (%)": 100 * ((counts @ lengths[name]) / (counts @ fewest) - 1),
            "not the fewest (%)": 100 * (longer @ (lengths[name] > fewest)) / longer.sum(),
            "not as by merges (%)": 100 * (longer @ other) / longer.sum(),
            "words below the fewest": int((lengths[name] < fewest).sum()),
        }
    return {name: {c: float(value) for c, value in row.items()} for name, row in rows.items()}


def figure(measured: Sequence[Measured], settings: Mapping[str, Any]) -> Any:
    """How many tokens too many, and in how many words, against the size of the vocabulary."""
    drawn, axes = panels(2.6, 2.6)
    labels = {
        "more than needed (%)": "tokens more than needed (%)",
        "not the fewest (%)": "words with more pieces\nthan needed (%)",
    }
    for axis, (column, label) in zip(axes, labels.items()):
        for way, color in ((MERGES, BLUE), (LONGEST, RED), (DROPOUT, OCHRE)):
            if axis is axes[1] or way != DROPOUT:  # so much more that nothing else would be seen
                line(axis, measured, f"{way}: {column}", color=color, marker="o", ms=4, label=way)
        axis.set(xscale="log", ylabel=label, ylim=(0, None))
        axis.set_xticks(settings["vocab_sizes"], [f"{n:,}" for n in settings["vocab_sizes"]])
        axis.minorticks_off()
    axes[1].set(xlabel="tokens in the vocabulary")
    for axis in axes:
        label_ends(axis)
    return drawn


CLAIM = Claim(
    name="segmentation",
    title="A vocabulary leaves several ways to cut a word, and merges are not the shortest",
    statement=(
        "The pieces of a word are not unique. Replaying the merges of BPE does not always give the "
        "fewest pieces, nor does taking the longest match; only trying all ways (by dynamic "
        "programming) always does."
    ),
    lecture="03, section 5",
    measure=measure,
    expectations=(
        Expectation(0.0, Cell(MERGES, "words below the fewest"), 0.0, "fewest means fewest"),
        Expectation(0.0, Cell(LONGEST, "words below the fewest"), 0.0, "fewest means fewest"),
        Expectation(
            Cell(MERGES, "not the fewest (%)"),
            0.0,
            2.0,
            "merges were chosen for frequency, not for length",
        ),
        Expectation(Cell(MERGES, "more than needed (%)"), 0.0, 0.5),
        ahead(
            MERGES,
            LONGEST,
            "more than needed (%)",
            0.2,
            "a long token is taken even where an early merge would spoil it",
        ),
        Expectation(Cell(LONGEST, "not as by merges (%)"), 0.0, 5.0, "the ways differ in pieces"),
        ahead(
            DROPOUT,
            MERGES,
            "more than needed (%)",
            5.0,
            "what is left out shows as shorter pieces",
        ),
    ),
    figure=figure,
    scales={
        "quick": {"documents": 300, "vocab_size": 512, "vocab_sizes": [384, 512]},
        "small": {"vocab_size": 4096, "vocab_sizes": [512, 1024, 2048, 4096, 8192]},
        "full": {"vocab_size": 4096, "vocab_sizes": [512, 1024, 2048, 4096, 8192, 16384]},
    },
    own=(*OWN, "vocab_size", "vocab_sizes"),
    formats={"words below the fewest": ".0f"},
    rows="words cut by",
    about=(
        "Held-out words of the English inside Python, counted as often as they occur, with a BPE "
        "of 4,096 tokens learned from the rest. Percentages of words are of those that need more "
        "than one piece. One vocabulary, made by merges: one that was made for longest matches "
        "(WordPiece) would favour them more. We expected longest match to save more than it did; "
        "with other sizes of the vocabulary the order of the two changes (see the figure)."
    ),
)
