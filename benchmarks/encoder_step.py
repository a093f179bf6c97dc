"""A training step of BERT and of SpanBERT: ours and torch's, heads at hidden places alone.

    python -m benchmarks.encoder_step

4 layers of width 256, 32 rows of 128 tokens with padding, 8192 tokens, AdamW, float32. The two
losses of BERT, or masked tokens and boundaries of spans; the states of hidden places are gathered
before the output, in torch too, and one race has the output at every place. Losses and gradients
must agree before anything is timed. Each contender has a process of its own.
"""

from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np

from benchmarks.common import (
    MEMORY_KEPT,
    PEAK,
    add_options,
    new_parser,
    report,
    require_peers,
    stoppable,
)
from benchmarks.encoder_torch import Twin
from benchmarks.turns import Contender, race
from minissl.autograd import fused
from minissl.autograd.threads import engine_threads
from minissl.conditions import environment
from minissl.models.encoder import EncoderConfig, MaskedEncoder
from minissl.optim import AdamW
from minissl.pretrain.masked.bert import BERT
from minissl.pretrain.masked.spanbert import SpanBERT, SpanBERTSettings
from minissl.pretrain.masked_language_model import MaskedBatch
from minissl.text.masking import choose, replace

ROWS, TIME, VOCABULARY, LEARNING_RATE = 32, 128, 8192, 1e-3
CONFIG = EncoderConfig(
    num_layers=4, width=256, num_heads=4, vocab_size=VOCABULARY, context_length=TIME, init_std=0.05
)
BOUNDARY = (16, 32)
MASK = 4
WORKS = {"BERT": "pieces", "SpanBERT": "spans"}


def new_model(work: str) -> MaskedEncoder:
    return MaskedEncoder(
        CONFIG,
        next_sentence=work == "BERT",
        boundary=BOUNDARY if work == "SpanBERT" else None,
        generator=np.random.default_rng(0),
    )


def batch(work: str) -> MaskedBatch:
    """Rows of random tokens, some shorter than others, hidden as the method does."""
    generator = np.random.default_rng(1)
    lengths = np.where(generator.random(ROWS) < 0.1, generator.integers(16, TIME, ROWS), TIME)
    inside = np.arange(TIME) < lengths[:, None]
    originals = np.where(inside, generator.integers(5, VOCABULARY, (ROWS, TIME)), 0)
    text = inside & (np.arange(TIME) > 0) & (np.arange(TIME) < lengths[:, None] - 1)
    hidden = choose(WORKS[work], text, generator.random((ROWS, TIME)) < 0.75, generator)
    tokens = replace(originals, hidden, generator, mask=MASK, vocab_size=VOCABULARY)
    segments = (inside & (np.arange(TIME) > lengths[:, None] // 2)).astype(np.int64)
    labels = generator.integers(2, size=ROWS)
    return MaskedBatch(tokens, lengths, segments, hidden, originals, labels)


def our_loss(work: str, model: MaskedEncoder, rows: MaskedBatch, everywhere: bool) -> Any:
    """The method's own loss, on this model; ``everywhere``: the output at all places."""
    if everywhere:
        states = model(rows.tokens, lengths=rows.lengths, segments=rows.segments)
        targets = np.where(rows.hidden, rows.originals, -100)
        logits = model.word_logits(states)
        masked = fused.cross_entropy(logits, targets, ignore_index=-100, overwrite_logits=True)
        return masked + fused.cross_entropy(model.follows_logits(states), rows.labels)
    kind: Any = BERT if work == "BERT" else SpanBERT
    settings = SpanBERTSettings() if work == "SpanBERT" else SimpleNamespace(objective="both")
    method = kind.__new__(kind)
    method.model, method.settings = model, settings
    return method.loss(rows, None)


def ours(
    work: str, everywhere: bool = False, model: MaskedEncoder | None = None
) -> Callable[[], float]:
    model = new_model(work) if model is None else model
    rows = batch(work)
    optimizer = AdamW(model.named_parameters(), lr=LEARNING_RATE, decay=lambda name, p: True)

    def step() -> float:
        with engine_threads():  # as fit does
            optimizer.zero_grad()
            loss = our_loss(work, model, rows, everywhere)
            loss.backward()
            optimizer.step()
            return loss.item()

    return step


def theirs(work: str, everywhere: bool = False, twin: Any = None) -> Callable[[], float]:
    import torch

    twin = Twin.of(new_model(work)) if twin is None else twin
    rows = batch(work)
    optimizer = torch.optim.AdamW(twin.parameters(), lr=LEARNING_RATE, fused=True)
    inputs = twin.prepared(rows)

    def step() -> float:
        optimizer.zero_grad(set_to_none=True)
        loss = twin.loss(inputs, everywhere)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


OURS, TORCH, KEPT = "minissl", "torch", "torch, freed memory kept"


def contenders(work: str, everywhere: bool = False) -> dict[str, Contender]:
    with_torch = ("minissl.optim", "torch")
    return {
        OURS: Contender(partial(ours, work, everywhere), ["minissl.optim"], keeps_memory=True),
        TORCH: Contender(partial(theirs, work, everywhere), with_torch),
        KEPT: Contender(partial(theirs, work, everywhere), with_torch, keeps_memory=True),
    }


RACES = {work: contenders(work) for work in WORKS}
RACES["BERT, output at all places"] = contenders("BERT", everywhere=True)
CONTENDERS = {f"{work}: {name}": c for work, found in RACES.items() for name, c in found.items()}


def check_agreement() -> None:
    """The same losses and gradients, and the same loss three steps later."""
    for work in WORKS:
        for everywhere in (False, True) if work == "BERT" else (False,):
            model = new_model(work)
            twin = Twin.of(model)
            steps = ours(work, everywhere, model), theirs(work, everywhere, twin)
            first = [step() for step in steps]
            if abs(first[0] - first[1]) > 1e-4:
                raise SystemExit(f"{work}: the losses differ: {first}")
            twin.require_same_gradients(model)
            later = [[step() for _ in range(3)][-1] for step in steps]
            if abs(later[0] - later[1]) > 2e-3:
                raise SystemExit(f"{work}: the losses differ three steps later: {later}")
            print(f"agreed: {work}, {first[0]:.5f}, {later[0]:.5f} three steps later")


def main() -> None:
    arguments = add_options(new_parser("encoder_step", __doc__), repeats=9).parse_args()
    require_peers("torch")
    machine = environment(["torch"])
    check_agreement()
    rows = []
    for work, names in RACES.items():
        found = race(
            "benchmarks.encoder_step",
            [f"{work}: {name}" for name in names],
            arguments.repeats,
            threads=arguments.threads,
            runs=2,
        )
        rows += [
            {
                "step": name,
                "milliseconds": result.seconds * 1000,
                "× torch": result.seconds / found[f"{work}: {TORCH}"].seconds,
                "× torch, memory kept": result.seconds / found[f"{work}: {KEPT}"].seconds,
                "peak MB": result.megabytes,
            }
            for name, result in found.items()
        ]
    notes = [
        f"4 layers of width 256, {ROWS} rows of {TIME} tokens, one in ten shorter, vocabulary "
        f"{VOCABULARY}, float32, AdamW",
        "15 % of the tokens are hidden; their states are gathered before the output, but in the "
        "last three rows",
        "losses and gradients of all agreed first",
        f"{arguments.threads} threads; each in a process of its own, medians of "
        f"{arguments.repeats} turns of 2 runs",
        MEMORY_KEPT,
        PEAK,
    ]
    report("encoder_step", rows, machine, notes)


if __name__ == "__main__":
    stoppable(main)
