"""Lecture 05: predicting words answers seven kinds of questions, the larger the model the more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.claims.claim import Cell, Claim, Expectation, Measured, Setup, ahead, chosen
from minissl.claims.drawing import level, panels, values
from minissl.data.cloze import score_pairs, small_zoo
from minissl.data.texts import pack
from minissl.figures import legend
from minissl.models.gpt import GPT
from minissl.palette import BLUE, GREY, OCHRE, RED, look
from minissl.pretrain.language.gpt import GPTPretraining, GPTSettings
from minissl.pretrain.run import train
from minissl.text import Tokenizer
from minissl.text.baselines import bigram_probabilities
from minissl.text.documents import SEPARATOR
from minissl.text.small_world import KINDS, documents

COUNTED, UNTRAINED = "counting pairs of tokens", "untrained GPT"
WIDTHS = (8, 16, 32, 64)
MEAN, SIZE = "mean", "parameters"
WORDS, ORDERED = ("trivia", "grammar", "topic"), ("coreference", "sentiment", "location")


def row(width: int) -> str:
    """The name of a model."""
    return f"GPT of width {width}"


@dataclass(frozen=True)
class CountedPairs:
    """ln p of an answer by how often each of its tokens followed the one before it."""

    tokenizer: Tokenizer
    stream: NDArray

    def score(self, prompts: Sequence[str], answers: Sequence[str]) -> NDArray[np.float64]:
        """In nats, of each pair: (pairs,). No prompt may be empty."""
        encode, each = self.tokenizer.encode, []
        for prompt, answer in zip(prompts, answers):
            tokens = [*encode(prompt)[-1:], *encode(answer)]
            each.append(np.stack([tokens[:-1], tokens[1:]]))
        before, after = np.concatenate(each, axis=1)
        p = bigram_probabilities(self.stream, before, after, self.tokenizer.vocab_size)
        ends = np.cumsum([pairs.shape[1] for pairs in each])[:-1]
        return np.array([np.log(own).sum() for own in np.split(p, ends)])


def measure(setup: Setup) -> Measured:
    """Models of several widths read the same texts; each is asked the same pairs, untrained too."""
    settings = setup.settings
    texts = [document.text for document in documents(settings["documents"], setup.seed)]
    tokenizer = Tokenizer.train(texts, settings["vocab_size"], special_tokens=[SEPARATOR])
    stream = pack(map(tokenizer.encode, texts), tokenizer.special_tokens[SEPARATOR])
    pairs = small_zoo(settings["pairs"], setup.seed)
    table: dict[str, dict[str, float]] = {}

    def ask(name: str, method: Any) -> None:
        setup.note(name)
        right = {one.kind: 100 * one.right for one in score_pairs(method, pairs)}
        table[name] = {MEAN: float(np.mean([*right.values()])), **right}

    ask(COUNTED, CountedPairs(tokenizer, stream))
    for width in settings["widths"]:
        own = chosen(GPTSettings, setup, width=width)
        setup.note(row(width))
        generator = np.random.default_rng(setup.seed)
        model = GPT(own.config(tokenizer.vocab_size), generator=generator)
        model.to(setup.device)
        method = GPTPretraining(model, stream, batch_size=own.batch_size, tokenizer=tokenizer)
        if width == max(settings["widths"]):
            ask(UNTRAINED, method)
        train(method, own, seed=setup.seed, progress=False)
        ask(row(width), method)
        table[row(width)][SIZE] = float(model.config.num_parameters())
    return Measured(table)


def figure(measured: Sequence[Measured], settings: Mapping[str, Any]) -> Any:
    """The mean over the kinds by parameters, then each kind."""
    drawn, (mean, first, second) = panels(1.7, 2.0, 2.0)
    rows = [row(width) for width in settings["widths"]]
    sizes = np.array([values(measured, name, SIZE).mean() for name in rows])

    def by_size(axis: Any, kind: str, color: str, style: str = "-") -> None:
        seen = np.array([values(measured, name, kind) for name in rows])  # (sizes, seeds)
        form = {**look(color, marker=True), "linestyle": style}
        axis.plot(sizes, seen.mean(axis=1), label=kind, **form)
        axis.fill_between(sizes, seen.min(axis=1), seen.max(axis=1), color=color, alpha=0.15)

    by_size(mean, MEAN, BLUE)
    level(mean, values(measured, COUNTED, MEAN).mean(), COUNTED)
    for axis, kinds in ((first, WORDS), (second, (*ORDERED, "sequence"))):
        for kind, color, style in zip(kinds, (BLUE, RED, OCHRE, GREY), ("-", "--", "-.", ":")):
            by_size(axis, kind, color, style)
        axis.axhline(50, color=GREY, linestyle="--", linewidth=1)
    for axis in (mean, first, second):
        axis.set(xscale="log", ylim=(15, 105), ylabel="right (%)")
        legend(axis, loc="lower left", bbox_to_anchor=(0, 0.98), ncols=4, fontsize=8)
    second.set(xlabel="parameters")
    return drawn


def expected() -> list[Expectation]:
    """More with size; words before order; counts know nothing of what is asked."""
    small, middle, large = row(WIDTHS[1]), row(WIDTHS[2]), row(WIDTHS[3])
    found = [
        ahead(small, row(WIDTHS[0]), MEAN, 2, "more parameters, the same text"),
        ahead(middle, small, MEAN, 5, "and more of them"),
        ahead(large, row(WIDTHS[0]), MEAN, 25, "most kinds need more than the smallest has"),
        ahead(row(WIDTHS[0]), UNTRAINED, MEAN, 2, "but it has learned something"),
    ]
    together, ordered = "what stands together is learned", 'order or "not" decides, in new texts'
    found += [Expectation(Cell(large, kind), 0.0, 90.0, together) for kind in WORDS]
    found += [Expectation(Cell(large, kind), 0.0, 75.0, ordered) for kind in ORDERED[1:]]
    found += [
        Expectation(Cell(large, ORDERED[0]), 0.0, 55.0, "whose it is: begun, with these texts"),
        Expectation(Cell(large, "location"), Cell(large, ORDERED[0]), 5.0, "it comes last"),
    ]
    found += [
        Expectation(Cell(small, "topic"), Cell(small, kind), 20.0, "order comes later than words")
        for kind in ORDERED
    ]
    return [
        *found,
        Expectation(Cell(large, "grammar"), Cell(large, "sequence"), 2.0, "sums were not all read"),
        *(
            Expectation(larger, smaller, 0.0, "both prompts of a couple end in the same word")
            for kind in ("coreference", "location")
            for larger, smaller in ((50.0, Cell(COUNTED, kind)), (Cell(COUNTED, kind), 50.0))
        ),
    ]


CLAIM = Claim(
    name="cloze-zoo",
    title="Predicting words answers seven kinds of questions, and larger models answer more",
    statement=(
        "A language model that only predicts the next word learns facts, grammar, what belongs "
        "together, what an opinion is, which room somebody is in, and some arithmetic. What words "
        "alone tell comes first; what their order tells takes a larger model, and whose shoulder "
        "it is comes last."
    ),
    lecture="05, section 14",
    measure=measure,
    expectations=expected(),
    figure=figure,
    scales={
        "quick": {
            "documents": 210,
            "pairs": 4,
            "widths": [*WIDTHS],
            "vocab_size": 300,
            "steps": 3,
            "batch_size": 2,
            "num_layers": 1,
            "context_length": 64,
            "evaluations": 1,
        },
        "small": {
            "documents": 40_000,
            "pairs": 100,
            "widths": [*WIDTHS],
            "vocab_size": 1024,
            "steps": 2000,
            "batch_size": 16,
            "num_layers": 2,
            "context_length": 64,
            "learning_rate": 5e-3,
            "evaluations": 1,
        },
        "full": {
            "documents": 200_000,
            "pairs": 100,
            "widths": [*WIDTHS, 128, 256],
            "vocab_size": 1024,
            "steps": 10_000,
            "batch_size": 32,
            "num_layers": 2,
            "context_length": 64,
            "learning_rate": 2e-3,
            "evaluations": 1,
        },
    },
    settings=[GPTSettings],
    own=("documents", "pairs", "widths"),
    formats={
        SIZE: ",.0f",
        **dict.fromkeys((MEAN, *KINDS), ".1f"),
    },
    rows="right, in %; chance is 50",
    about=(
        "Texts from templates (text/small_world.py), 40,000 of the seed; the models differ in "
        "width alone and read the same number of tokens, 2 million in windows from random places. "
        "The pairs, 100 of each kind in couples with exchanged answers, ask what no text says in "
        "so many words; trivia: in that sentence. No answer is right more often than another. "
        "Sizes, steps and texts were tried with seed 100. Which kind comes last may "
        "depend on how often it is read: in a trial where coreference had one turn of seven, not "
        "two of eight, the largest model had 100 % of location and 50 % of coreference."
    ),
)
