"""Lecture 08: hiding words and spans is harder than hiding pieces; and what it teaches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.adapt.method import Task
from minissl.claims.cache import shared
from minissl.claims.claim import Cell, Claim, Expectation, Measured, Setup, ahead, chosen
from minissl.claims.docstring_labels import fine_tuned, in_memory
from minissl.claims.drawing import panels, values
from minissl.data.passages import PassageTexts
from minissl.data.texts import LabelledTexts
from minissl.figures import label_ends
from minissl.nn.evaluating import evaluating
from minissl.palette import BLUE, GREY, OCHRE, RED, look
from minissl.pretrain.masked.spanbert import SpanBERT, SpanBERTSettings
from minissl.pretrain.masked_language_model import MaskedBatch, MaskedLanguageModel
from minissl.text.masking import KINDS, Words

PIECES, WORDS, SPANS = "trained on pieces", "trained on whole words", "trained on spans"
FREQUENCIES, SCRATCH = "how often each piece comes", "random network"
ARMS: dict[str, dict[str, Any]] = {
    PIECES: {"masking": "pieces", "boundary_weight": 0.0},
    WORDS: {"masking": "words", "boundary_weight": 0.0},
    SPANS: {"masking": "spans", "boundary_weight": 1.0},
}
ROWS = (FREQUENCIES, SCRATCH, *ARMS)
HIDDEN = {f"nats, {kind} hidden": kind for kind in KINDS}
WON = {f"fewer than by frequency, {kind}": name for name, kind in HIDDEN.items()}
STEM, WHOLE = "nats of a ## piece, its word visible", "the same, its word hidden"
LABELS = {"2 labels": 2, "5 labels": 5, "20 labels": 20}  # column: labels_per_class
OWN = ("every", "rows", "tune_steps")


def measure(setup: Setup) -> Measured:
    """The same encoder, trained by hiding in three ways: what is hard, what is it good for?"""
    texts = PassageTexts(PassageTexts.read(None).documents[:: setup.settings["every"]])
    table: dict[str, dict[str, float]] = {row: {} for row in ROWS}
    for row, arm in ARMS.items():
        setup.note(row)
        settings = chosen(SpanBERTSettings, setup, **arm)
        found = shared(setup, SpanBERT, texts, settings, row=row)
        if row == PIECES:  # held-out text, pieces and labelled texts are those of all rows
            task = Task.prepare(found.data, LabelledTexts.read(None), "class")
            asked = questions(found.method, setup.settings["rows"])
            table[FREQUENCIES] = {name: by_frequency(found.data, one) for name, one in asked}
            untrained = SpanBERT.build(settings, found.data, seed=setup.seed)
            table[SCRATCH] = accuracies(setup, untrained, settings, found.data, task)
        table[row] = {name: nats(found.method, one) for name, one in asked}
        for name, raw in WON.items():
            table[row][name] = table[FREQUENCIES][raw] - table[row][raw]
        table[row] |= accuracies(setup, found.method, settings, found.data, task)
    return Measured(table)


def accuracies(
    setup: Setup, method: SpanBERT, settings: SpanBERTSettings, data: Any, task: Task
) -> dict[str, float]:
    """In percent, of the network fine-tuned with few labels."""
    opened = in_memory(method, settings, data)
    return {name: fine_tuned(setup, opened, task, count) for name, count in LABELS.items()}


# ---- how hard it is ------------------------------------------------------------------------------


def questions(method: MaskedLanguageModel, rows: int) -> list[tuple[str, list[MaskedBatch]]]:
    """The columns of nats, each with the batches of held-out text that it is measured on.

    [MASK] stands for all that is hidden: a token that stays as it is would be no question.
    """
    found = [
        (name, [covered(method, batch) for batch in method.held_out_batches(kind, rows)])
        for name, kind in HIDDEN.items()
    ]
    drawn = [*pairs(method, rows)]
    return [*found, (STEM, [one for one, _ in drawn]), (WHOLE, [one for _, one in drawn])]


def covered(method: MaskedLanguageModel, batch: MaskedBatch) -> MaskedBatch:
    """The batch with [MASK] at all hidden places."""
    return batch._replace(tokens=np.where(batch.hidden, method.mask, batch.originals))


def pairs(method: MaskedLanguageModel, rows: int) -> Iterator[tuple[MaskedBatch, MaskedBatch]]:
    """Of held-out rows one ## piece each: hidden alone, and with the whole word that it is in.

    In both batches ``hidden`` is that piece. A row without a word of several pieces is not asked.
    """
    generator = np.random.default_rng(0)
    for batch in method.held_out_batches("pieces", rows):
        piece, word = one_piece(method, batch.originals, generator)
        if piece.any():
            of_piece, of_word = (
                np.where(hidden, method.mask, batch.originals) for hidden in (piece, word)
            )
            batch = batch._replace(hidden=piece)
            yield batch._replace(tokens=of_piece), batch._replace(tokens=of_word)


def one_piece(
    method: MaskedLanguageModel, originals: NDArray, generator: np.random.Generator
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """A random ## piece of each row, and the word that it is in: (rows, time) each.

    A row that has none, or only such whose word is cut off at the row's beginning, has none.
    """
    text, begins = method.is_text(originals), method.begins[originals]
    words = Words.of(text, begins)
    piece, word = np.zeros_like(text), np.zeros_like(text)
    for row, (starts, sizes) in enumerate(zip(words.starts, words.sizes)):
        several = np.flatnonzero((sizes > 1) & begins[row, starts])
        if len(several):
            number = generator.choice(several)
            start, size = starts[number], sizes[number]
            word[row, start : start + size] = True
            piece[row, start + generator.integers(1, size)] = True
    return piece, word


def nats(method: MaskedLanguageModel, batches: Sequence[MaskedBatch]) -> float:
    """-ln p of what is hidden, the mean over all batches."""
    with evaluating(method.model):
        total = sum(
            method.masked_loss(batch, method.states_of(batch), reduction="sum").item()
            for batch in batches
        )
    return total / sum(int(batch.hidden.sum()) for batch in batches)


def by_frequency(data: Any, batches: Sequence[MaskedBatch]) -> float:
    """The same of a guess that knows how often each piece comes (and once more), and no text."""
    counts = 1 + np.bincount(data.stream.pieces, minlength=data.tokenizer.vocab_size)
    hidden = np.concatenate([batch.originals[batch.hidden] for batch in batches])
    return float(-np.log(counts[hidden] / counts.sum()).mean())


# ---- what is shown -------------------------------------------------------------------------------

COLORS = {FREQUENCIES: GREY, SCRATCH: GREY, PIECES: BLUE, WORDS: OCHRE, SPANS: RED}
STYLES = {FREQUENCIES: ":", SCRATCH: ":"}


def figure(measured: Sequence[Measured], settings: Mapping[str, Any]) -> Any:
    """What each model finds hard, above; what each is worth, below. A band is all seeds."""
    drawn, (hard, pieces, good) = panels(2.6, 2.6, 2.6)
    compared(hard, measured, tuple(ARMS), dict(zip(WON, KINDS)))
    hard.set(xlabel="what is hidden", ylabel="nats won by reading")
    asked = {STEM: "its word is visible", WHOLE: "its word is hidden"}
    compared(pieces, measured, (FREQUENCIES, *ARMS), asked)
    pieces.set(xlabel="a ## piece is hidden, and ...", ylabel="nats", xlim=(-0.2, 1.15))
    compared(good, measured, (SCRATCH, *ARMS), {name: name.split()[0] for name in LABELS})
    good.set(xlabel="labels of each of twelve packages", ylabel="packages found (%)")
    for axis in (hard, pieces, good):
        label_ends(axis)
    return drawn


def compared(
    axis: Any, measured: Sequence[Measured], rows: Sequence[str], columns: Mapping[str, str]
) -> None:
    """A line for each row through the columns, which have short names."""
    places = np.arange(len(columns))
    for row in rows:
        seen = np.stack([values(measured, row, column) for column in columns])  # (columns, seeds)
        color, style = COLORS[row], STYLES.get(row, "-")
        form = {**look(color, marker=True), "linestyle": style, "markersize": 3.5}
        axis.plot(places, seen.mean(axis=1), label=row, **form)
        axis.fill_between(places, seen.min(axis=1), seen.max(axis=1), color=color, alpha=0.12)
    axis.set_xticks(places, [*columns.values()])


def expected() -> list[Expectation]:
    """What is hard for whom; and that the harder question teaches more."""
    two, five, twenty = LABELS
    pieces, words, spans = WON
    return [
        Expectation(Cell(PIECES, pieces), Cell(PIECES, spans), 0.15, "less is left to read"),
        Expectation(Cell(PIECES, pieces), Cell(PIECES, words), 0.03, "no word helps with itself"),
        Expectation(Cell(SPANS, pieces), Cell(SPANS, spans), 0.02, "for it too"),
        Expectation(Cell(PIECES, WHOLE), Cell(PIECES, STEM), 0.3, "the word gives it away"),
        Expectation(Cell(WORDS, STEM), Cell(PIECES, STEM), 0.1, "it never had to spell"),
        ahead(SPANS, PIECES, twenty, 2, "the harder question teaches more"),
        ahead(SPANS, PIECES, five, 2),
        ahead(SPANS, PIECES, two, 1),
        ahead(WORDS, PIECES, twenty, 1),
    ]


CLAIM = Claim(
    name="span-masking",
    title="Hiding pieces, whole words or spans: what is hard, and what it is good for",
    statement="A hidden piece of a word is easily told when the rest of the word is there. Whole "
    "words and spans ask more of an encoder, and what it learns from the harder question is worth "
    "more to a task.",
    lecture="08, section 7",
    measure=measure,
    expectations=expected(),
    figure=figure,
    scales={
        "quick": {
            "every": 80, "pieces": "bpe", "vocab_size": 300, "steps": 2, "num_layers": 1,
            "width": 8, "num_heads": 1, "context_length": 24, "batch_size": 64, "evaluations": 1,
            "tune_steps": 2, "rows": 8,
        },
        "small": {
            "every": 1, "vocab_size": 1000, "steps": 2000, "width": 96, "context_length": 32,
            "batch_size": 32, "init_std": 0.1, "evaluations": 1, "tune_steps": 150, "rows": 1024,
        },
        "full": {
            "every": 1, "vocab_size": 4096, "steps": 10_000, "num_layers": 4, "width": 256,
            "context_length": 128, "batch_size": 64, "evaluations": 1, "tune_steps": 600,
            "rows": 1024,
        },
    },
    settings=[SpanBERTSettings],
    own=OWN,
    formats=dict.fromkeys(LABELS, ".1f"),
    rows="nats on held-out text; accuracy in %",
    about="The rows differ in what is hidden in pretraining; with spans, each is also predicted "
    "from its two ends, as in SpanBERT. All read the English inside Python, the same network (2 "
    "layers, width 96, 1000 pieces, rows of 32) 2000 times 32 rows of one document each. In the "
    "columns of nats everything hidden is [MASK]. Words and spans hide other tokens than pieces "
    "do, fewer rare ones: so what counts is by how much a model is better than the frequencies of "
    "pieces on the same tokens. A ## piece is one of each row that has one, the same in both "
    "columns. Accuracy: the task of the claim docstring-packages (twelve packages, chance 8 %, 320 "
    "held-out texts: two standard errors are 5 points), the mean of the states, all weights "
    "trained for 150 steps. "
    "That spans work better, and that a piece of a word is told by the others, perhaps for that "
    "reason, are the words of the CS224N lecture. The paper's (Joshi et al. 2020) are the lengths, "
    "the replacement span by span, the boundary objective and single documents; it compares spans "
    "with pieces, words, names and noun phrases at the size of BERT. "
    "Sizes were chosen with seed 100 so that a model trained on pieces reads words around the gap "
    "at all: with 2000 pieces, rows of 64 and 1000 steps it knew little but the topic, spans were "
    "no harder (5.74 against 5.76 nats), and worth less (49 against 53 % with 20 labels).",
)  # fmt: skip
