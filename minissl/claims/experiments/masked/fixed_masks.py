"""Lecture 08: where there is little text, masks drawn anew are worth more than masks kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from minissl.claims.claim import Cell, Claim, Expectation, Measured, Setup, ahead, chosen
from minissl.claims.drawing import groups, line, panels
from minissl.claims.pages_of_english import OWN, passages
from minissl.figures import label_ends
from minissl.nn.evaluating import evaluating
from minissl.palette import BLUE, OCHRE, RED
from minissl.pretrain.masked.spanbert import SpanBERT, SpanBERTSettings
from minissl.pretrain.masked_language_model import MaskedBatch
from minissl.pretrain.run import train
from minissl.text.masking import choose, replace

ONCE, TEN, ANEW = "one mask of each row", "ten masks of each row", "masks drawn anew"
COPIES = {ONCE: 1, TEN: 10, ANEW: 0}
SEEN, OTHER, HELD_OUT, BEST = "as trained", "other masks", "held out", "held out, best"
NEVER = 1 << 40  # the number of a mask that is not drawn in training


class SameRows(SpanBERT):
    """A masked model whose rows are cut once; each has so many ``copies``, 0: masks drawn anew."""

    copies = 0

    @property
    def batches(self) -> int:
        """How many make an epoch: as many tokens as the text has."""
        size = self.settings.batch_size * self.room
        return -(-len(self.data.stream) // size)

    def batch(self, generator: np.random.Generator) -> MaskedBatch:
        """A random one of the batches, with a random one of its masks."""
        number = int(generator.integers(self.batches))
        return self.numbered(number, int(generator.integers(self.copies or 1 << 32)))

    def numbered(self, number: int, mask: int) -> MaskedBatch:
        """The rows of that number, hidden by the mask of that number."""
        settings, stream = self.settings, self.data.stream
        rows = self.rows(stream, settings.batch_size, np.random.default_rng(number))
        originals, lengths, segments, labels = self.assembled(rows)
        generator, begins = np.random.default_rng([number, mask]), self.begins[originals]
        hidden = choose("pieces", self.is_text(originals), begins, generator, settings.mask_share)
        tokens = replace(
            originals, hidden, generator, mask=self.mask, vocab_size=len(self.begins),
            shares=(settings.mask_tokens, settings.random_tokens),
        )  # fmt: skip
        return MaskedBatch(tokens, lengths, segments, hidden, originals, labels)


def measure(setup: Setup) -> Measured:
    """The same rows for as many steps, each with one mask, with ten, or always with another."""
    settings = chosen(SpanBERTSettings, setup, masking="pieces", boundary_weight=0.0)
    data = passages(setup, settings)
    table, curves = {}, {}
    for name, copies in COPIES.items():
        setup.note(name)
        method = SameRows.build(settings, data, seed=setup.seed)
        method.copies = copies
        method.model.to(setup.device)
        history = train(method, settings, seed=setup.seed, progress=False)
        held_out = [(r["step"], r["held_out_loss"]) for r in history if "held_out_loss" in r]
        steps, losses = np.array(held_out).T
        curves[name] = (steps / method.batches, losses)
        table[name] = {
            SEEN: loss(method, 0 if copies else NEVER),
            OTHER: loss(method, NEVER),
            HELD_OUT: float(losses[-1]),
            BEST: float(losses.min()),
        }
    return Measured(table, curves)


def loss(method: SameRows, mask: int) -> float:
    """Mean nats per hidden token of the training rows, hidden by the mask of that number."""
    total, count = 0.0, 0.0
    with evaluating(method.model):
        for number in range(method.batches):
            batch = method.numbered(number, mask)
            total += method.masked_loss(batch, method.states_of(batch), reduction="sum").item()
            count += method.count(batch)
    return total / count


def figure(measured: Sequence[Measured], settings: Mapping[str, Any]) -> Any:
    """The loss of held-out text while the same rows are read again; what is left at the end."""
    drawn, (curve, end) = panels(2.4, 2.4)
    colors = {ONCE: RED, TEN: OCHRE, ANEW: BLUE}
    for name, color in colors.items():
        line(curve, measured, name, color=color)
    curve.set(xlabel="how often the text was read", ylabel="held-out nats")
    columns = {SEEN: "training rows,\nmasks as trained", OTHER: "training rows,\nother masks"}
    groups(end, measured, colors, {**columns, HELD_OUT: "held-out\nrows"})
    end.set(ylabel="nats at the end")
    label_ends(curve)
    return drawn


def expected() -> list[Expectation]:
    """What a pilot with another seed made likely."""
    return [
        Expectation(1.0, Cell(ONCE, SEEN), 0.0, "it can be learned by heart"),
        Expectation(Cell(ONCE, OTHER), Cell(ONCE, SEEN), 3.0, "the answers alone were learned"),
        ahead(ONCE, TEN, HELD_OUT, 1.5, "and do harm elsewhere"),
        ahead(TEN, ANEW, HELD_OUT, 0.08, "after ten masks there is still something new"),
        ahead(ONCE, TEN, BEST, 0.15, "stopped in time it is no better"),
        ahead(TEN, ANEW, BEST, 0.05, "the same"),
    ]


CLAIM = Claim(
    name="fixed-masks",
    title="Masks drawn anew are worth more than masks that are kept",
    statement=(
        "Where a text is read many times, an encoder learns by heart what one mask hides, and is "
        "worse than before everywhere else. With ten masks of each row, as in BERT's data files, "
        "it holds; masks drawn anew each time, as in RoBERTa, are better still."
    ),
    lecture="08, section 3",
    measure=measure,
    expectations=expected(),
    figure=figure,
    scales={
        "quick": {
            "pages": 6,
            "vocab_size": 300,
            "steps": 3,
            "batch_size": 16,
            "num_layers": 1,
            "width": 16,
            "context_length": 32,
            "evaluations": 3,
        },
        "small": {
            "pages": 40,
            "vocab_size": 1024,
            "steps": 1000,
            "batch_size": 32,
            "width": 64,
            "context_length": 64,
            "learning_rate": 3e-3,
            "evaluations": 10,
        },
        "full": {
            "steps": 8000,
            "batch_size": 64,
            "num_layers": 4,
            "width": 128,
            "context_length": 64,
            "evaluations": 20,
        },
    },
    settings=[SpanBERTSettings],
    own=OWN,
    formats=dict.fromkeys((SEEN, OTHER, HELD_OUT, BEST), ".2f"),
    rows="nats per hidden token",
    about=(
        "40 pages of Python's English (chapters of its reference, docstrings of a module), which "
        "the seed chooses, 6 of them held out: about 60,000 pieces, read 34 times in rows of 64 "
        "that are cut once and are the same in all three. 2 layers of width 64, 1,000 steps of 32 "
        "rows. Held-out rows have masks of their own. 'Best': the lowest of eleven measurements, "
        "as if training had been stopped there. BERT's files had ten masks of each row and were "
        "read forty times, each mask four times; here each of ten is read about three times. Sizes "
        "and steps were tried once, with seed 100."
    ),
)
