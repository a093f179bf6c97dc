"""Lecture 04: what pretrained word vectors are worth under a network, when there are few labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from minissl.adapt.frozen import compare
from minissl.adapt.heads.network import Network, NetworkSettings
from minissl.adapt.heads.probe import Probe, ProbeSettings
from minissl.adapt.method import FewLabels, Task
from minissl.claims.cache import shared
from minissl.claims.claim import Claim, Expectation, Measured, Setup, ahead, chosen
from minissl.claims.drawing import by_labels, panels
from minissl.claims.experiments.language.docstring_packages import TFIDF, tf_idf
from minissl.data.texts import LabelledTexts
from minissl.data.words import WordTexts
from minissl.figures import label_ends
from minissl.palette import BLUE, GREY, OCHRE
from minissl.pretrain.run import Opened, fit_as_told
from minissl.pretrain.words.skipgram import SkipGram
from minissl.training import Checkpoint

COUNTS, RANDOM_MEAN, MEAN = (
    "word counts, probe",
    "mean of random vectors, probe",
    ("mean of pretrained vectors, probe"),
)
RANDOM_UNDER, UNDER = "random vectors, LSTM", "pretrained vectors, LSTM"
ROWS = (TFIDF, COUNTS, RANDOM_MEAN, MEAN, RANDOM_UNDER, UNDER)
LABELS = {"2 per class": 2, "5 per class": 5, "10 per class": 10, "20 per class": 20,
          "all labels": 0}  # column: labels_per_class  # fmt: skip
TRAINING: dict[str, Any] = {"batch_size": 16, "evaluations": 1}
UNDERS = {RANDOM_UNDER: "random", UNDER: "pretrained"}


def measure(setup: Setup) -> Measured:
    """The same labelled texts by counts, by means of vectors, and by a network on them."""
    texts: Any = WordTexts(WordTexts.read(None).documents[: setup.settings.get("documents")])
    settings = chosen(SkipGram.Settings, setup)
    setup.note("skip-gram")
    found = shared(setup, SkipGram, texts, settings, row=MEAN)
    nowhere = Path("in memory")
    checkpoint = Checkpoint(nowhere, found.method.model.state_dict(), {}, {})
    opened = Opened(nowhere, "skipgram", found.method, settings, found.data, checkpoint)
    labelled = LabelledTexts.read(None)
    task = Task.prepare(found.data, labelled, Probe.labels)
    table: dict[str, dict[str, float]] = {row: {} for row in ROWS}
    for column, count in LABELS.items():
        setup.note(column)
        few = FewLabels(labels_per_class=count)
        table[TFIDF][column] = 100 * tf_idf(labelled, task, few, setup.seed)[0]
        probing = ProbeSettings(labels_per_class=count)
        rows = compare(Probe, probing, opened, task, seed=setup.seed, device=setup.device)
        for row, scores in zip((COUNTS, RANDOM_MEAN, MEAN), rows):
            table[row][column] = 100 * float(scores.scores["accuracy"][0])
        for row, vectors in UNDERS.items():
            table[row][column] = 100 * under(setup, opened, task, count, vectors)
    return Measured(table)


def under(setup: Setup, opened: Opened, task: Task, count: int, vectors: str) -> float:
    """Held-out accuracy of a network on these vectors, all of it learned from so many labels."""
    settings = NetworkSettings(
        labels_per_class=count, vectors=vectors, steps=setup.settings["tune_steps"],
        hidden=setup.settings["hidden"], **TRAINING,
    )  # fmt: skip
    method = Network.build(settings, opened, task, seed=setup.seed)
    method.to(setup.device)
    fit_as_told(method, settings, seed=setup.seed, progress=False)
    return method.evaluate()["held_out_accuracy"]


STYLES = {
    TFIDF: (GREY, "-"), COUNTS: (GREY, ":"), RANDOM_MEAN: (OCHRE, ":"), MEAN: (OCHRE, "-"),
    RANDOM_UNDER: (BLUE, ":"), UNDER: (BLUE, "-"),
}  # fmt: skip


def figure(measured: Sequence[Measured], settings: Mapping[str, Any]) -> Any:
    """Accuracy against the number of labels: the mean of the seeds and where they lie."""
    drawn, (axis,) = panels(4.0)
    by_labels(axis, measured, STYLES, [*LABELS], band=0.15)
    axis.set(xlabel="labels of each of twelve packages", ylim=(0, 100))
    axis.set(ylabel="held-out docstrings whose package is found (%)")
    label_ends(axis)
    return drawn


def expected() -> list[Expectation]:
    """What pretraining is worth, for a mean and for a network; and what counting is."""
    two, five, ten, twenty, everything = LABELS
    return [
        *(ahead(UNDER, RANDOM_UNDER, column, 5, "it begins with words that are alike")
          for column in (five, ten, twenty)),
        *(ahead(MEAN, RANDOM_MEAN, column, 5, "the same, without a network")
          for column in (five, ten, twenty)),
        ahead(MEAN, UNDER, two, 0.1, "with two texts a class a network learns their noise"),
        ahead(TFIDF, UNDER, twenty, 3, "counting words is hard to beat"),
        ahead(TFIDF, UNDER, everything, 3, "also with all labels"),
    ]  # fmt: skip


CLAIM = Claim(
    name="static-vectors",
    title="From which package is a docstring? Word vectors under a network, with few labels",
    statement=(
        "Vectors that were learned without labels help a network that has few: words that it never "
        "met with a label are near words that it did. The network itself begins from nothing, and "
        "counting words (tf-idf) stays ahead of it."
    ),
    lecture="04, section 9",
    measure=measure,
    expectations=expected(),
    figure=figure,
    scales={
        "quick": {
            "documents": 1500,
            "most_words": 200,
            "steps": 10,
            "width": 16,
            "batch_size": 1024,
            "evaluations": 1,
            "tune_steps": 3,
            "hidden": 8,
        },
        "small": {"steps": 400, "width": 100, "evaluations": 1, "tune_steps": 300, "hidden": 64},
        "full": {"steps": 1600, "width": 300, "evaluations": 1, "tune_steps": 1200, "hidden": 256},
    },
    settings=[SkipGram.Settings],
    own=("documents", "tune_steps", "hidden"),
    formats=dict.fromkeys(LABELS, ".1f"),
    rows="held-out accuracy in %",
    about=(
        "Task, split, labelled texts of each seed and tf-idf are those of the claim "
        "docstring-packages, whose columns 10 per class and all labels have beside them what a "
        "small GPT gets: chance is 8 %, and the same 320 texts are held out with every seed. "
        "Skip-gram has read the English inside Python, 288 of the held-out texts among it, without "
        "labels. Mean of random vectors: of skip-gram before its training. LSTM: one layer of 64, "
        "the mean of its states, 300 steps of 16 texts, learning rates of the library; the vectors "
        "go on learning. Unknown to the vectors are words that come fewer than five times, which "
        "tf-idf knows. Two columns of seed 100 were seen before; no setting was chosen by them."
    ),
    packages=("sklearn",),
)
