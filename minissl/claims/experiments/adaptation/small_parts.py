"""Lecture 11: small parts beside a frozen network against all its weights, and what it forgets."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from minissl.adapt.efficient.adapters import Adapters
from minissl.adapt.efficient.bias import BiasOnly
from minissl.adapt.efficient.experts import LoRAExperts
from minissl.adapt.efficient.last_layers import LastLayers
from minissl.adapt.efficient.layers_on_top import LayersOnTop
from minissl.adapt.efficient.lora import LoRAAdaptation
from minissl.adapt.efficient.prefixes import Prefixes
from minissl.adapt.efficient.prompts import Prompts
from minissl.adapt.heads.finetune import Finetune
from minissl.adapt.heads.probe import Probe, ProbeSettings
from minissl.adapt.method import FewLabels, Task
from minissl.adapt.trained import Trained
from minissl.claims.cache import shared
from minissl.claims.claim import Cell, Claim, Expectation, Measured, Setup, ahead, chosen
from minissl.claims.docstring_labels import BATCH, in_memory
from minissl.claims.drawing import DOTS, level, line, panels, values
from minissl.claims.experiments.language.docstring_packages import TFIDF, tf_idf
from minissl.data.labels import Labelled
from minissl.data.texts import LabelledTexts, Texts
from minissl.figures import legend
from minissl.palette import BLUE, GREY, OCHRE, RED
from minissl.pretrain.language.gpt import GPTPretraining, GPTSettings
from minissl.pretrain.run import Opened, fit_as_told

SCRATCH, PROBE, TUNED = "labels alone, all weights", "linear probe", "full fine-tuning"
LORA, EXPERTS, ADAPTERS = "LoRA", "LoRA experts", "adapters"
BIASES, LAST, ABOVE = "biases only", "last layer only", "a new layer on top"
PREFIXES, MADE, PROMPTS = "prefixes", "prefixes, reparametrized", "prompts"
RANK = 4  # of LoRA, in the table
Way = tuple[type[Trained], dict[str, Any]]
WAYS: dict[str, Way] = {
    SCRATCH: (Finetune, {"start": "random"}),
    TUNED: (Finetune, {}),
    LAST: (LastLayers, {"layers": 1}),
    ABOVE: (LayersOnTop, {"layers": 1}),
    LORA: (LoRAAdaptation, {"where": "blocks", "rank": RANK}),
    EXPERTS: (LoRAExperts, {"where": "blocks", "experts": 4, "top": 2, "rank": 2}),
    ADAPTERS: (Adapters, {"middle": 16}),
    BIASES: (BiasOnly, {}),
    PREFIXES: (Prefixes, {"prefix": 8}),
    MADE: (Prefixes, {"prefix": 8, "reparametrize": True}),
    PROMPTS: (Prompts, {"prompts": 8}),
}
ROWS = (TFIDF, PROBE, *WAYS)
RATES = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1)  # learning rates, the same for all
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # of the penalty of the probe, as many
ALL, FEW = "all labels", "10 per class"
LABELS = {ALL: 0, FEW: 10}  # column: labels_per_class
RATE, WEIGHTS, BYTES = "learning rate", "weights trained", "kB saved"
BEHIND, STEP = "points behind full", "CPU ms per step"
FORGOTTEN, OFF = "nats forgotten", "nats forgotten, part taken off"
OWN = ("every", "tune_steps", "tokens", "ranks", "rates")


def measure(setup: Setup) -> Measured:
    """One pretrained GPT, and the same labelled texts learned in twelve ways."""
    texts = Texts(Texts.read(None).documents[:: setup.settings["every"]])
    settings = chosen(GPTSettings, setup)
    setup.note("GPT")
    found = shared(setup, GPTPretraining, texts, settings, row=TUNED)
    opened = in_memory(found.method, settings, found.data)
    labelled = LabelledTexts.read(None)
    task = shortened(Task.prepare(found.data, labelled, "class"), setup.settings["tokens"])
    table = {TFIDF: {}, PROBE: probed(setup, opened, task)}
    for column, count in LABELS.items():
        few = FewLabels(labels_per_class=count)
        table[TFIDF][column] = 100 * tf_idf(labelled, task, few, setup.seed)[0]
    for row, way in WAYS.items():
        setup.note(row)
        table[row] = learned(setup, way, opened, task)
    for row in (PROBE, *WAYS):
        table[row][BEHIND] = table[TUNED][ALL] - table[row][ALL]
    setup.note("ranks")
    ranks, rate = setup.settings["ranks"], table[LORA][RATE]
    by_rank = [of_rank(setup, rank, opened, task, rate) for rank in ranks]
    return Measured({row: table[row] for row in ROWS}, {LORA: (ranks, by_rank)})


def shortened(task: Task, tokens: int, *, closed: bool = False) -> Task:
    """With the first ``tokens`` of each text alone: what all ways read.

    Prompts take places of the context, which a text then lacks; so these are left to nobody.
    ``closed``: a text ends with [SEP], which stays its last token.
    """

    def cut(part: Labelled | None) -> Labelled:
        assert part is not None
        inputs = [
            one if len(one) <= tokens else [*one[: tokens - closed], *one[len(one) - closed :]]
            for one in part.inputs
        ]
        return replace(part, inputs=inputs)

    return replace(task, train=cut(task.train), held_out=cut(task.held_out))


def to_choose(task: Task) -> Task:
    """A task of the training part alone, a third of it held out: the test set chooses nothing."""
    train, held_out = task.to_learn_from().split()
    return replace(task, train=train, held_out=held_out)


# ---- one way -------------------------------------------------------------------------------------


def learned(setup: Setup, way: Way, opened: Opened, task: Task) -> dict[str, float]:
    """A row: the best learning rate of the grid, accuracies with it, and what all that costs."""
    rate = best(
        setup.settings["rates"], lambda rate: fitted(setup, way, opened, to_choose(task), rate)[0]
    )
    cells: dict[str, float] = {}
    for column, count in LABELS.items():
        accuracy, method, step = fitted(setup, way, opened, task, rate, count)
        cells[column] = accuracy
        if column == ALL:
            cells |= costs(method) | {RATE: rate, STEP: step}
            if way[1].get("start") != "random":
                cells |= forgotten(method, opened)
    return cells


def best(choices: Sequence[float], accuracy: Any) -> float:
    """The choice of the highest accuracy, of equal ones the smallest."""
    return max(sorted(choices), key=accuracy)


def fitted(
    setup: Setup, way: Way, opened: Opened, task: Task, rate: float, count: int = 0
) -> tuple[float, Trained, float]:
    """Held-out accuracy in percent, the method, and processor time (ms) of a step."""
    kind, own = way
    settings = kind.Settings(
        **own, learning_rate=rate, labels_per_class=count, steps=setup.settings["tune_steps"],
        batch_size=BATCH, evaluations=1,
    )  # fmt: skip
    method = kind.build(settings, opened, replace(task, held_out=None), seed=setup.seed)
    method.to(setup.device)
    begun = time.process_time()
    fit_as_told(method, settings, seed=setup.seed, progress=False)
    spent = time.process_time() - begun
    method.task = task
    return 100 * method.evaluate()["held_out_accuracy"], method, 1000 * spent / settings.steps


def costs(method: Trained) -> dict[str, float]:
    """How many weights are trained, and the size of what is saved."""
    weights = sum(p.size for p in method.model.parameters() if p.requires_grad)
    saved = sum(array.nbytes for array in method.saved().state_dict().values())
    return {WEIGHTS: weights, BYTES: saved / 1000}


def probed(setup: Setup, opened: Opened, task: Task) -> dict[str, float]:
    """The row of the linear probe, which has a strength of its penalty in place of a rate."""

    def solved(task: Task, l2: float, count: int = 0) -> tuple[float, Probe]:
        settings = ProbeSettings(l2=l2, labels_per_class=count)
        probe = Probe.build(settings, opened, task, seed=setup.seed)
        probe.solve()
        return 100 * probe.evaluate()["held_out_accuracy"], probe

    l2 = best(STRENGTHS, lambda l2: solved(to_choose(task), l2)[0])
    cells = {column: solved(task, l2, count)[0] for column, count in LABELS.items()}
    probe = solved(task, l2)[1]
    saved = sum(array.nbytes for array in probe.saved().state_dict().values())
    trained = (opened.method.width + 1) * task.outputs
    return cells | {WEIGHTS: trained, BYTES: saved / 1000, FORGOTTEN: 0.0, OFF: 0.0}


def of_rank(setup: Setup, rank: int, opened: Opened, task: Task, rate: float) -> float:
    """Accuracy of LoRA with this rank, with all labels."""
    kind, own = WAYS[LORA]
    return fitted(setup, (kind, {**own, "rank": rank}), opened, task, rate)[0]


# ---- what is forgotten ---------------------------------------------------------------------------


def forgotten(method: Trained, opened: Opened) -> dict[str, float]:
    """Nats per token of old held-out text, after less before, with the part and without."""
    before = nats(opened.method)
    cells = {FORGOTTEN: nats(method.base) - before}
    if method.from_base:
        cells[OFF] = nats(taken_off(method, opened)) - before
    return cells


def nats(method: Any) -> float:
    """The loss of the pretraining on held-out text."""
    return method.evaluate()["held_out_loss"]


def taken_off(method: Trained, opened: Opened) -> Any:
    """The network without its part: what was frozen as it is now, the rest as the run has it."""
    plain, trained = opened.on(opened.data), set(method.saved().state_dict())
    weights = plain.encoder.state_dict()
    for name, array in method.model.state_dict().items():
        if name not in trained:
            weights[plain_name(name)] = array
    plain.encoder.load_state_dict(weights)
    return plain


def plain_name(name: str) -> str:
    """What a frozen weight is called in the encoder that nothing was put into."""
    for begin in ("encoder.", "below."):
        name = name.removeprefix(begin)
    return name.replace(".inner.", ".")


# ---- what is shown -------------------------------------------------------------------------------

COLORS = {PROBE: GREY, SCRATCH: OCHRE, TUNED: RED}  # of the others blue
MARKS = {
    PROBE: "s", SCRATCH: "X", TUNED: "o", LAST: "v", ABOVE: "^", LORA: "o", EXPERTS: "D",
    ADAPTERS: "s", BIASES: "*", PREFIXES: "<", MADE: ">", PROMPTS: "P",
}  # fmt: skip


def figure(measured: Sequence[Measured], settings: Mapping[str, Any]) -> Any:
    """Accuracy against the number of trained weights; the rank of LoRA; what is forgotten."""
    drawn, (cost, ranks, old) = panels(4.6, 2.2, 2.8)
    for row, mark in MARKS.items():
        seen = values(measured, row, ALL)
        weights, mean = values(measured, row, WEIGHTS)[0], seen.mean()
        spread = [[mean - seen.min()], [seen.max() - mean]]
        cost.errorbar(
            weights, mean, spread, fmt=mark, color=COLORS.get(row, BLUE), label=row, linewidth=1
        )
    level(cost, float(values(measured, TFIDF, ALL).mean()), TFIDF)
    cost.set(xscale="log", xlabel="weights trained", ylabel="packages found (%)")
    legend(cost, fontsize=8, loc="lower left", bbox_to_anchor=(-0.1, 1), ncols=2)
    line(ranks, measured, LORA, color=BLUE, marker="o", markersize=3)
    level(ranks, float(values(measured, TUNED, ALL).mean()), TUNED)
    ranks.set(xscale="log", xlabel="rank of LoRA", ylabel="packages found (%)")
    ranks.set_xticks(settings["ranks"], [str(rank) for rank in settings["ranks"]])
    ranks.minorticks_off()
    rows = [row for row in MARKS if row not in (PROBE, SCRATCH)]
    seen = np.array([values(measured, row, FORGOTTEN) for row in rows])
    colors = [COLORS.get(row, BLUE) for row in rows]
    old.barh(rows, seen.mean(axis=1), color=colors, height=0.66)
    for place, seeds in enumerate(seen):
        old.plot(seeds, np.full(len(seeds), place), **DOTS)
    old.invert_yaxis()
    old.set(xlabel="nats forgotten per token of old text")
    return drawn


def expected() -> list[Expectation]:
    """Full fine-tuning is nearly reached; what is frozen is kept; prompts are a matter of size."""
    return [
        ahead(TUNED, SCRATCH, ALL, 3, "else there is nothing that small parts could keep"),
        *(Expectation(2.0, Cell(row, BEHIND), 0.0, "few weights suffice")
          for row in (LORA, ADAPTERS)),
        ahead(LORA, PROBE, ALL, 2, "features that move are better than frozen ones"),
        ahead(PREFIXES, ABOVE, ALL, 1, "works a bit better, says the lecture"),
        ahead(PREFIXES, PROMPTS, ALL, 1, "they enter every layer, prompts the first alone"),
        ahead(LORA, PROMPTS, ALL, 2, "prompts need a large network"),
        ahead(PROMPTS, TUNED, RATE, 0.005, "vectors of words have far to go"),
        Expectation(Cell(TUNED, FORGOTTEN), 0.0, 0.2, "nothing holds the old function"),
        ahead(TUNED, LORA, FORGOTTEN, 0.1, "a thin change is a small one"),
        *(Expectation(0.0, Cell(row, OFF), 0.0, "nothing else has moved")
          for row in (LORA, ADAPTERS, PREFIXES, BIASES, LAST)),
        ahead(TUNED, LORA, STEP, 0.5, "no gradients of weights, no state of an optimizer"),
        ahead(TUNED, LAST, STEP, 1, "no gradient below"),
    ]  # fmt: skip


CLAIM = Claim(
    name="small-parts",
    title="Small parts beside a frozen network: what they reach, what they cost, what is forgotten",
    statement="Few new weights beside a frozen network come near to full fine-tuning. What is "
    "saved is a small part of the network, and what it knew is there again when the part is taken "
    "off, while full fine-tuning forgets.",
    lecture="11, section 7",
    measure=measure,
    expectations=expected(),
    figure=figure,
    scales={
        "quick": {
            "every": 80, "vocab_size": 300, "steps": 2, "num_layers": 1, "width": 8,
            "num_heads": 1, "context_length": 24, "batch_size": 4, "evaluations": 1,
            "tune_steps": 1, "tokens": 16, "ranks": [1, RANK], "rates": [*RATES[:2]],
        },
        "small": {
            "every": 1, "vocab_size": 1000, "steps": 2000, "width": 96, "context_length": 40,
            "batch_size": 30, "evaluations": 1, "tune_steps": 300, "tokens": 32,
            "ranks": [1, RANK, 16, 64], "rates": [*RATES],
        },
        "full": {
            "every": 1, "vocab_size": 4096, "steps": 10_000, "num_layers": 4, "width": 256,
            "context_length": 128, "batch_size": 48, "evaluations": 1, "tune_steps": 600,
            "tokens": 120, "ranks": [1, RANK, 16, 64], "rates": [*RATES],
        },
    },
    settings=[GPTSettings],
    own=OWN,
    formats={
        **dict.fromkeys((*LABELS, BEHIND, STEP), ".1f"), **dict.fromkeys((FORGOTTEN, OFF), ".3f"),
        WEIGHTS: ",.0f", BYTES: ",.1f", RATE: ".3g",
    },
    rows="held-out accuracy in %",
    about="The task of the claim docstring-packages, of which tf-idf is a row here too: twelve "
    "packages, chance is 8 %, and the same 320 texts are held out with every seed (two standard "
    "errors are 5 points). One GPT for each seed, 2 layers, width 96, 1000 tokens, 2000 steps on "
    "the English inside Python, 288 of the held-out texts among it without labels: a weak base. "
    "Every way reads the first 32 tokens of a text, in a context of 40, so that prompts have room; "
    "tf-idf reads all. 300 steps of 16 texts. Of five learning rates (0.001, 0.003, 0.01, 0.03, "
    "0.1), the same for all, each way has the one that is best on a third of the texts to learn "
    "from after learning from the others; the probe, of five strengths of its penalty from 0.0001 "
    "to 1. LoRA has rank 4 on every linear layer of the blocks, experts 4 of rank 2 there, of "
    "which each token uses 2; adapters have a middle of 16; 8 prompts, prefixes of 8 places. "
    "Accuracy with 10 per class is at the same learning rate. Forgotten: the loss of the "
    "pretraining on its held-out text, after less before. In place, a part changes what is said "
    "of old text; a prompt stands before no old text, and layers on top are not in the way of it. "
    "In a pilot (seed 100, 427 texts to learn from, 213 others, 200 steps) an encoder of that size "
    "was worse than its own network from random weights, 51 against 61 %: so the base is a GPT "
    "here. With it full fine-tuning had 58 %, random weights 50, LoRA 47, adapters 41, prefixes "
    "and a probe 38: this had been seen when the lecture's expectations were written down. "
    "Seen: LoRA is 14 points behind full fine-tuning, adapters 15. A higher rank helps (62 % with "
    "64): perhaps a weak base has to change in more directions than four. Rank 1 had the learning "
    "rate of rank 4 and four times its alpha / rank, which may be all that is wrong with it. "
    "Prefixes and prompts are no better than the probe. With ten labels per package LoRA is 3 "
    "points behind, and the random network 2. What stays in place forgets too: LoRA 2.5 nats, "
    "adapters 2.8, full fine-tuning 3.6, prefixes 0.04.",
    packages=("sklearn",),
)  # fmt: skip
