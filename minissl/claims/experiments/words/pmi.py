"""Lecture 04: what skip-gram learns can be counted: w·c becomes PMI − log k."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.claims.claim import Cell, Claim, Expectation, Measured, Setup, ahead, chosen
from minissl.claims.drawing import bars, panels
from minissl.claims.gpt_on_english import OWN, english
from minissl.data import Kept
from minissl.data.words import Words, WordTexts
from minissl.figures import legend
from minissl.models.word_tables import WordTables
from minissl.palette import BLUE, GREY, OCHRE, RED, look
from minissl.pretrain.run import train
from minissl.pretrain.windows import WindowSettings
from minissl.pretrain.words.skipgram import SkipGram
from minissl.text.cooccurrence import (
    Cooccurrences,
    cooccurrences,
    noise_distribution,
    pointwise_mutual_information,
)

KS = (1, 5, 15)
ROWS = tuple(f"k = {k}" for k in KS)
FLATTER, NARROW, UNTRAINED = "k = 5, noise f^0.75", "k = 5, 10 numbers", "untrained"
ARMS: dict[str, dict[str, Any]] = {
    **{row: {"negatives": k} for row, k in zip(ROWS, KS)},
    FLATTER: {"negatives": 5, "noise_power": 0.75},
    NARROW: {"negatives": 5, "width": 10},
}
CORRELATION, SLOPE, OFFSET = "correlation", "slope", "w·c − PMI + log k"
OF_ITS_NOISE = "correlation, its noise"
SHOWN = 300  # pairs in the figure


def measure(setup: Setup) -> Measured:
    """Train on the most frequent words, and compare each product with what the text counts."""
    theory = {"threshold": 0.0, "noise_power": 1.0}
    usual = chosen(SkipGram.Settings, setup, **theory)
    words = WordTexts(english(setup)[0]).prepare(Kept(), usual)
    pairs = expected_pairs(words, usual.window)
    pmi = pointwise_mutual_information(pairs, words.vocabulary.vocab_size)
    seen = pairs.counts >= setup.settings["least"]
    table: dict[str, dict[str, float]] = {}
    curves: dict[str, Any] = {}
    for row, changes in ARMS.items():
        setup.note(row)
        settings = chosen(SkipGram.Settings, setup, **(theory | changes))
        method = SkipGram.build(settings, words, seed=setup.seed)
        method.to(setup.device)
        train(method, settings, seed=setup.seed, progress=False)
        products = scores(method.model, pairs)
        log_k = float(np.log(settings.negatives))
        table[row] = agreement(pmi[seen], products[seen], log_k)
        own = pmi + log_share(words, 1.0)[pairs.columns]
        own = own - log_share(words, settings.noise_power)[pairs.columns]
        table[row][OF_ITS_NOISE] = correlation(own[seen], products[seen])
        some = np.flatnonzero(seen)[:: max(1, int(seen.sum()) // SHOWN)]
        curves[row] = (pmi[some].tolist(), products[some].tolist())
    untrained = random_tables(words, usual, setup.seed)
    table[UNTRAINED] = {CORRELATION: correlation(pmi[seen], scores(untrained, pairs)[seen])}
    return Measured(table, curves)


def expected_pairs(words: Words, window: int) -> Cooccurrences:
    """Pairs of the text with how often they are in a window, on average over its drawn width.

    A window of r words to each side is drawn with r from 1 to ``window``: words that are d apart
    count (window − d + 1) / window.
    """
    size = words.vocabulary.vocab_size
    table = np.zeros((size, size))
    for reach in range(1, window + 1):
        stream = words.stream
        found = cooccurrences(stream.words, stream.documents, size, reach, by_distance=False)
        table[found.rows, found.columns] += found.counts / window
    rows, columns = np.nonzero(table)
    return Cooccurrences(rows.astype(np.int32), columns.astype(np.int32), table[rows, columns])


def log_share(words: Words, power: float) -> NDArray[np.float64]:
    """The logarithm of how often each word is drawn as noise: (words,)."""
    counts = words.vocabulary.counts.copy()
    counts[0] = 0
    with np.errstate(divide="ignore"):
        return np.log(noise_distribution(counts, power))


def scores(model: WordTables, pairs: Cooccurrences) -> NDArray[np.float64]:
    """w·c of each pair, in float64."""
    centers, contexts = (t.weight.numpy() for t in (model.centers, model.contexts))
    rows = centers[pairs.rows].astype(np.float64)
    return np.sum(rows * contexts[pairs.columns], axis=1)


def random_tables(words: Words, settings: WindowSettings, seed: int) -> WordTables:
    """Both tables at random: skip-gram begins with contexts of zeros, which fit nothing."""
    size, generator = words.vocabulary.vocab_size, np.random.default_rng(seed)
    return WordTables(size, settings.width, both=True, generator=generator)


def correlation(x: NDArray, y: NDArray) -> float:
    """Pearson's."""
    return float(np.corrcoef(x, y)[0, 1])


def agreement(pmi: NDArray, products: NDArray, log_k: float) -> dict[str, float]:
    """Of a perfect fit 1, 1 and 0: correlation, slope of the line of least squares, mean error."""
    slope = np.polyfit(pmi, products, 1)[0]
    return {
        CORRELATION: correlation(pmi, products),
        SLOPE: float(slope),
        OFFSET: float(np.mean(products - pmi + log_k)),
    }


def figure(measured: Sequence[Measured], settings: Mapping[str, Any]) -> Any:
    """Products against PMI with the line of the theory for each k; the correlations below."""
    drawn, (points, correlations) = panels(3.6, 2.2)
    for row, k, color in zip(ROWS, KS, (OCHRE, BLUE, RED)):
        x, y = (np.asarray(axis) for axis in measured[0].curves[row])
        form = look(color, marker=True)
        points.plot(x, y, **{**form, "linestyle": "", "markersize": 2})
        ends = np.array([x.min(), x.max()])
        points.plot(ends, ends - np.log(k), **look(color), linewidth=1, label=f"PMI − log {k}")
    points.set(xlabel="PMI of a center and a context, counted (nats)", ylabel="w·c, learned")
    legend(points)
    rows = [*ARMS, UNTRAINED]
    colors = [OCHRE, BLUE, RED, GREY, GREY, GREY]
    bars(correlations, measured, rows, CORRELATION, colors=colors)
    correlations.set(xlabel="correlation of w·c with PMI")
    return drawn


def expected() -> list[Expectation]:
    """What the theory says, with room for a training that ends and a text that is short."""
    found = []
    for row in ROWS:
        found += [
            Expectation(Cell(row, CORRELATION), 0.0, 0.9, "the products are the counts"),
            Expectation(Cell(row, SLOPE), 0.0, 0.8, "in the same unit"),
            Expectation(0.2, Cell(row, OFFSET), 0.0, "moved by log k"),
            Expectation(Cell(row, OFFSET), -0.2, 0.0),
        ]
    return [
        *found,
        Expectation(0.1, Cell(UNTRAINED, CORRELATION), 0.0, "it is learned"),
        ahead(ROWS[1], NARROW, CORRELATION, 0.05, "ten numbers hold no table of 200 words"),
        ahead(ROWS[1], FLATTER, CORRELATION, 0.01, "the power 0.75 moves rare and frequent words"),
        Expectation(Cell(FLATTER, OF_ITS_NOISE), 0.0, 0.9, "to log p(c | w) / q(c), for its q"),
    ]


CLAIM = Claim(
    name="pmi",
    title="What skip-gram learns can be counted: w·c becomes PMI − log k",
    statement=(
        "Where noise is drawn as often as words occur, negative sampling is least when every "
        "product of a center and a context is their pointwise mutual information minus log k: "
        "vectors that are learned word by word factorize a table of counts."
    ),
    lecture="04, section 5",
    measure=measure,
    expectations=expected(),
    figure=figure,
    scales={
        "quick": {
            "documents": 400,
            "most_words": 40,
            "width": 16,
            "steps": 20,
            "least": 20,
            "batch_size": 2048,
            "learning_rate": 1.0,
            "evaluations": 1,
        },
        "small": {
            "most_words": 200,
            "width": 200,
            "steps": 800,
            "least": 50,
            "learning_rate": 1.0,
            "evaluations": 1,
        },
        "full": {
            "most_words": 500,
            "width": 500,
            "steps": 3000,
            "least": 50,
            "learning_rate": 1.0,
            "evaluations": 1,
        },
    },
    settings=[WindowSettings],
    own=(*OWN, "least"),
    formats={CORRELATION: ".3f", OF_ITS_NOISE: ".3f"},
    rows="skip-gram with",
    about=(
        "The English inside Python without words that are not among the 200 most frequent, so that "
        "the table of all pairs is small enough for vectors of 200 numbers to hold. Nothing is "
        "thinned out. Pairs are counted as the training draws them, a distance d with (window − d "
        "+ 1) / window; shown are those that count 50 or more. The correlation with its noise "
        "takes log p(c | w) / q(c), with the q that noise was drawn from, in place of the PMI. The "
        "contexts of the untrained tables are random. Learning rate and steps were chosen with "
        "seed 100."
    ),
)
