"""Lecture 11: from few labels to all there are, pretrained and from scratch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from minissl.adapt.method import Task
from minissl.claims.claim import Cell, Claim, Expectation, Measured, Setup, Table, ahead
from minissl.claims.drawing import BLUE, GREY, OCHRE, panels, values
from minissl.claims.fine_tuning import (
    FULL_GPT,
    QUICK_GPT,
    WORLD,
    accuracy,
    bag_of_words,
    gpt,
    tuned,
    world_without_verdicts,
)
from minissl.data.labels import as_classes
from minissl.data.texts import LabelledTexts
from minissl.text.documents import Document
from minissl.text.small_world import reviews

COUNTS = (10, 30, 100, 300, 1000)  # labels of each class
COLUMNS = {**{f"{count} labels": count for count in COUNTS}, "all labels": 0}
TFIDF, SCRATCH, LONG = "tf-idf", "from scratch", "from scratch, twice the steps"
TUNED, LEAD = "pretrained, fine-tuned", "pretrained ahead of the better network from scratch"
ROWS = (TFIDF, SCRATCH, LONG, TUNED, LEAD)
HELD_OUT = 0.25  # of the reviews
BATCH = 32  # labelled reviews per step


def measure(setup: Setup) -> Measured:
    """The same reviews and the same labels, learned in four ways."""
    own = setup.settings
    setup.note("GPT")
    opened = gpt(setup, "world", world_without_verdicts(own["documents"], setup.seed), TUNED)
    texts = different(reviews(own["reviews"], setup.seed))
    held_out = np.arange(round(HELD_OUT * len(texts)))
    raw = LabelledTexts(texts, *as_classes([text.source for text in texts]), held_out)
    task = Task.prepare(opened.data, raw, "class")
    table: Table = {row: {} for row in ROWS}
    for column, count in own["labels"].items():
        setup.note(column)
        table[TFIDF][column] = bag_of_words(setup, task, raw, count)
        for row, start, times in ((SCRATCH, "random", 1), (LONG, "random", 2),
                                  (TUNED, "pretrained", 1)):  # fmt: skip
            method, _ = tuned(
                setup, opened, task, labels_per_class=count, start=start, batch_size=BATCH,
                steps=times * own["tune_steps"],
                learning_rate=own["rate" if row == TUNED else "scratch_rate"],
            )  # fmt: skip
            table[row][column] = accuracy(method, task.held_out)
        alone = max(table[SCRATCH][column], table[LONG][column])
        table[LEAD][column] = table[TUNED][column] - alone
    return Measured(table)


def different(texts: Sequence[Document]) -> list[Document]:
    """Each text once, in the order in which they came."""
    return [*{text.text: text for text in texts}.values()]


def figure(measured: Sequence[Measured], settings: Mapping[str, Any]) -> Any:
    """Accuracy against the number of labels; below, what is wrong, on a logarithmic scale."""
    drawn, (right, wrong) = panels(3.2, 2.6)
    styles = {TFIDF: (GREY, "-"), SCRATCH: (OCHRE, "--"), LONG: (OCHRE, "-"), TUNED: (BLUE, "-")}
    columns = [*settings["labels"]]
    places = np.arange(len(columns))
    for row, (color, style) in styles.items():
        seen = np.stack([values(measured, row, column) for column in columns])  # (columns, seeds)
        for axis, shown in ((right, seen), (wrong, np.maximum(100 - seen, 0.02))):
            axis.plot(places, shown.mean(axis=1), style, color=color, label=row, marker="o", ms=3)
            axis.fill_between(places, shown.min(axis=1), shown.max(axis=1), color=color, alpha=0.15)
    for axis in (right, wrong):
        axis.set_xticks(places, [column.removesuffix(" labels") for column in columns])
    right.set(ylabel="reviews judged rightly (%)")
    right.legend(frameon=False, fontsize=9)
    wrong.set(yscale="log", ylabel="wrongly (%)", xlabel="labelled reviews of each class")
    return drawn


def expected() -> list[Expectation]:
    """Far ahead with few labels, never behind, and equal with all; counting words is no help."""
    few, some, more, many, thousand, everything = COLUMNS
    return [
        Expectation(Cell(LEAD, some), 0.0, 10, "it knows the words, and needs to learn the task"),
        Expectation(Cell(LEAD, more), 0.0, 5, "the same"),
        *(Expectation(Cell(LEAD, column), -1.0, 0.0, "training separately is not better")
          for column in (few, many, thousand, everything)),
        Expectation(2.0, Cell(LEAD, everything), 0.0, "but with all labels as good"),
        ahead(TUNED, TFIDF, everything, 10, "words without their order do not know what is not "
              "good"),
    ]  # fmt: skip


CLAIM = Claim(
    name="all-labels",
    title="From ten labels to all there are: where training from scratch catches up",
    statement="Training separately is almost never better than fine-tuning a pretrained network, "
    "also with many labels.",
    lecture="11, section 6",
    measure=measure,
    expectations=expected(),
    figure=figure,
    scales={
        "quick": {
            "world": QUICK_GPT, "documents": 210, "reviews": 120, "tune_steps": 2, "rate": 3e-3,
            "scratch_rate": 3e-3, "labels": {**dict.fromkeys(COLUMNS, 5), "all labels": 0},
        },
        "small": {
            "world": WORLD, "documents": 20_000, "reviews": 12_000, "tune_steps": 300,
            "rate": 3e-3, "scratch_rate": 3e-3, "labels": COLUMNS,
        },
        "full": {
            "world": FULL_GPT | {"vocab_size": 512}, "documents": 100_000, "reviews": 12_000,
            "tune_steps": 1000, "rate": 1e-3, "scratch_rate": 1e-3, "labels": COLUMNS,
        },
    },
    own=("world", "documents", "reviews", "tune_steps", "rate", "scratch_rate", "labels"),
    formats=dict.fromkeys(COLUMNS, ".1f"),
    rows="accuracy in %, labels of each class",
    about="Reviews of the small world, good or bad, four opinions in ten with not and the "
    "opposite: all different ones that 12,000 draws give, of which a quarter is held out; all "
    "labels are the labels of all others. The GPT has read 20,000 texts of that world, one in "
    "eight of them a review whose verdict was cut off; in reviews that are asked, every adjective "
    "is said of another part of the film than in these texts. Fine-tuned, and from scratch in the "
    "same network, for 300 steps of 32 reviews, and from scratch for 600 too.",
    packages=("sklearn",),
)  # fmt: skip
