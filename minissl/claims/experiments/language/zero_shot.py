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
from minissl.claims.drawing import BLUE, GREY, OCHRE, RED, bars, panels
from minissl.data import Kept
from minissl.data.labels import as_classes
from minissl.data.texts import LabelledTexts, Texts
from minissl.pretrain.language.gpt import GPTPretraining, GPTSettings
from minissl.pretrain.run import Opened, train
from minissl.text.small_world import documents, reviews
from minissl.training import Checkpoint

QUESTION, STRANGE_QUESTION = "{text} The film was {class}.", "{text} This film is {class}."
ASKED, STRANGE, UNNAMED = "accuracy", "strange question", "strange: no class named"

UNTRAINED, AS_IS = "untrained GPT, calibrated", "GPT, as it is"
CALIBRATED, WRITTEN = "GPT, calibrated", "GPT, written and read"
PROBE, BAG = "GPT, probe, {} labels of each", "tf-idf, probe, {} labels of each"
FEW, MANY = 10, 400


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
    for row, base, settled in (
        (UNTRAINED, untrained, {}),
        (AS_IS, method, {"calibrate": False}),
        (CALIBRATED, method, {}),
        (WRITTEN, method, {"answers": "generate"}),
    ):
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
    table: dict[str, dict[str, float]] = {}
    counts = (FEW, min(MANY, int(np.bincount(train.labels).min())))
    features = [(PROBE, *(method.represent(part.inputs) for part in (train, test)))]
    for name, learn, measured in [*features, (BAG, train.raw, test.raw)]:
        curve = few_label_curve(
            learn, train.labels, measured, test.labels,
            labels_per_class=counts, draws=5, seed=setup.seed,
        )  # fmt: skip
        for count, one in zip((FEW, MANY), curve):
            table[name.format(count)] = {ASKED: 100 * one.mean}
    return table


ROWS = (
    UNTRAINED, AS_IS, CALIBRATED, WRITTEN,
    *(name.format(count) for name in (PROBE, BAG) for count in (FEW, MANY)),
)  # fmt: skip


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
