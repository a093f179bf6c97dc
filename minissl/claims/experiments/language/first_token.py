"""Lecture 05: the chain rule begins with p(x₁); a model without a beginning has none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from minissl.claims.claim import Claim, Measured, Setup, ahead, chosen
from minissl.claims.drawing import bars, panels
from minissl.claims.gpt_on_english import (
    FULL,
    OWN,
    QUICK,
    SEPARATOR,
    encoded,
    english,
    log_probabilities,
    new_gpt,
    trained,
)
from minissl.losses.language_modeling import IGNORE, next_token_loss
from minissl.models.generate import generate
from minissl.models.gpt import GPT
from minissl.nn.evaluating import evaluating
from minissl.palette import BLUE, GREY, OCHRE, RED
from minissl.pretrain.language.gpt import GPTSettings
from minissl.text import Tokenizer
from minissl.text.baselines import unigram_probabilities
from minissl.text.documents import Document

WITH, LEFT_OUT, WITHOUT = "separator", "separator, x₁ not learned", "no separator"
COUNTED, TEXT = "counted first tokens", "the documents"
FIRST, SOON, CAPITAL = "nats for x₁", "nats for x₂ to x₈", "begins with a capital (%)"
WRITTEN = 8  # tokens of each text that is generated without a prompt


def measure(setup: Setup) -> Measured:
    """Train on the same documents with and without a token between them."""
    train, held_out = english(setup)
    data = encoded(train, held_out, setup.settings["vocab_size"])
    separator = data.tokenizer.special_tokens[SEPARATOR]
    documents = [tokens[:8] for tokens in in_tokens(data.tokenizer, held_out) if len(tokens) >= 8]
    stream = data.stream[data.stream != separator]
    settings, vocab_size = chosen(GPTSettings, setup), data.tokenizer.vocab_size
    unigram = unigram_probabilities(stream, vocab_size)
    runs = {
        WITH: (data, None),
        LEFT_OUT: (data, separator),
        WITHOUT: (replace(data, stream=stream), None),
    }
    table: dict[str, dict[str, float]] = {}
    for name, (texts, ignored) in runs.items():
        setup.note(name)
        model = new_gpt(setup, settings, vocab_size)
        trained(setup, model, texts, settings, separator=ignored, held_out=False)
        start = None if name == WITHOUT else separator
        first, soon = nats(model, documents, start, unigram)
        written = unprompted(setup, model, start, unigram)
        starts = [data.tokenizer.decode(tokens) for tokens in written]
        table[name] = {FIRST: first, SOON: soon, CAPITAL: capitals(starts)}
    begins = np.array([tokens[0] for tokens in in_tokens(data.tokenizer, train)])
    counts = unigram_probabilities(begins, vocab_size)
    first_tokens = [tokens[0] for tokens in documents]
    table["uniform"] = {FIRST: float(np.log(vocab_size))}
    table[COUNTED] = {FIRST: float(-np.log(counts[first_tokens]).mean())}
    table[TEXT] = {CAPITAL: capitals([document.text for document in held_out])}
    return Measured(table)


def in_tokens(tokenizer: Tokenizer, documents: Sequence[Document]) -> list[list[int]]:
    """Every document by itself."""
    return [tokenizer.encode(document.text, allow_special="none") for document in documents]


def nats(
    model: GPT, documents: Sequence[Sequence[int]], start: int | None, unigram: np.ndarray
) -> tuple[float, float]:
    """−ln p of the first token of each document, and the mean of the seven that follow it.

    ``documents``: their first eight tokens each.

    With a ``start`` token the model reads it before the document and predicts x₁ from it. Without
    one it has nothing to predict x₁ from, and how often each token occurs has to do.
    """
    texts = np.array(documents)
    inputs, targets = texts[:, :-1], texts[:, 1:]
    with evaluating(model):
        if start is None:
            first = -np.log(unigram[texts[:, 0]])
        else:
            inputs = np.pad(inputs, ((0, 0), (1, 0)), constant_values=start)
            targets = np.pad(targets, ((0, 0), (1, 0)), constant_values=IGNORE)
            logits = model(inputs[:, :1]).numpy()[:, 0]
            first = -log_probabilities(logits)[np.arange(len(texts)), texts[:, 0]]
        soon = next_token_loss(model(inputs), targets).item()
    return float(first.mean()), soon


def unprompted(setup: Setup, model: GPT, start: int | None, unigram: np.ndarray) -> list[list[int]]:
    """The first tokens of texts written from nothing: after ``start``, or after a drawn token."""
    generator = np.random.default_rng(setup.seed)
    texts = []
    for _ in range(setup.settings["written"]):
        first = [] if start is not None else [int(generator.choice(len(unigram), p=unigram))]
        prompt = first if start is None else [start]
        rest = generate(model, prompt, WRITTEN - len(first), generator=generator)
        texts.append(first + rest)
    return texts


def capitals(texts: Sequence[str]) -> float:
    """The share that begins with a capital letter, in per cent."""
    return 100 * sum(text[:1].isupper() for text in texts) / len(texts)


def figure(measured: Sequence[Measured], settings: Mapping[str, Any]) -> Any:
    """What x₁ costs, and whether texts written from nothing begin like documents."""
    drawn, (cost, look) = panels(2.1, 1.9)
    bars(
        cost,
        measured,
        [WITH, LEFT_OUT, WITHOUT, COUNTED, "uniform"],
        FIRST,
        colors=[BLUE, OCHRE, RED, GREY, GREY],
    )
    cost.set(xlabel="nats for the first token of a document")
    bars(
        look,
        measured,
        [WITH, LEFT_OUT, WITHOUT, TEXT],
        CAPITAL,
        colors=[BLUE, OCHRE, RED, GREY],
        form="%.0f",
    )
    look.set(xlabel="texts that begin with a capital letter (%)")
    return drawn


SIZE = {
    "vocab_size": 1024,
    "num_layers": 2,
    "width": 128,
    "num_heads": 4,
    "context_length": 64,
    "batch_size": 16,
    "steps": 500,
    "written": 200,
}

CLAIM = Claim(
    name="first-token",
    title="Without a token for the beginning there is no model of the first one",
    statement=(
        "The chain rule needs p(x₁), which a model of continuations does not have. A separator "
        "before every document gives it one: the first token becomes cheaper, so do those after "
        "it, and texts written without a prompt begin as documents begin."
    ),
    lecture="05, section 2",
    measure=measure,
    expectations=(
        ahead("uniform", WITH, FIRST, 2.0, "documents begin alike"),
        ahead(WITHOUT, WITH, FIRST, 1.0, "first tokens are not any tokens"),
        ahead(LEFT_OUT, WITH, FIRST, 1.0, "what is left out is not learned"),
        ahead(WITHOUT, WITH, SOON, 0.1, "the separator says where we are"),
        ahead(WITH, WITHOUT, CAPITAL, 20.0, "sentences begin so, tokens do not"),
    ),
    figure=figure,
    scales={
        "quick": {
            **SIZE,
            **QUICK,
            "written": 20,
        },
        "small": SIZE,
        "full": {**SIZE, **FULL},
    },
    settings=[GPTSettings],
    own=(*OWN, "written"),
    rows="trained with",
    about=(
        "Documents of the English inside Python; losses are means over held-out documents of eight "
        "tokens or more, each read from its beginning. Without a separator, x₁ is given by how "
        "often each token occurs anywhere. 'x₁ not learned' is `GPTPretraining(separator=...)`, "
        "where no target is predicted from another document: what follows a separator is left out. "
        "`minissl pretrain gpt` learns it; until this experiment it did not."
    ),
)
