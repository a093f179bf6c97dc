"""Lecture 04: noise-contrastive estimation learns probabilities, negative sampling does not."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.autograd import operations as ops
from minissl.autograd.tensor import Tensor
from minissl.claims.claim import Cell, Claim, Expectation, Measured, Setup, ahead, chosen
from minissl.claims.drawing import bars, line, panels
from minissl.claims.experiments.words.pmi import expected_pairs
from minissl.claims.gpt_on_english import OWN, english
from minissl.data import Kept
from minissl.data.words import Words, WordTexts
from minissl.figures import label_ends
from minissl.palette import BLUE, GREY, OCHRE, RED
from minissl.pretrain.run import train
from minissl.pretrain.windows import BLOCK, Windows, WordWindows
from minissl.pretrain.words.noise_contrastive import NoiseContrastive
from minissl.pretrain.words.skipgram import SkipGram

LIKELIHOOD, SAMPLING, BACK = (
    "maximum likelihood",
    "negative sampling, k = 5",
    ("negative sampling, k = 5, times noise"),
)
KS = (1, 5, 25)
NCE = tuple(f"NCE, k = {k}" for k in KS)
SHARES = "shares of the words"
PERPLEXITY, NORMALIZER = "perplexity, normalized", "log Σ eˢ"
COSINE, SMALL, LARGE = "cosine, k = {}", "ms, 500 words", "ms, 4,000 words"
GAP, GROWTH = "above likelihood", "ms, 4,000 / 500"
GRADIENT_KS = (1, 5, 25, 100, 1000)
TIMED = {SMALL: 500, LARGE: 4000}


class MaximumLikelihood(NoiseContrastive):
    """The same scores, made probabilities by a sum over the vocabulary."""

    def arrays(self, windows: Windows) -> tuple[NDArray, ...]:
        """Centers (blocks, BLOCK), and how often each word is in the window of each."""
        blocks, _, _ = np.nonzero(windows.seen)
        _, near, place = np.nonzero(windows.seen)
        size = self.data.vocabulary.vocab_size
        counts = np.zeros((len(windows.centers), BLOCK, size), np.float32)
        np.add.at(counts, (blocks, place, windows.around[blocks, near]), 1)
        return windows.centers, counts[:, :, 1:]

    def loss(self, batch: tuple[Any, ...], generator: np.random.Generator) -> Tensor:
        """The mean of −log p(c | w) over the pairs, in nats."""
        centers, counts = batch
        model = self.model
        products = ops.matmul(model.centers(centers), model.contexts.weight[1:].mT)
        scores = products + ops.squeeze(model.biases.weight[1:], axis=1)
        return -ops.sum(counts * ops.log_softmax(scores, axis=-1)) / max(1.0, self.count(batch))

    def count(self, batch: tuple[Any, ...]) -> float:
        """How many pairs there are."""
        return float(batch[1].sum())


ARMS: dict[str, tuple[type[WordWindows], int]] = {
    LIKELIHOOD: (MaximumLikelihood, 1),
    **{row: (NoiseContrastive, k) for row, k in zip(NCE, KS)},
    SAMPLING: (SkipGram, 5),
}
ROWS = (SHARES, *ARMS, BACK)


def measure(setup: Setup) -> Measured:
    """Train the same scores in three ways; and compare gradients and times."""
    settings = chosen(SkipGram.Settings, setup, threshold=0.0)
    words = WordTexts(english(setup)[0]).prepare(Kept(), settings)
    table: dict[str, dict[str, float]] = {row: {} for row in ROWS}
    for row, (kind, k) in ARMS.items():
        setup.note(row)
        arm = replace(settings, negatives=k)
        method = kind.build(arm, words, seed=setup.seed)
        method.to(setup.device)
        train(method, arm, seed=setup.seed, progress=False)
        table[row] = judged(words, settings.window, scores(method))
        if row == SAMPLING:
            with_noise = scores(method) + np.log(k * method.noise[1:])
            table[BACK] = judged(words, settings.window, with_noise)
    shares = words.vocabulary.counts[1:] / words.vocabulary.counts[1:].sum()
    table[SHARES] = judged(words, settings.window, np.log(shares)[None].repeat(len(shares), 0))
    for cells in table.values():
        cells[GAP] = cells[PERPLEXITY] - table[LIKELIHOOD][PERPLEXITY]
    setup.note("gradients")
    curves = cosines(conditional(words, settings.window), shares, setup.seed)
    for row, name in ((NCE[1], "NCE"), (SAMPLING, "negative sampling")):
        for k in GRADIENT_KS:
            table[row][COSINE.format(k)] = curves[name][1][curves[name][0].index(k)]
    setup.note("times")
    for column, size in TIMED.items():
        for row, spent in timed(size, settings.window, setup).items():
            table[row][column] = spent
    for row in (LIKELIHOOD, NCE[1]):
        table[row][GROWTH] = table[row][LARGE] / table[row][SMALL]
    return Measured(table, curves)


# ---- probabilities -------------------------------------------------------------------------------


def scores(method: Any) -> NDArray[np.float64]:
    """s of each context (columns) beside each center (rows), in float64, without [UNK]."""
    tables = method.model
    centers, contexts = (t.weight.numpy()[1:].astype(np.float64)
                         for t in (tables.centers, tables.contexts))  # fmt: skip
    products = centers @ contexts.T
    return products + tables.biases.weight.numpy()[1:, 0] if hasattr(tables, "biases") else products


def conditional(words: Words, window: int) -> NDArray[np.float64]:
    """How often each context (columns) is in a window of each center (rows), without [UNK]."""
    pairs, size = expected_pairs(words, window), words.vocabulary.vocab_size
    table = np.zeros((size, size))
    table[pairs.rows, pairs.columns] = pairs.counts
    return table[1:, 1:]


def log_sums(table: NDArray) -> NDArray[np.float64]:
    """log Σ eˢ of each row: (rows, 1)."""
    largest = table.max(axis=1, keepdims=True)
    return largest + np.log(np.exp(table - largest).sum(axis=1, keepdims=True))


def judged(words: Words, window: int, table: NDArray) -> dict[str, float]:
    """The perplexity of held-out contexts when all sums are made 1; what the logs of the sums were.

    The normalizer is a mean over the centers as they occur.
    """
    counts = conditional(replace(words, stream=words.held_out), window)
    nats = -np.sum(counts * (table - log_sums(table))) / counts.sum()
    occur = counts.sum(axis=1) / counts.sum()
    return {PERPLEXITY: float(np.exp(nats)), NORMALIZER: float(occur @ log_sums(table)[:, 0])}


# ---- gradients -----------------------------------------------------------------------------------


def gradients(
    scores: NDArray, shares: NDArray, noise: NDArray, k: float
) -> tuple[NDArray, NDArray, NDArray]:
    """What scores s (centers, words) are expected to be changed by: likelihood, NCE, sampling.

    shares (centers, words): of the data, rows sum to 1. With u = eˢ and p the data:

        likelihood           p − u / Σ u
        NCE                  (p − u) k q / (u + k q)
        negative sampling    p (1 − σ(s)) − k q σ(s)
    """
    u = np.exp(scores)
    sigmoid = u / (1 + u)
    return (
        shares - np.exp(scores - log_sums(scores)),
        (shares - u) * (k * noise / (u + k * noise)),
        shares * (1 - sigmoid) - k * noise * sigmoid,
    )


def cosines(counts: NDArray, noise: NDArray, seed: int) -> dict[str, Any]:
    """Of both gradients with the likelihood's, against k, at random scores that are normalized."""
    met = counts.sum(axis=1) > 0
    shares = counts[met] / counts[met].sum(axis=1, keepdims=True)
    drawn = np.log(noise) + np.random.default_rng(seed).standard_normal(shares.shape)
    drawn = drawn - log_sums(drawn)
    ks = sorted({*np.geomspace(1, 1000, 13).round().astype(int).tolist(), *GRADIENT_KS})
    curves: dict[str, Any] = {"NCE": (ks, []), "negative sampling": (ks, [])}
    for k in ks:
        likelihood, *others = gradients(drawn, shares, noise, k)
        for name, other in zip(curves, others):
            product = np.sum(likelihood * other)
            lengths = np.linalg.norm(likelihood) * np.linalg.norm(other)
            curves[name][1].append(float(product / lengths))
    return curves


# ---- time ----------------------------------------------------------------------------------------


def timed(size: int, window: int, setup: Setup) -> dict[str, float]:
    """Processor time (ms) of loss and gradient with so many words, medians of steps in turn."""
    settings = SkipGram.Settings(
        window=window, negatives=5, threshold=0.0, most_words=size, min_count=1,
        batch_size=setup.settings["timed_batch"],
    )  # fmt: skip
    words = WordTexts(english(setup)[0]).prepare(Kept(), settings)
    methods = {
        LIKELIHOOD: MaximumLikelihood.build(settings, words, seed=setup.seed),
        NCE[1]: NoiseContrastive.build(settings, words, seed=setup.seed),
    }
    spent: dict[str, list[float]] = {row: [] for row in methods}
    for number in range(8):
        for row, method in methods.items():
            generator = np.random.default_rng(number)
            batch = method.batch(generator, number)
            begun = time.process_time()
            method.loss(batch, generator).backward()
            spent[row].append(1000 * (time.process_time() - begun))
            method.model.zero_grad()
    return {row: float(np.median(times[1:])) for row, times in spent.items()}


def figure(measured: Sequence[Measured], settings: Mapping[str, Any]) -> Any:
    """Perplexities, then the cosines of gradients against k."""
    drawn, (perplexities, cosine) = panels(3.0, 2.2)
    colors = [GREY, OCHRE, BLUE, BLUE, BLUE, RED, RED]
    bars(perplexities, measured, ROWS, PERPLEXITY, colors=colors, form="%.0f")
    perplexities.set_yticks(
        range(len(ROWS)), [row.replace("sampling, ", "sampling,\n") for row in ROWS]
    )
    perplexities.set(xlabel="perplexity of held-out contexts")
    line(cosine, measured, "NCE", color=BLUE)
    line(cosine, measured, "negative sampling", color=RED)
    cosine.set(xscale="log", ylim=(0, 1.05), xlabel="words of noise for each real one, k")
    cosine.set(ylabel="cosine with the\nlikelihood's gradient")
    label_ends(cosine)
    return drawn


def expected() -> list[Expectation]:
    """Probabilities where the noise is taken into account, none where it is not."""
    near, far = (Cell(NCE[1], COSINE.format(k)) for k in (1000, 1))
    found = [
        Expectation(near, 0.0, 0.98, "it becomes the gradient of the likelihood"),
        Expectation(near, far, 0.05, "as k grows"),
        Expectation(0.7, Cell(SAMPLING, COSINE.format(1000)), 0.0, "it goes elsewhere"),
        ahead(SAMPLING, SHARES, PERPLEXITY, 5, "it has to be worse than counting words"),
        ahead(SHARES, NCE[1], PERPLEXITY, 10, "it has learned what stands beside what"),
        Expectation(3.0, Cell(BACK, GAP), 0.0, "what negative sampling lacks is the noise"),
        Expectation(Cell(SAMPLING, NORMALIZER), 0.0, 1.0),
        Expectation(Cell(LIKELIHOOD, GROWTH), 0.0, 4.0, "a sum over eight times the words"),
        Expectation(1.5, Cell(NCE[1], GROWTH), 0.0, "as much noise as before"),
    ]
    for row in NCE[:2]:
        found += [
            Expectation(3.0, Cell(row, GAP), 0.0, "as good as with the sum over all words"),
            Expectation(0.15, Cell(row, NORMALIZER), 0.0, "nobody added it up, and it is 1"),
            Expectation(Cell(row, NORMALIZER), -0.15, 0.0),
        ]
    return found


CLAIM = Claim(
    name="noise-contrastive",
    title="Noise-contrastive estimation learns probabilities, negative sampling does not",
    statement=(
        "With the noise's probability in its scores, telling text from noise has the likelihood's "
        "gradient when there is much noise, sums that are 1 though nobody adds them up, and a cost "
        "that does not grow with the vocabulary. Negative sampling leaves that out: its scores are "
        "no probabilities, normalized or not."
    ),
    lecture="04, section 6",
    measure=measure,
    expectations=expected(),
    figure=figure,
    scales={
        "quick": {
            "documents": 400,
            "most_words": 60,
            "width": 8,
            "steps": 8,
            "window": 2,
            "batch_size": 1024,
            "learning_rate": 1.0,
            "evaluations": 1,
            "timed_batch": 64,
        },
        "small": {
            "most_words": 300,
            "width": 50,
            "steps": 300,
            "window": 2,
            "learning_rate": 1.0,
            "evaluations": 1,
            "timed_batch": 512,
        },
        "full": {
            "most_words": 2000,
            "width": 200,
            "steps": 3000,
            "window": 2,
            "learning_rate": 1.0,
            "evaluations": 1,
            "timed_batch": 512,
        },
    },
    settings=[SkipGram.Settings],
    own=(*OWN, "timed_batch"),
    formats={PERPLEXITY: ".1f", GAP: ".1f", GROWTH: ".1f", SMALL: ".1f", LARGE: ".1f"},
    rows="trained by",
    about=(
        "The English inside Python without words that are not among the 300 most frequent; the "
        "words up to two before and after each are predicted, with nothing thinned out and noise "
        "drawn as count^0.75. Perplexity is that of the held-out documents, all sums made 1 first; "
        "the normalizer is the mean over centers as they occur, before that. The last row has "
        "eˢ of negative sampling times k q(c). Cosines are those of expected gradients of the "
        "scores, at random ones whose sums are 1. Times are processor time of loss and gradient "
        "for 512 centers, medians of seven steps in turn. Steps and learning rate were tried once, "
        "with seed 100 and larger batches, before the expectations were written."
    ),
)
