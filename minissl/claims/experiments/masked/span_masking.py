"""Lecture 08: hiding whole words and spans is harder than hiding pieces; does it teach more?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.adapt.method import Task
from minissl.claims.cache import shared
from minissl.claims.claim import Cell, Claim, Expectation, Measured, Setup, ahead, chosen
from minissl.claims.docstring_labels import fine_tuned, in_memory
from minissl.claims.drawing import BLUE, GREY, OCHRE, RED, panels, values
from minissl.data.passages import PassageTexts
from minissl.data.texts import LabelledTexts
from minissl.nn.evaluating import evaluating
from minissl.pretrain.masked.spanbert import SpanBERT, SpanBERTSettings
from minissl.pretrain.masked_language_model import MaskedBatch, MaskedLanguageModel
from minissl.text.masking import KINDS, Words

PIECES, WORDS, SPANS, BOUNDARIES = (
    "trained on pieces", "trained on whole words", "trained on spans", "and on their boundaries",
)  # fmt: skip
FREQUENCIES, SCRATCH = "how often each piece comes", "random network"
ARMS: dict[str, dict[str, Any]] = {
    PIECES: {"masking": "pieces", "boundary_weight": 0.0},
    WORDS: {"masking": "words", "boundary_weight": 0.0},
    SPANS: {"masking": "spans", "boundary_weight": 0.0},
    BOUNDARIES: {"masking": "spans", "boundary_weight": 1.0},
}
ROWS = (FREQUENCIES, SCRATCH, *ARMS)
HIDDEN = {f"nats, {kind} hidden": kind for kind in KINDS}
STEM, WHOLE = "nats of a ## piece, its word visible", "the same, its word hidden"
LABELS = {"2 labels": 2, "5 labels": 5, "20 labels": 20}  # column: labels_per_class
OWN = ("every", "rows", "tune_steps")


def measure(setup: Setup) -> Measured:
    """The same encoder, trained by hiding in four ways: what it finds hard, what it is good for."""
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

COLORS = {FREQUENCIES: GREY, SCRATCH: GREY, PIECES: BLUE, WORDS: OCHRE, SPANS: RED, BOUNDARIES: RED}
STYLES = {FREQUENCIES: ":", SCRATCH: ":", BOUNDARIES: "--"}


def figure(measured: Sequence[Measured], settings: Mapping[str, Any]) -> Any:
    """What each model finds hard, above; what each is worth, below. A band is all seeds."""
    drawn, (hard, good) = panels(3.0, 3.0)
    asked = {**{name: f"{kind}\nhidden" for name, kind in HIDDEN.items()},
             STEM: "a ## piece,\nword visible", WHOLE: "the same,\nword hidden"}  # fmt: skip
    compared(hard, measured, (FREQUENCIES, *ARMS), asked)
    hard.set(ylabel="held-out loss (nats)")
    hard.legend(frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    compared(good, measured, (SCRATCH, *ARMS), {name: name.split()[0] for name in LABELS})
    good.set(xlabel="labels of each of twelve packages", ylabel="packages found (%)")
    good.legend(frameon=False, fontsize=8, loc="upper left")
    return drawn


def compared(
    axis: Any, measured: Sequence[Measured], rows: Sequence[str], columns: Mapping[str, str]
) -> None:
    """A line for each row through the columns, which have short names."""
    places = np.arange(len(columns))
    for row in rows:
        seen = np.stack([values(measured, row, column) for column in columns])  # (columns, seeds)
        color, style = COLORS[row], STYLES.get(row, "-")
        axis.plot(places, seen.mean(axis=1), style, color=color, label=row, marker="o", ms=3)
        axis.fill_between(places, seen.min(axis=1), seen.max(axis=1), color=color, alpha=0.12)
    axis.set_xticks(places, [*columns.values()])


def expected() -> list[Expectation]:
    """TODO"""
    return [
        ahead(SPANS, PIECES, "20 labels", 2),
    ]


CLAIM = Claim(
    name="span-masking",
    title="Hiding pieces, whole words or spans: what is hard, and what it is good for",
    statement="TODO",
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
            "every": 1, "vocab_size": 2000, "steps": 1000, "width": 96, "context_length": 64,
            "batch_size": 32, "evaluations": 1, "tune_steps": 200, "rows": 1024,
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
    rows="held-out text; accuracy in %",
    about="TODO",
)  # fmt: skip
