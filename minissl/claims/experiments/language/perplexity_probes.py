"""Lecture 05: does a network that predicts better have better features? Perplexity and a probe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from minissl.adapt.heads.probe import linear_probe
from minissl.claims.claim import Cell, Claim, Expectation, Measured, Setup, ahead, chosen
from minissl.claims.drawing import level, panels, values
from minissl.claims.gpt_on_english import FULL, QUICK
from minissl.data import Kept
from minissl.data.labels import Labelled, rank_correlation
from minissl.data.texts import LabelledTexts, Streams, Texts
from minissl.figures import legend
from minissl.palette import BLUE, OCHRE, RED, look
from minissl.pretrain.language.gpt import GPTPretraining, GPTSettings
from minissl.pretrain.language.lstm import LSTMPretraining, LSTMSettings
from minissl.pretrain.language_model import LanguageModel
from minissl.pretrain.run import train

SMALL, LARGE, LSTM = "narrow GPT", "GPT", "LSTM"
RUNS, COLORS = (SMALL, LARGE, LSTM), (OCHRE, BLUE, RED)
TOGETHER, TFIDF = "all three together", "tf-idf, probe"
PERPLEXITY = "perplexity"
BEFORE, AFTER = "accuracy (%), untrained", "accuracy (%)"
ORDER, LATE = "rank correlation", "rank correlation, second half"


class Probed(LanguageModel):
    """Above a method: each time that the held-out text is measured, a probe is as well."""

    parts: Sequence[Labelled]  # to learn from, and to test on

    def evaluate(self) -> dict[str, float]:
        """What the method measures, and the accuracy of a probe on labelled texts."""
        learn, test = (self.represent(part.inputs) for part in self.parts)
        probe = linear_probe(learn, self.parts[0].labels)
        accuracy = probe.accuracy(test, self.parts[1].labels)
        return super().evaluate() | {"probe_accuracy": 100 * accuracy}


class ProbedGPT(Probed, GPTPretraining):
    """A GPT that is probed while it is trained."""


class ProbedLSTM(Probed, LSTMPretraining):
    """An LSTM that is probed while it is trained."""


def measure(setup: Setup) -> Measured:
    """Train three networks; at each evaluation the held-out perplexity, and what a probe finds."""
    texts = Texts.read(None)
    texts = Texts(texts.documents[: setup.settings.get("documents")])
    data = texts.prepare(Kept(), chosen(GPTSettings, setup))
    length = setup.settings["context_length"]
    labelled = data.labelled(LabelledTexts.read(None))
    labelled = labelled.take(np.arange(0, len(labelled), setup.settings["every"]))
    parts = [cut(part, length) for part in labelled.split()]
    table: dict[str, dict[str, float]] = {}
    curves: dict[str, Any] = {}
    for name in RUNS:
        setup.note(name)
        settings, method = new(name, setup, data)
        method.parts = parts
        method.to(setup.device)
        history = train(method, settings, seed=setup.seed, progress=False)
        steps, perplexities = history.column("held_out_perplexity")
        _, accuracies = history.column("probe_accuracy")
        curves[name] = (list(perplexities), list(accuracies))
        half = len(steps) // 2
        table[name] = {
            PERPLEXITY: perplexities[-1],
            AFTER: accuracies[-1],
            BEFORE: accuracies[0],
            ORDER: rank_correlation(perplexities, accuracies),
            LATE: rank_correlation(perplexities[half:], accuracies[half:]),
        }
    x, y = (np.concatenate([curves[name][i] for name in RUNS]) for i in (0, 1))
    table[TOGETHER] = {ORDER: rank_correlation(x, y)}
    learn, test = parts
    probe = linear_probe(learn.raw, learn.labels)
    table[TFIDF] = {AFTER: 100 * probe.accuracy(test.raw, test.labels)}
    return Measured(table, curves)


def cut(part: Labelled, length: int) -> Labelled:
    """The first tokens of each text, for an LSTM as many as for a GPT."""
    return replace(part, inputs=[tokens[:length] for tokens in part.inputs])


def new(name: str, setup: Setup, data: Streams) -> tuple[Any, Any]:
    """The settings of a run, and its method."""
    if name == LSTM:
        width = setup.settings["lstm_width"]
        recurrent = chosen(LSTMSettings, setup, width=width, num_layers=1)
        return recurrent, ProbedLSTM.build(recurrent, data, seed=setup.seed)
    narrow = {"width": setup.settings["narrow"]} if name == SMALL else {}
    settings = chosen(GPTSettings, setup, **narrow)
    return settings, ProbedGPT.build(settings, data, seed=setup.seed)


def figure(measured: Sequence[Measured], settings: Mapping[str, Any]) -> Any:
    """Each evaluation as a point: perplexity to the right, what a probe finds upwards."""
    drawn, (axis,) = panels(4.4)
    for name, color in zip(RUNS, COLORS):
        form = {**look(color, marker=True), "linewidth": 0.7, "alpha": 0.8}
        for run in measured:
            x, y = run.curves[name]
            label = name if run is measured[0] else None
            axis.plot(x, y, label=label, **form)
    level(axis, values(measured, TFIDF, AFTER).mean(), "tf-idf")
    axis.set_xscale("log")
    axis.invert_xaxis()
    axis.set(xlabel="held-out perplexity (better to the right)")
    axis.set(ylabel="packages found by a linear probe (%)")
    legend(axis)
    return drawn


def expected() -> list[Expectation]:
    """Written before any of them was trained."""
    return [
        *(
            Expectation(-0.6, Cell(name, ORDER), 0.0, because)
            for name, because in (
                (SMALL, "what predicts better has read more of what a text is about"),
                (LARGE, "the same"), (LSTM, "the same"),
            )
        ),
        Expectation(-0.6, Cell(TOGETHER, ORDER), 0.0, "and across networks"),
        Expectation(Cell(LARGE, AFTER), Cell(LARGE, BEFORE), 5, "pretraining is worth something"),
        ahead(SMALL, LARGE, PERPLEXITY, 2, "more weights predict better"),
        ahead(LARGE, SMALL, AFTER, 2, "and are read off better"),
        ahead(TFIDF, LARGE, AFTER, 5, "words say more of a package than such small networks"),
    ]  # fmt: skip


SIZE = {
    "vocab_size": 1024,
    "num_layers": 2,
    "width": 128,
    "num_heads": 4,
    "narrow": 32,
    "lstm_width": 128,
    "context_length": 64,
    "batch_size": 16,
    "every": 1,
}

CLAIM = Claim(
    name="perplexity-probes",
    title="Does a better language model have better features?",
    statement=(
        "While a language model is trained, its held-out perplexity falls and what a linear probe "
        "finds in its states rises: perplexity puts checkpoints in nearly the order that a task "
        "puts them in, without a label."
    ),
    lecture="05, section 15",
    measure=measure,
    expectations=expected(),
    figure=figure,
    scales={
        "quick": {
            **SIZE,
            **QUICK,
            "narrow": 16,
            "lstm_width": 16,
            "documents": 80,
            "batch_size": 16,
            "steps": 2,
            "every": 8,
            "evaluations": 1,
        },
        "small": {**SIZE, "steps": 320, "evaluations": 8},
        "full": {**SIZE, **FULL, "narrow": 96, "lstm_width": 512, "evaluations": 15},
    },
    settings=[GPTSettings, LSTMSettings],
    own=("documents", "narrow", "lstm_width", "every"),
    formats={PERPLEXITY: ".1f", AFTER: ".1f", BEFORE: ".1f"},
    rows="network",
    about=(
        "Three networks with one tokenizer, without which perplexities could not be compared; each "
        "is measured nine times while it is trained, untrained included. The probe tells from "
        "which of twelve packages a docstring is (640 to learn from, 320 held out, the same with "
        "every seed: the standard error of an accuracy is 2.7 points), from the mean of the states "
        "at its first 64 tokens. Perplexity is that of held-out documents of the same text. Within "
        "a run the correlation says that both go on with training: whatever grows with the steps "
        "would be correlated too. The second half of a run, where perplexities are close, says how "
        "fine the order is. Across networks the width counts by itself: a wider state gives "
        "a probe more to read, trained or not. With one seed in three the order is lost in a "
        "network that hardly moves (the narrow GPT), or whose untrained states, sums of random "
        "vectors of the tokens, are read as well as the trained ones (the LSTM). And the first "
        "forty steps, which bring the perplexity from 1,200 to 370, cost the GPT's probe 3 to 9 "
        "points. Nothing was tried before with other settings."
    ),
)
