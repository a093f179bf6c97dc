"""Lecture 08: whether a second text follows is told by its topic, and two texts halve the context.

The partner that does not follow is of another page, or of the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.claims.claim import Cell, Claim, Expectation, Measured, Setup, ahead, chosen
from minissl.claims.drawing import BLUE, GREY, OCHRE, groups, panels, values
from minissl.claims.pages_of_english import OWN, passages, trained
from minissl.data.passages import PieceStream
from minissl.nn.evaluating import evaluating
from minissl.pretrain.masked.bert import BERT, BERTSettings
from minissl.pretrain.masked.spanbert import SpanBERT, SpanBERTSettings
from minissl.pretrain.masked_language_model import MaskedBatch, Row
from minissl.pretrain.run import train
from minissl.text.masking import choose, replace

OTHER, SAME = "of another page", "of the same page"
PARTNERS = {OTHER: "other", SAME: "same"}
LENGTHS, BAG, READ, MOVED = "lengths alone", "bag of words", "BERT", "BERT, from the first column"
LOSS = "nats per token"
MIDDLE = 24  # pieces of a row in which tokens are hidden, at all contexts the same
TOGETHER = 64  # rows that are read at once where nothing is learned
INVERSE_L2 = 100.0  # of scikit-learn's logistic regression


def context(length: int) -> str:
    """The name of a row of the table."""
    return f"{length} tokens"


def measure(setup: Setup) -> Measured:
    """Two kinds of pairs for BERT and for counts of words; then one text in several contexts."""
    table: dict[str, dict[str, float]] = {LENGTHS: {}, BAG: {}, READ: {}, MOVED: {}}
    data = passages(setup, chosen(BERTSettings, setup))
    methods, tests = {}, {}
    for column, partners in PARTNERS.items():
        settings = chosen(BERTSettings, setup, partners=partners)
        setup.note(f"partners {column}")
        methods[column], _ = trained(setup, BERT, settings, data)
        generator, count = np.random.default_rng(setup.seed), setup.settings["pairs"]
        learned = methods[column].rows(data.stream, count, generator)
        tests[column] = methods[column].rows(data.held_out, count // 10, generator)
        counted = counts_of_words(learned, tests[column], data.tokenizer.vocab_size)
        for row, right in zip((LENGTHS, BAG), counted):
            table[row][column] = right
        table[READ][column] = told(methods[column], tests[column])
    table[MOVED][SAME] = told(methods[OTHER], tests[SAME])
    setup.note("contexts")
    return Measured(table | contexts(setup, data))


def told(method: BERT, pairs: Sequence[Row]) -> float:
    """Of how many pairs, in %, BERT says rightly whether the second text follows."""
    right = 0
    with evaluating(method.model):
        for start in range(0, len(pairs), TOGETHER):
            some = pairs[start : start + TOGETHER]
            tokens, lengths, segments, labels = method.assembled(some)
            states = method.model(tokens, lengths=lengths, segments=segments)
            logits = method.model.follows_logits(states).numpy()
            right += int((logits.argmax(axis=1) == labels).sum())
    return 100 * right / len(pairs)


# ---- counts -------------------------------------------------------------------------------------


def counts_of_words(
    train: Sequence[Row], test: Sequence[Row], vocab_size: int
) -> tuple[float, float]:
    """Pairs told rightly, in %, by scikit-learn's logistic regression: of lengths, of words.

    The features are both lengths, their root and square; of words the product of the pieces' tf-idf
    in both texts, and the sum of the products, their cosine.
    """
    from scipy.sparse import csr_matrix, hstack, vstack
    from sklearn.feature_extraction.text import TfidfTransformer
    from sklearn.linear_model import LogisticRegression

    def counts(texts: Sequence[Any]) -> Any:
        ends = np.cumsum([0, *map(len, texts)])
        shape = len(texts), vocab_size
        found = csr_matrix((np.ones(ends[-1]), np.concatenate(texts), ends), shape)
        found.sum_duplicates()
        return found

    sides = [
        [counts([row.first for row in rows]), counts([row.second for row in rows])]
        for rows in (train, test)
    ]
    labels = [np.array([row.label for row in rows]) for rows in (train, test)]
    tfidf = TfidfTransformer(sublinear_tf=True).fit(vstack(sides[0]))

    def lengths(pair: Sequence[Any]) -> NDArray:
        sizes = np.column_stack([np.asarray(side.sum(axis=1)) for side in pair]) / 50
        return np.column_stack([sizes, sizes**0.5, sizes**2])

    def words(pair: Sequence[Any]) -> Any:
        first, second = (tfidf.transform(side) for side in pair)
        products = first.multiply(second).tocsr()
        return hstack([products, csr_matrix(products.sum(axis=1))]).tocsr()

    def right(features: Any) -> float:
        model = LogisticRegression(C=INVERSE_L2, max_iter=1000)
        model.fit(features(sides[0]), labels[0])
        return 100 * float(model.score(features(sides[1]), labels[1]))

    return right(lengths), right(words)


# ---- contexts -----------------------------------------------------------------------------------


class ManyLengths(SpanBERT):
    """A masked model of single texts: the rows of each step have one of the ``lengths``.

    The shorter they are the more there are, so that of each length as many tokens are read.
    """

    lengths: Sequence[int] = ()

    def rows(self, stream: PieceStream, count: int, generator: np.random.Generator) -> list[Row]:
        """Rows of one length, which is drawn first; each from a random place of a longer one."""
        longest = self.settings.context_length
        size = int(generator.choice(self.lengths or [longest]))
        rows = super().rows(stream, count * longest // size, generator)
        return [Row(piece(row.first, size - 2, generator)) for row in rows]


def piece(text: NDArray, size: int, generator: np.random.Generator) -> NDArray:
    """So many pieces from a random place of a text, or all of it."""
    start = int(generator.integers(max(0, len(text) - size) + 1))
    return text[start : start + size]


def contexts(setup: Setup, data: Any) -> dict[str, dict[str, float]]:
    """The loss of the same hidden tokens of held-out rows, with more or less around them."""
    lengths = setup.settings["lengths"]
    settings = chosen(
        SpanBERTSettings, setup, context_length=max(lengths), masking="pieces", boundary_weight=0.0,
        batch_size=setup.settings["batch_size"] * setup.settings["context_length"] // max(lengths),
        steps=setup.settings["length_steps"],
    )  # fmt: skip
    method = ManyLengths.build(settings, data, seed=setup.seed)
    method.lengths = lengths
    method.model.to(setup.device)
    train(method, settings, seed=setup.seed, progress=False)
    rows = whole_rows(method, setup.settings["rows"])
    found = {}
    with evaluating(method.model):
        for length in lengths:
            nats, count = 0.0, 0
            for batch in rows:
                own = cut(batch, length)
                nats += method.masked_loss(own, method.states_of(own), reduction="sum").item()
                count += int(own.hidden.sum())
            found[context(length)] = {LOSS: nats / count}
    return found


def whole_rows(method: ManyLengths, count: int) -> list[MaskedBatch]:
    """Held-out rows that are full, in batches; tokens are hidden in the middle of each."""
    generator, settings = np.random.default_rng(0), method.settings
    drawn = SpanBERT.rows(method, method.data.held_out, 2 * count, generator)
    full = [row for row in drawn if len(row.first) == method.room][:count]
    batches = []
    for start in range(0, len(full), TOGETHER):
        originals, lengths, segments, labels = method.assembled(full[start : start + TOGETHER])
        middle = np.abs(np.arange(originals.shape[1]) - originals.shape[1] / 2 + 0.5) < MIDDLE / 2
        allowed = np.broadcast_to(middle, originals.shape)
        hidden = choose("pieces", allowed, allowed, generator, settings.mask_share)
        tokens = replace(
            originals, hidden, generator, mask=method.mask, vocab_size=len(method.begins),
            shares=(settings.mask_tokens, settings.random_tokens),
        )  # fmt: skip
        batches.append(MaskedBatch(tokens, lengths, segments, hidden, originals, labels))
    return batches


def cut(batch: MaskedBatch, length: int) -> MaskedBatch:
    """The middle of full rows, between the same [CLS] and [SEP]: (rows, length)."""
    whole = batch.tokens.shape[1]
    start = 1 + (whole - length) // 2
    columns = np.array([0, *range(start, start + length - 2), whole - 1])
    return MaskedBatch(
        batch.tokens[:, columns],
        np.full(len(batch.tokens), length),
        batch.segments[:, columns],
        batch.hidden[:, columns],
        batch.originals[:, columns],
        batch.labels,
    )


# ---- what is shown and expected -----------------------------------------------------------------


def figure(measured: Sequence[Measured], settings: Mapping[str, Any]) -> Any:
    """Pairs told rightly, of both kinds; below, the loss by how much is read around a token."""
    drawn, (pairs, loss) = panels(2.6, 2.2)
    columns = {column: f"wrong partners are\n{column}" for column in PARTNERS}
    groups(pairs, measured, {LENGTHS: GREY, BAG: OCHRE, READ: BLUE}, columns)
    pairs.axhline(50, color=GREY, linestyle="--", linewidth=1)
    pairs.set(ylim=(40, 100), ylabel="pairs told rightly (%)")
    pairs.legend(frameon=False, loc="upper right")
    lengths = settings["lengths"]
    seen = np.array([values(measured, context(length), LOSS) for length in lengths])
    loss.plot(lengths, seen.mean(axis=1), color=BLUE)
    loss.plot(lengths, seen, ".", color="#222", markersize=4)
    loss.set(xscale="log", xlabel="tokens of the row", ylabel="nats per hidden token")
    loss.set_xticks(lengths, [str(length) for length in lengths])
    loss.minorticks_off()
    return drawn


def expected(lengths: Sequence[int]) -> list[Expectation]:
    """What a pilot with another seed made likely."""
    topic = "two pages are about different things"
    short, middle, long = (context(length) for length in lengths)
    return [
        *(Expectation(56.0, Cell(LENGTHS, column), 0.0, "no way around") for column in PARTNERS),
        Expectation(Cell(BAG, OTHER), 0.0, 75.0, topic),
        Expectation(Cell(READ, OTHER), 0.0, 58.0, topic),
        ahead(BAG, READ, OTHER, 3, "a small encoder has to learn to compare"),
        Expectation(68.0, Cell(BAG, SAME), 0.0, "one page is about one thing"),
        Expectation(58.0, Cell(READ, SAME), 0.0, "one page is about one thing"),
        Expectation(Cell(BAG, OTHER), Cell(BAG, SAME), 12.0, "what is told is the topic"),
        Expectation(Cell(READ, OTHER), Cell(READ, SAME), 5.0, "what is told is the topic"),
        Expectation(Cell(READ, OTHER), Cell(MOVED, SAME), 5.0, "it was no order that it learned"),
        ahead(short, middle, LOSS, 0.03, "half the context says less"),
        ahead(middle, long, LOSS, 0.01, "and so again, but less so"),
    ]


CONTEXTS = [32, 64, 128]

CLAIM = Claim(
    name="next-sentence",
    title="Next sentences are told by their topic, and two texts halve the context",
    statement=(
        "Whether a second text follows the first is told by its topic where the wrong ones are of "
        "another page: counting words does it, better than a small BERT. Where they are of the "
        "same page, neither does much better than a coin. And a text that has half of the row for "
        "itself has less around each hidden token."
    ),
    lecture="08, section 6",
    measure=measure,
    expectations=expected(CONTEXTS),
    figure=figure,
    scales={
        "quick": {
            "pages": 6,
            "pairs": 100,
            "rows": 8,
            "lengths": CONTEXTS,
            "length_steps": 3,
            "vocab_size": 300,
            "steps": 3,
            "batch_size": 4,
            "num_layers": 1,
            "width": 16,
            "context_length": 64,
            "evaluations": 1,
        },
        "small": {
            "pairs": 20_000,
            "rows": 2048,
            "lengths": CONTEXTS,
            "length_steps": 1000,
            "steps": 2000,
            "batch_size": 32,
            "width": 64,
            "context_length": 64,
            "learning_rate": 4e-3,
            "evaluations": 1,
        },
        "full": {
            "pairs": 20_000,
            "rows": 2048,
            "lengths": CONTEXTS,
            "length_steps": 8000,
            "steps": 8000,
            "batch_size": 64,
            "num_layers": 4,
            "width": 128,
            "context_length": 64,
            "evaluations": 1,
        },
    },
    settings=[BERTSettings, SpanBERTSettings],
    own=(*OWN, "pairs", "rows", "lengths", "length_steps"),
    formats={OTHER: ".1f", SAME: ".1f", LOSS: ".3f"},
    rows="pairs told rightly, in %",
    about=(
        "Pages are the chapters of Python's reference and the docstrings of its modules, 283 of "
        "1,500 characters or more; the seed holds 42 of them out. Pairs as BERT's program makes "
        "them, rows of 64 tokens: 20,000 for the counts, 2,000 to test all rows on; the standard "
        "error is a point. Lengths: logistic regression on both lengths. Bag of words: on the "
        "products of the tf-idf of each piece in both texts, and their sum. BERT: 2 layers of "
        "width 64, 2,000 steps of 32 pairs with both objectives. The last "
        "three rows are of one model, which has read rows of single texts of these lengths, as "
        "many tokens of each, and is asked of the same hidden tokens, in the middle of 512 rows "
        "of 128 that are cut. Sizes and steps were tried with seed 100, "
        "where BERT left 50 % only after 900 steps and had 70 % after 1,800, and not more than "
        "58 % in half as many or with half as many pairs per step."
    ),
    packages=("sklearn",),
)
