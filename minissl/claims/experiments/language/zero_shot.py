"""Lecture 10: a language model classifies texts without a label, if the question suits it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from minissl.adapt.heads.probe import few_label_curve
from minissl.adapt.method import Task
from minissl.adapt.prompting.zero_shot import ZeroShot, ZeroShotSettings
from minissl.claims.claim import Cell, Claim, Expectation, Measured, Setup, ahead, chosen
from minissl.claims.drawing import bars, panels
from minissl.data import Kept
from minissl.data.labels import as_classes
from minissl.data.texts import LabelledTexts, Texts
from minissl.palette import BLUE, GREY, OCHRE, RED
from minissl.pretrain.language.gpt import GPTPretraining, GPTSettings
from minissl.pretrain.run import Opened, train
from minissl.text.small_world import documents, reviews
from minissl.training import Checkpoint

QUESTION, STRANGE_QUESTION = "{text} The film was {class}.", "{text} This film is {class}."
ASKED, STRANGE, UNNAMED = "accuracy", "strange question", "strange: no class named"

UNTRAINED, AS_IS = "untrained GPT, calibrated", "GPT, as it is"
CALIBRATED, WRITTEN = "GPT, calibrated", "GPT, written and read"
FEW, MANY = 10, 300
PROBE_FEW, PROBE = (f"GPT, probe, {count} labels of each" for count in (FEW, MANY))
BAG_FEW, BAG = (f"tf-idf, probe, {count} labels of each" for count in (FEW, MANY))
ROWS = (UNTRAINED, AS_IS, CALIBRATED, WRITTEN, PROBE_FEW, PROBE, BAG_FEW, BAG)


def measure(setup: Setup) -> Measured:
    """Train a GPT on a text; ask it, and probes beside it, of reviews that it has not read."""
    settings, seed = chosen(GPTSettings, setup), setup.seed
    setup.note("GPT")
    data = Texts(documents(setup.settings["documents"], seed)).prepare(Kept(), settings)
    untrained, method = (GPTPretraining.build(settings, data, seed=seed) for _ in range(2))
    method.to(setup.device)
    train(method, settings, seed=seed, progress=False)
    method.to("cpu")
    found = reviews(setup.settings["reviews"], seed)
    raw = LabelledTexts(found, *as_classes([review.source for review in found]))
    task = Task.prepare(data, raw, "class")
    table: dict[str, dict[str, float]] = {}
    kinds: tuple[tuple[str, GPTPretraining, dict[str, Any]], ...] = (
        (UNTRAINED, untrained, {}),
        (AS_IS, method, {"calibrate": False}),
        (CALIBRATED, method, {}),
        (WRITTEN, method, {"answers": "generate"}),
    )
    for row, base, settled in kinds:
        setup.note(row)
        opened = as_opened(base, settings, data)
        for column, question in ((ASKED, QUESTION), (STRANGE, STRANGE_QUESTION)):
            metrics = asked(opened, task, ZeroShotSettings(template=question, **settled))
            table.setdefault(row, {})[column] = 100 * metrics["held_out_accuracy"]
    table[WRITTEN][UNNAMED] = 100 * metrics["held_out_without_answer"]
    setup.note("probes")
    return Measured(table | probes(setup, method, task))


def as_opened(method: GPTPretraining, settings: GPTSettings, data: Any) -> Opened:
    """A method in memory as a run that was opened."""
    nowhere = Path("in memory")
    return Opened(nowhere, "gpt", method, settings, data, Checkpoint(nowhere, {}, {}, {}))


def asked(opened: Opened, task: Task, settings: ZeroShotSettings) -> dict[str, float]:
    """What zero-shot classification measures of the held-out reviews."""
    method = ZeroShot.build(settings, opened, task)
    method.solve()
    return method.evaluate()


def probes(setup: Setup, method: GPTPretraining, task: Task) -> dict[str, dict[str, float]]:
    """Probes on the GPT's states and on tf-idf, from few labels and from many: mean of 5 draws."""
    train, test = task.to_learn_from(), task.held_out
    assert test is not None
    states = [method.represent(part.inputs) for part in (train, test)]
    table: dict[str, dict[str, float]] = {}
    for rows, (learn, measured) in (
        ((PROBE_FEW, PROBE), states),
        ((BAG_FEW, BAG), (train.raw, test.raw)),
    ):
        curve = few_label_curve(
            learn, train.labels, measured, test.labels,
            labels_per_class=(FEW, min(MANY, int(np.bincount(train.labels).min()))),
            draws=5, seed=setup.seed,
        )  # fmt: skip
        for row, one in zip(rows, curve):
            table[row] = {ASKED: 100 * one.mean}
    return table


def figure(measured: Sequence[Measured], settings: Mapping[str, Any]) -> Any:
    """Accuracies of all rows; below, those for the strange question."""
    drawn, (right, strange) = panels(3.4, 2.0)
    colors = [GREY, BLUE, BLUE, BLUE, OCHRE, OCHRE, RED, RED]
    bars(right, measured, ROWS, ASKED, colors=colors, form="%.0f")
    bars(strange, measured, ROWS[:4], STRANGE, colors=colors[:4], form="%.0f")
    for axis, label in ((right, '"The film was ..."'), (strange, '"This film is ..."')):
        axis.axvline(50, color=GREY, linestyle="--", linewidth=1)
        axis.set(xlim=(0, 115), xlabel=f"right of the reviews, {label} (%)")
    return drawn


CLAIM = Claim(
    name="zero-shot",
    title="A review is judged by a model that has seen no label",
    statement=(
        "A language model that has read texts and no label classifies others when the task is "
        "written as a blank, better than a probe that learns from ten labels of each class; with "
        "many labels the probe is better. It does so if the question is one that its texts ask. "
        "Put in words that it has not read, the same question gets little, of which calibration "
        "saves a part, and what it writes is no answer."
    ),
    lecture="10, section 9",
    measure=measure,
    expectations=[
        Expectation(Cell(CALIBRATED, ASKED), 0.0, 70.0, "the texts end in this sentence"),
        Expectation(60.0, Cell(UNTRAINED, ASKED), 0.0, "the question itself knows nothing"),
        ahead(CALIBRATED, PROBE_FEW, ASKED, 10, "nothing has to be found with few labels"),
        ahead(PROBE, CALIBRATED, ASKED, 3, "many labels say what the task is"),
        ahead(CALIBRATED, BAG, ASKED, 10, "words without their order do not know what is not good"),
        Expectation(
            Cell(CALIBRATED, ASKED), Cell(CALIBRATED, STRANGE), 8.0, "a question of the texts"
        ),
        Expectation(60.0, Cell(AS_IS, STRANGE), 0.0, "one answer is likelier whatever was read"),
        ahead(CALIBRATED, AS_IS, STRANGE, 5, "and that much can be subtracted"),
        Expectation(Cell(WRITTEN, UNNAMED), 0.0, 90.0, "it has never read these words so"),
    ],
    figure=figure,
    scales={
        "quick": {
            "documents": 300,
            "reviews": 60,
            "steps": 5,
            "batch_size": 4,
            "vocab_size": 300,
            "num_layers": 1,
            "width": 16,
            "num_heads": 2,
            "context_length": 64,
            "evaluations": 1,
        },
        "small": {
            "documents": 20_000,
            "reviews": 1200,
            "steps": 3000,
            "batch_size": 16,
            "vocab_size": 512,
            "num_layers": 2,
            "width": 64,
            "num_heads": 4,
            "context_length": 64,
            "learning_rate": 3e-3,
            "evaluations": 1,
        },
        "full": {
            "documents": 100_000,
            "reviews": 6000,
            "steps": 10_000,
            "batch_size": 64,
            "vocab_size": 512,
            "num_layers": 4,
            "width": 128,
            "num_heads": 4,
            "context_length": 64,
            "learning_rate": 1e-3,
            "evaluations": 1,
        },
    },
    settings=[GPTSettings],
    own=("documents", "reviews"),
    formats=dict.fromkeys((ASKED, STRANGE, UNNAMED), ".1f"),
    rows="reviews judged, in %",
    about=(
        "A GPT reads 20,000 texts of a generated English world (text/small_world.py); one in eight "
        'is a film review with its verdict. Asked are reviews without it, "good" or "bad", in '
        "which every adjective is said of another part of the film than in the texts, often with "
        '"not". Question: "{text} The film was ___.", the sentence of the texts; strange question: '
        '"{text} This film is ___.", which is in none. All rows are measured on the same 400 '
        "reviews, the probes learn from others, mean of 5 draws; half of the reviews are good "
        "(standard error of 80 %: 2 points). Seeds draw texts, reviews and weights. The steps, the "
        "two questions and the margins were chosen with seed 100."
    ),
)
