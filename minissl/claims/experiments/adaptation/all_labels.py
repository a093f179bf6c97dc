"""Lecture 11: from few labels to all there are, pretrained and from scratch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from minissl.adapt.method import Task
from minissl.claims.claim import Cell, Claim, Expectation, Measured, Setup, Table
from minissl.claims.drawing import panels, values
from minissl.claims.fine_tuning import (
    ENGLISH,
    FULL_GPT,
    QUICK_GPT,
    WORLD,
    accuracy,
    bag_of_words,
    gpt,
    tuned,
)
from minissl.data.labels import as_classes
from minissl.data.sets.python_docstrings import PACKAGES
from minissl.data.texts import LabelledTexts, Texts
from minissl.figures import label_ends
from minissl.palette import BLUE, GREY, OCHRE, look
from minissl.pretrain.run import Opened
from minissl.text.documents import Document
from minissl.text.small_world import documents, reviews

REVIEWS = {"10 reviews": 10, "30 reviews": 30, "100 reviews": 100, "300 reviews": 300,
           "all reviews": 0}  # fmt: skip
DOCSTRINGS = {"10 docstrings": 10, "30 docstrings": 30, "all docstrings": 0}
TFIDF, SCRATCH, LONG = "tf-idf", "from scratch", "from scratch, twice the steps"
TUNED, LEAD = "pretrained, fine-tuned", "pretrained ahead of the better network from scratch"
ROWS = (TFIDF, SCRATCH, LONG, TUNED, LEAD)
HELD_OUT = 0.25  # of the reviews


def measure(setup: Setup) -> Measured:
    """Reviews and docstrings, each from few labels to all, learned in four ways."""
    own = setup.settings
    table: Table = {row: {} for row in ROWS}
    for name, texts, raw, columns, batch in (
        ("world", documents(own["documents"], setup.seed), of_films(setup), REVIEWS, 32),
        ("english", Texts.read(None).documents[:: own["every"]], of_packages(), DOCSTRINGS, 16),
    ):
        setup.note(f"GPT, {name}")
        opened = gpt(setup, name, texts, name)
        task = Task.prepare(opened.data, raw, "class")
        for column, count in columns.items():
            setup.note(column)
            cells = accuracies(setup, opened, task, own.get("labels") or count, batch)
            cells[TFIDF] = bag_of_words(setup, task, raw, own.get("labels") or count)
            for row, value in cells.items():
                table[row][column] = value
    return Measured(table)


def accuracies(
    setup: Setup, opened: Opened, task: Task, count: int, batch: int
) -> dict[str, float]:
    """The networks, from so many labels of each class (0: all)."""
    steps, rate = setup.settings["tune_steps"], setup.settings["rate"]
    found = {}
    for row, start, times in (
        (SCRATCH, "random", 1), (LONG, "random", 2), (TUNED, "pretrained", 1),
    ):  # fmt: skip
        method, _ = tuned(
            setup, opened, task, labels_per_class=count, start=start, steps=times * steps,
            learning_rate=rate, batch_size=batch,
        )  # fmt: skip
        found[row] = accuracy(method, task.held_out)
    return found | {LEAD: found[TUNED] - max(found[SCRATCH], found[LONG])}


def of_films(setup: Setup) -> LabelledTexts:
    """Reviews of the small world, all different; a quarter is held out."""
    texts = different(reviews(setup.settings["reviews"], setup.seed))
    held_out = np.arange(round(HELD_OUT * len(texts)))
    return LabelledTexts(texts, *as_classes([text.source for text in texts]), held_out)


def of_packages() -> LabelledTexts:
    """All docstrings of the packages of python-docstrings that do not spell their package."""
    texts = [
        text for text in Texts.read(None).documents
        if text.source in PACKAGES and text.source not in text.text.lower()
    ]  # fmt: skip
    return LabelledTexts(texts, *as_classes([text.source for text in texts]))


def different(texts: Sequence[Document]) -> list[Document]:
    """Each text once, in the order in which they came."""
    return [*{text.text: text for text in texts}.values()]


def figure(measured: Sequence[Measured], settings: Mapping[str, Any]) -> Any:
    """Accuracy against the number of labels, of reviews above and of docstrings below."""
    drawn, axes = panels(3.0, 3.0)
    styles = {TFIDF: (GREY, "-"), SCRATCH: (OCHRE, "--"), LONG: (OCHRE, "-"), TUNED: (BLUE, "-")}
    for axis, columns, what in (
        (axes[0], [*REVIEWS], "reviews judged rightly (%)"),
        (axes[1], [*DOCSTRINGS], "packages found (%)"),
    ):
        places = np.arange(len(columns))
        for row, (color, style) in styles.items():
            seen = np.stack([values(measured, row, column) for column in columns])
            form = {**look(color, marker=True), "linestyle": style, "markersize": 3.5}
            axis.plot(places, seen.mean(axis=1), label=row, **form)
            axis.fill_between(places, seen.min(axis=1), seen.max(axis=1), color=color, alpha=0.15)
        axis.set_xticks(places, [column.split()[0] for column in columns])
        axis.set(ylabel=what, ylim=(None, 101))
    axes[1].set(xlabel="labels of each class")
    for axis in axes:
        label_ends(axis)
    return drawn


def expected() -> list[Expectation]:
    """Ahead with few labels, never behind; and with all of them as good where labels are enough."""
    few, some, *_, enough, reviewed = REVIEWS
    ten, thirty, everything = DOCSTRINGS
    return [
        Expectation(Cell(LEAD, few), 0.0, 10, "it has read which words go with which"),
        Expectation(Cell(LEAD, some), 0.0, 3, "the same"),
        Expectation(Cell(LEAD, ten), 0.0, 3, "the same of docstrings"),
        Expectation(Cell(LEAD, thirty), 0.0, 3, "the same"),
        *(Expectation(Cell(LEAD, column), -1.0, 0.0, "training separately is not better")
          for column in (enough, reviewed, everything)),
        Expectation(1.0, Cell(LEAD, reviewed), 0.0, "but as good, when labels are enough"),
        Expectation(Cell(LEAD, ten), Cell(LEAD, everything), 1, "the lead shrinks"),
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
            "world": QUICK_GPT, "english": QUICK_GPT, "documents": 210, "every": 80,
            "reviews": 120, "tune_steps": 2, "rate": 3e-3, "labels": 5,
        },
        "small": {
            "world": WORLD, "english": ENGLISH, "documents": 20_000, "every": 1,
            "reviews": 12_000, "tune_steps": 300, "rate": 3e-3,
        },
        "full": {
            "world": FULL_GPT | {"vocab_size": 512}, "english": FULL_GPT, "documents": 100_000,
            "every": 1, "reviews": 12_000, "tune_steps": 1000, "rate": 1e-3,
        },
    },
    own=("world", "english", "documents", "every", "reviews", "tune_steps", "rate", "labels"),
    formats=dict.fromkeys((*REVIEWS, *DOCSTRINGS), ".1f"),
    rows="accuracy in %, labels of each class",
    about="Reviews of the small world, good or bad, four opinions in ten with not and the "
    "opposite: all different ones that 12,000 draws give, of which a quarter is held out, and all "
    "labels are those of all others. Docstrings: those of the twelve packages of "
    "python-docstrings, without its limit of 80 of each; a third is held out, and accuracies are "
    "means over the classes, chance 50 and 8 %. The GPT of the reviews has read 20,000 texts of "
    "that world, one in eight of them a review with its verdict, as reviews have one; in the "
    "labelled ones every adjective is said of another part of the film than in these texts. That "
    "of the docstrings has read the English inside Python, the held-out texts among it without "
    "labels. Fine-tuned, and from scratch in the same network, for 300 steps of 32 reviews or 16 "
    "docstrings, and from scratch for 600 too. Pilots with seed 100 showed that 300 reviews of "
    "each class are enough for a network from scratch, and that a GPT which has read the small "
    "world for 2,000 steps knows nothing of reviews yet (a probe with ten labels finds 52 %); it "
    "now reads for 3,000, as in the claim zero-shot. Seen: with 30 reviews of each class the "
    "pretrained network is 17 points ahead, with 100 it is one, and from 300 on all have 100 %: "
    "the labels are enough, and nobody is ahead. With docstrings the lead is 2 and 3 points with "
    "10 and 30 of each package, and gone with all of them: after 300 steps 66 % and 62, but from "
    "scratch after 600 steps 68. (Pretrained and 600 steps were not measured.) tf-idf is ahead of "
    "all networks with docstrings, and at chance with reviews, where the order of words decides.",
    packages=("sklearn",),
)  # fmt: skip
