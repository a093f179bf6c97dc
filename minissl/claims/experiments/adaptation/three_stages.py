"""Lecture 11: between reading widely and labels, read texts of the task: three stages or two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from minissl.adapt.method import FewLabels, Task
from minissl.claims.claim import Claim, Expectation, Measured, Setup, Table, ahead, chosen
from minissl.claims.docstring_labels import fine_tuned, in_memory
from minissl.claims.drawing import by_labels, panels, values
from minissl.claims.experiments.language.docstring_packages import TFIDF, tf_idf
from minissl.data import Kept
from minissl.data.labels import split_labelled
from minissl.data.texts import LabelledTexts, Texts
from minissl.figures import label_ends
from minissl.palette import BLUE, GREY, OCHRE, RED
from minissl.pretrain.language.gpt import GPTPretraining, GPTSettings
from minissl.pretrain.run import Opened, train
from minissl.text.documents import Document

SCRATCH, TWO, THREE = "labels alone", "broad, labels", "broad, domain, labels"
MORE, MIXED, NEAR = "the same, with extra steps", "both mixed, labels", "domain, labels"
ROWS = (TFIDF, SCRATCH, TWO, THREE, MORE, MIXED, NEAR)
LABELS = {"5 labels": 5, "20 labels": 20, "all labels": 0}  # column: labels_per_class
STEPS = "steps of pretraining"
OWN_NATS, BROAD_NATS = "nats, held-out texts", "nats, broad text"
OWN = ("every", "tune_steps", "domain_steps")


def measure(setup: Setup) -> Measured:
    """The same network and labels after one, two and three stages."""
    labelled = LabelledTexts.read(None)
    broad, domain = parted(Texts.read(None).documents, labelled, setup.settings["every"])
    settings, middle = chosen(GPTSettings, setup), setup.settings["domain_steps"]
    data = Texts(broad).prepare(Kept(), settings)  # its tokens are those of all rows
    untrained = in_memory(GPTPretraining.build(settings, data, seed=setup.seed), settings, data)

    def reading(start: Opened, documents: Sequence[Document], steps: int) -> Opened:
        """The network after so many more steps on these texts."""
        texts = Texts(documents).prepare(Kept(data.kept), settings)
        method, own = start.on(texts), replace(settings, steps=steps)
        method.model.to(setup.device)
        train(method, own, seed=setup.seed, progress=False)
        return in_memory(method, own, texts)

    steps = settings.steps
    stages: dict[str, list[tuple[Sequence[Document], int]]] = {
        SCRATCH: [],
        TWO: [(broad, steps)],
        THREE: [(broad, steps - middle), (domain, middle)],
        MORE: [(broad, steps), (domain, middle)],
        MIXED: [([*broad, *domain], steps)],
        NEAR: [(domain, steps)],
    }
    known: dict[str, Opened] = {}
    table: Table = {TFIDF: {}}
    task = Task.prepare(data, labelled, "class")
    for column, count in LABELS.items():
        few = FewLabels(labels_per_class=count)
        table[TFIDF][column] = 100 * tf_idf(labelled, task, few, setup.seed)[0]
    for row, parts in stages.items():
        setup.note(row)
        opened = untrained
        for number, (documents, count) in enumerate(parts):
            again = row == MORE and not number  # the first stage of it is that of TWO
            opened = known[TWO] if again else reading(opened, documents, count)
        known[row] = opened
        table[row] = cells(setup, opened, task, data, labelled)
        table[row][STEPS] = sum(count for _, count in parts)
    return Measured({row: table[row] for row in ROWS})


def parted(
    documents: Sequence[Document], labelled: LabelledTexts, every: int
) -> tuple[list[Document], list[Document]]:
    """Texts of other packages, and those of the task's packages without what is held out.

    Of each one in ``every``.
    """
    _, held_out = split_labelled(len(labelled.documents), labelled.held_out)
    unseen = {labelled.documents[i].name for i in held_out}
    near = [one for one in documents if one.source in labelled.class_names]
    broad = [one for one in documents if one.source not in labelled.class_names]
    return broad[::every], [one for one in near if one.name not in unseen][::every]


def cells(
    setup: Setup, opened: Opened, task: Task, data: Any, labelled: LabelledTexts
) -> dict[str, float]:
    """Accuracies in percent, and the nats of a token in two kinds of text never read."""
    found = {name: fine_tuned(setup, opened, task, count) for name, count in LABELS.items()}
    _, held_out = split_labelled(len(labelled.documents), labelled.held_out)
    texts = Texts([labelled.documents[i] for i in held_out])
    for column, read in ((OWN_NATS, data.unseen(texts)), (BROAD_NATS, data)):
        found[column] = opened.on(read).evaluate()["held_out_loss"]
    return found


STYLES = {
    TFIDF: (GREY, "-"), SCRATCH: (GREY, ":"), TWO: (OCHRE, "-"), THREE: (BLUE, "-"),
    MORE: (BLUE, "--"), MIXED: (RED, "-"), NEAR: (RED, ":"),
}  # fmt: skip


def figure(measured: Sequence[Measured], settings: Mapping[str, Any]) -> Any:
    """Accuracy against the number of labels, and what each has learned of the two kinds of text."""
    drawn, (axis, nats) = panels(3.8, 2.6)
    by_labels(axis, measured, STYLES, [*LABELS])
    axis.set(xlabel="labels of each of twelve packages", ylim=(15, 85))
    axis.set(ylabel="packages found (%)")
    for row in ROWS[2:]:
        color, style = STYLES[row]
        at = [float(values(measured, row, column).mean()) for column in (BROAD_NATS, OWN_NATS)]
        nats.plot(*at, "o" if style == "-" else "D", color=color, markersize=6)
        side = {"xytext": (8, -14), "ha": "right"} if row == NEAR else {"xytext": (6, 6)}
        if row == MORE:
            side = {"xytext": (0, -14), "ha": "center"}
        nats.annotate(row, at, textcoords="offset points", fontsize=8, **side)
    nats.margins(0.25)
    nats.set(xlabel="nats per token of broad text", ylabel="the same, held-out texts")
    label_ends(axis)
    return drawn


def expected() -> list[Expectation]:
    """A stage between is worth its steps, for the texts that are read in it come last."""
    five, twenty, everything = LABELS
    return [
        ahead(TWO, SCRATCH, twenty, 3, "it begins with words that it has read"),
        ahead(THREE, TWO, five, 1, "as many steps, some of them on texts like these"),
        ahead(THREE, TWO, twenty, 2, "the same"),
        ahead(THREE, TWO, everything, 2, "the same, also with more labels"),
        ahead(MORE, TWO, twenty, 2, "the papers' way: a stage is added"),
        ahead(MORE, TWO, everything, 2),
        ahead(THREE, MIXED, twenty, 1, "what is read last is known best"),
        ahead(THREE, NEAR, twenty, 1, "the domain alone is little text"),
        ahead(TWO, THREE, OWN_NATS, 0.1, "it has read texts like these"),
        ahead(THREE, TWO, BROAD_NATS, 0.02, "and forgets others"),
        ahead(TFIDF, MORE, twenty, 3, "a small GPT does not beat counting words"),
    ]


CLAIM = Claim(
    name="three-stages",
    title="Read widely, read the task's own texts, learn from labels: three stages or two",
    statement="Between pretraining on much text and learning from labels it pays to go on "
    "pretraining on texts of the task's domain, which need no labels.",
    lecture="11, section 9",
    measure=measure,
    expectations=expected(),
    figure=figure,
    scales={
        "quick": {
            "every": 40, "vocab_size": 300, "steps": 2, "num_layers": 1, "width": 8,
            "num_heads": 1, "context_length": 24, "batch_size": 4, "evaluations": 1,
            "tune_steps": 1, "domain_steps": 1,
        },
        "small": {
            "every": 1, "vocab_size": 1000, "steps": 1200, "width": 96, "context_length": 40,
            "batch_size": 30, "evaluations": 1, "tune_steps": 200, "domain_steps": 400,
        },
        "full": {
            "every": 1, "vocab_size": 4096, "steps": 10_000, "num_layers": 4, "width": 256,
            "context_length": 128, "batch_size": 48, "evaluations": 1, "tune_steps": 600,
            "domain_steps": 3000,
        },
    },
    settings=[GPTSettings],
    own=OWN,
    formats={**dict.fromkeys(LABELS, ".1f"), OWN_NATS: ".3f", BROAD_NATS: ".3f", STEPS: ",.0f"},
    rows="held-out accuracy in %",
    about="The task of the claim docstring-packages: twelve packages, chance is 8 %, and the same "
    "320 texts are held out with every seed (two standard errors are 5 points). Here nobody has "
    "read these before. Broad: the English inside Python without the docstrings of these twelve "
    "packages (1.7 MB). Domain: all docstrings of the twelve but what is held out, without labels "
    "(0.4 MB). A GPT of 2 layers, width 96, 1000 tokens that are learned from the broad text, rows "
    "of 40; 1200 steps of 30 rows in all, the last 400 of them on the domain where there are three "
    "stages, each stage with a schedule of its own; with extra steps: 1200 and 400. Mixed: the "
    "same texts in one stage. Fine-tuning: 200 steps of 16 texts, all weights, learning rate of "
    "the library. Nats: of a token of the held-out texts, and of broad text that nobody has read. "
    "Gururangan et al. (2020) add steps to a network that has read 160 GB. "
    "Seen: the stage between is worth 1 to 3 points at equal steps, 3 to 6 with extra steps. But "
    "the domain alone, read for all of the 1200 steps, is at least as good with few labels: 0.4 MB "
    "are not too little for a network of this size, and 1.7 MB of other text are no broad reading. "
    "Both mixed are as good as one after the other with 20 labels.",
    packages=("sklearn",),
)  # fmt: skip
