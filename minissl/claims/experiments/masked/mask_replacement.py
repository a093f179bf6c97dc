"""Lecture 08: if all hidden tokens become [MASK], a token that is there has no state of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.adapt.heads.probe import linear_probe
from minissl.adapt.method import Task
from minissl.claims.claim import Cell, Claim, Expectation, Measured, Setup, ahead, chosen
from minissl.claims.drawing import BLUE, GREY, RED, bars, groups, panels
from minissl.claims.pages_of_english import OWN, passages, trained
from minissl.data.texts import LabelledTexts
from minissl.nn.evaluating import evaluating
from minissl.pretrain.masked.spanbert import SpanBERT, SpanBERTSettings
from minissl.pretrain.masked_language_model import MaskedLanguageModel

MIXED, ALL, UNTRAINED = "80 % [MASK], 10 % random, 10 % kept", "100 % [MASK]", "untrained"
ARMS: dict[str, tuple[float, float]] = {MIXED: (0.8, 0.1), ALL: (1.0, 0.0)}
HIDDEN, THERE, WRONG, FOUND = "[MASK]", "the token", "another token", "the token, named"
MOVED, PROBE = "state moved", "packages found"


def measure(setup: Setup) -> Measured:
    """The same text, network and batches, with two ways to replace what is hidden."""
    shared = {"masking": "pieces", "boundary_weight": 0.0}
    kinds = {
        row: chosen(SpanBERTSettings, setup, mask_tokens=mask, random_tokens=random, **shared)
        for row, (mask, random) in ARMS.items()
    }
    data = passages(setup, kinds[MIXED])
    task = Task.prepare(data, LabelledTexts.read(None), "class")
    table = {}
    for row, settings in kinds.items():
        setup.note(row)
        method, _ = trained(setup, SpanBERT, settings, data)
        table[row] = read(method, setup.settings["rows"]) | probe(method, task)
    random = SpanBERT.build(kinds[MIXED], data, seed=setup.seed)
    table[UNTRAINED] = read(random, setup.settings["rows"]) | probe(random, task)
    return Measured(table)


def read(method: MaskedLanguageModel, rows: int) -> dict[str, float]:
    """The same places of held-out rows with [MASK], the token itself, or another token there."""
    sums = dict.fromkeys((HIDDEN, THERE, WRONG, FOUND), 0.0)
    states: dict[str, list[NDArray]] = {HIDDEN: [], THERE: [], WRONG: []}
    generator, count = np.random.default_rng(0), 0
    with evaluating(method.model):
        for batch in method.held_out_batches(rows=rows):
            count += int(batch.hidden.sum())
            other = generator.integers(len(method.begins), size=batch.originals.shape)
            for how, token in ((HIDDEN, method.mask), (THERE, batch.originals), (WRONG, other)):
                own = batch._replace(tokens=np.where(batch.hidden, token, batch.originals))
                seen = method.states_of(own)
                sums[how] += method.masked_loss(own, seen, reduction="sum").item()
                states[how].append(seen.numpy()[batch.hidden])
                if how == THERE:
                    sums[FOUND] += 100 * method.measured(own, seen)["accuracy"][0]
    found = {name: value / count for name, value in sums.items()}
    clean, masked = (np.concatenate(states[how]) for how in (THERE, HIDDEN))
    return found | {MOVED: 100 * distance(clean, masked)}


def distance(clean: NDArray, other: NDArray) -> float:
    """Mean squared distance of pairs of states, over that of clean states of random places."""
    clean, other = clean.astype(np.float64), other.astype(np.float64)
    return float(((clean - other) ** 2).sum(axis=1).mean() / (2 * clean.var(axis=0).sum()))


def probe(method: MaskedLanguageModel, task: Task) -> dict[str, float]:
    """Held-out docstrings whose package a linear probe finds, in %: text without [MASK]."""
    train, test = task.to_learn_from(), task.held_out
    assert test is not None
    fitted = linear_probe(method.represent(train.inputs), train.labels)
    return {PROBE: 100 * fitted.accuracy(method.represent(test.inputs), test.labels)}


def figure(measured: Sequence[Measured], settings: Mapping[str, Any]) -> Any:
    """Nats by what stands at the place; below, what a probe finds in text without [MASK]."""
    drawn, (nats, found) = panels(2.6, 1.4)
    colors = {MIXED: BLUE, ALL: RED}
    columns = {HIDDEN: "[MASK]\nstands there", THERE: "the token\nitself", WRONG: "another\ntoken"}
    groups(nats, measured, colors, columns)
    nats.set(ylabel="nats of the original token", ylim=(0, 11))
    nats.legend(frameon=False, loc="upper left", title="trained with")
    bars(found, measured, [*colors, UNTRAINED], PROBE, colors=[BLUE, RED, GREY], form="%.1f")
    found.set(xlabel="packages found by a probe, without [MASK] (%)")
    return drawn


def expected() -> list[Expectation]:
    """What a pilot with another seed made likely."""
    return [
        ahead(ALL, MIXED, THERE, 2.0, "it never had to name a token that is there"),
        ahead(MIXED, ALL, FOUND, 40.0, "the same"),
        Expectation(Cell(ALL, THERE), Cell(ALL, HIDDEN), 0.1, "to show the token does not help it"),
        Expectation(Cell(MIXED, HIDDEN), Cell(MIXED, THERE), 2.0, "here it does"),
        ahead(MIXED, ALL, MOVED, 30.0, "the state follows the token that is there"),
        ahead(MIXED, ALL, PROBE, 2.0, "text in use has no [MASK]"),
    ]


ALIKE = {"evaluations": 1}

CLAIM = Claim(
    name="mask-replacement",
    title="If all that is hidden becomes [MASK], visible tokens are none of its business",
    statement=(
        "A model that only ever predicts where [MASK] stands has no job where a token is there: it "
        "cannot name that token, no better than if it were hidden, and a probe finds less in what "
        "it makes of whole text. If one hidden token in ten stays and another becomes a random "
        "one, every place may be asked for, and it represents all of them."
    ),
    lecture="08, section 5",
    measure=measure,
    expectations=expected(),
    figure=figure,
    scales={
        "quick": {
            **ALIKE,
            "pages": 6,
            "rows": 20,
            "vocab_size": 300,
            "steps": 3,
            "batch_size": 4,
            "num_layers": 1,
            "width": 16,
            "context_length": 32,
        },
        "small": {
            **ALIKE,
            "rows": 512,
            "steps": 800,
            "batch_size": 32,
            "width": 64,
            "context_length": 64,
            "learning_rate": 3e-3,
        },
        "full": {
            **ALIKE,
            "rows": 2048,
            "steps": 8000,
            "batch_size": 64,
            "num_layers": 4,
            "width": 128,
            "context_length": 64,
        },
    },
    settings=[SpanBERTSettings],
    own=(*OWN, "rows"),
    formats={
        **dict.fromkeys((HIDDEN, THERE, WRONG), ".2f"),
        **dict.fromkeys((FOUND, MOVED, PROBE), ".1f"),
    },
    rows="trained with",
    about="TODO",
)
