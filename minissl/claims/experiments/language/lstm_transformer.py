"""Lecture 05: an LSTM against a Transformer, of as many weights, and for as many operations."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.claims.claim import Cell, Claim, Expectation, Measured, Setup, ahead, chosen
from minissl.claims.drawing import level, line, panels, values
from minissl.claims.gpt_on_english import OWN, encoded, english
from minissl.data.texts import Streams
from minissl.figures import label_ends, legend
from minissl.losses.language_modeling import next_token_loss
from minissl.models.gpt import GPT
from minissl.nn.evaluating import evaluating
from minissl.palette import BLUE, OCHRE, RED
from minissl.pretrain.language.gpt import GPTPretraining, GPTSettings
from minissl.pretrain.language.lstm import LSTMPretraining, LSTMSettings
from minissl.pretrain.run import train
from minissl.text.baselines import bigram_loss, bits_per_byte, unigram_loss

TRANSFORMER, LSTM, MORE = "Transformer", "LSTM", "LSTM, equal operations"
STYLES = {
    TRANSFORMER: {"color": BLUE},
    LSTM: {"color": RED},
    MORE: {"color": OCHRE},
}
PAIRS = "pairs of tokens, counted"
BITS, WEIGHTS, WORK = "bits per byte", "weights", "TFLOP"
READ, SPENT = "million tokens read", "CPU ms per step"
EARLY, LATE, GAIN = "nats after 8 to 15 tokens", "nats after 64 or more", "gain by context"
STRIDE = 32  # tokens between the windows in which the context is counted


def measure(setup: Setup) -> Measured:
    """Train both on the same number of tokens, then the LSTM on as many as the work allows."""
    train_texts, held_out = english(setup)
    data = encoded(train_texts, held_out, setup.settings["vocab_size"])
    table: dict[str, dict[str, float]] = {}
    curves: dict[str, Any] = {}
    budget = 0
    for name, build in ((TRANSFORMER, transformer), (LSTM, lstm), (MORE, lstm)):
        setup.note(name)
        settings, method, per_step = build(setup, data)
        budget = budget or settings.steps * per_step
        if name == MORE:
            settings = replace(settings, steps=max(1, round(budget / per_step)))
        begun = time.process_time()
        history = train(method, settings, seed=setup.seed, progress=False)
        spent = time.process_time() - begun
        by_tokens = by_context(method.network, windows_of(data, settings.context_length))
        tokens = settings.batch_size * settings.context_length
        table[name] = {
            BITS: history[-1]["held_out_bits_per_byte"],
            WEIGHTS: sum(p.size for p in method.network.parameters()),
            WORK: settings.steps * per_step / 1e12,
            READ: settings.steps * tokens / 1e6,
            SPENT: 1000 * spent / settings.steps,
            EARLY: float(by_tokens[7:15].mean()),
            LATE: float(by_tokens[63:].mean()),
        }
        table[name][GAIN] = table[name][EARLY] - table[name][LATE]
        when, bits = history.column("held_out_bits_per_byte")
        curves[f"{name}, bits"] = (when[1:] * per_step / 1e12, bits[1:])
        curves[f"{name}, context"] = in_octaves(by_tokens)
    return Measured(table | counted(data), curves)


def transformer(setup: Setup, data: Streams) -> tuple[GPTSettings, GPTPretraining, int]:
    """A GPT with an output of its own, as the LSTM has; and the operations of a step."""
    settings = chosen(GPTSettings, setup)
    config = replace(settings.config(data.tokenizer.vocab_size), tied_output=False)
    model = GPT(config, generator=np.random.default_rng(setup.seed))
    method = GPTPretraining(
        model, data.stream, batch_size=settings.batch_size, held_out=data.held_out_stream,
        held_out_bytes=len(data.held_out_text),
    )  # fmt: skip
    method.to(setup.device)
    d, length = config.width, config.context_length
    per_block = 4 * d * d + 2 * d * config.mlp_width + length * d  # a token sees half of the keys
    return (
        settings,
        method,
        operations(settings, config.num_layers * per_block + config.vocab_size * d),
    )


def lstm(setup: Setup, data: Streams) -> tuple[LSTMSettings, LSTMPretraining, int]:
    """An LSTM that carries its state from window to window; and the operations of a step."""
    width, layers = setup.settings["lstm_width"], setup.settings["lstm_layers"]
    settings = chosen(LSTMSettings, setup, width=width, num_layers=layers)
    method = LSTMPretraining.build(settings, data, seed=setup.seed)
    method.to(setup.device)
    d, vocab_size = settings.width, data.tokenizer.vocab_size
    return settings, method, operations(settings, layers * 8 * d * d + vocab_size * d)


def operations(settings: GPTSettings | LSTMSettings, multiplications: int) -> int:
    """Of a step, from the multiplications for a token in the matrix products of the forward pass.

    Each has an addition, and the backward pass has two products for every one.
    """
    return 3 * 2 * multiplications * settings.context_length * settings.batch_size


def windows_of(data: Streams, length: int) -> NDArray[np.int64]:
    """Windows (windows, length + 1) of held-out text, none of which has a separator."""
    stream = data.held_out_stream.astype(np.int64)
    ends = np.append(np.flatnonzero(stream == data.separator), len(stream))
    starts = np.append(0, ends[:-1] + 1)
    found = [i for a, b in zip(starts, ends) for i in range(a, b - length, STRIDE)]
    return stream[np.array(found)[:, None] + np.arange(length + 1)]


def by_context(model: Any, windows: NDArray[np.int64]) -> NDArray[np.float64]:
    """The mean nats of the token after so many: (length,), from 1; nothing before is known."""
    losses = []
    with evaluating(model):
        for i in range(0, len(windows), 32):
            part = windows[i : i + 32]
            losses.append(
                next_token_loss(model(part[:, :-1]), part[:, 1:], reduction="none").numpy()
            )
    return np.concatenate(losses).mean(axis=0, dtype=np.float64)


def in_octaves(losses: NDArray[np.float64]) -> tuple[list[int], list[float]]:
    """Means of the losses after 1, 2 to 3, 4 to 7, ... tokens, and where each begins."""
    firsts = [2**i for i in range(len(losses).bit_length() - 1)]
    ends = [*firsts[1:], len(losses) + 1]
    return firsts, [float(losses[a - 1 : b - 1].mean()) for a, b in zip(firsts, ends)]


def counted(data: Streams) -> dict[str, dict[str, float]]:
    """What counting pairs and tokens gives, and every token being as likely."""
    vocab_size, tokens = data.tokenizer.vocab_size, data.held_out_stream
    losses = {
        PAIRS: bigram_loss(data.stream, tokens, vocab_size),
        "tokens, counted": unigram_loss(data.stream, tokens, vocab_size),
        "uniform": float(np.log(vocab_size)),
    }
    size = len(data.held_out_text)
    return {row: {BITS: bits_per_byte(loss, len(tokens) - 1, size)} for row, loss in losses.items()}


def figure(measured: Sequence[Measured], settings: Mapping[str, Any]) -> Any:
    """Bits per byte against operations; below, what each token of context is worth."""
    drawn, (work, context) = panels(3.0, 3.0)
    for name, style in STYLES.items():
        line(work, measured, f"{name}, bits", label=name, marker="o", markersize=3, **style)
    level(work, values(measured, PAIRS, BITS).mean(), PAIRS)
    work.set(xlabel="training operations (TFLOP)", ylabel="held-out bits per byte")
    for name in (TRANSFORMER, LSTM):
        line(context, measured, f"{name}, context", label=name, marker="o", **STYLES[name])
    context.set_xscale("log", base=2)
    context.set(xlabel="tokens read before (1, 2 to 3, 4 to 7, ...)", ylabel="nats of the next one")
    legend(work, loc="lower left", fontsize=9)
    label_ends(context)
    return drawn


def expected() -> list[Expectation]:
    """Written before either was trained: with so few weights and so little text the LSTM leads."""
    early = "one pass over a million tokens: where to look has to be learned, a recurrence has it"
    return [
        ahead(PAIRS, TRANSFORMER, BITS, 0.02, "both see more than one token back"),
        ahead(PAIRS, LSTM, BITS, 0.02),
        ahead(TRANSFORMER, LSTM, BITS, 0.02, early),
        ahead(TRANSFORMER, MORE, BITS, 0.02, "and all the more for equal operations"),
        Expectation(
            Cell(TRANSFORMER, GAIN), Cell(LSTM, GAIN), 0.02,
            "attention reaches what is far back, a state has to carry it: Kaplan et al., figure 7",
        ),
    ]  # fmt: skip


SIZE = {
    "vocab_size": 512,
    "num_layers": 2,
    "width": 96,
    "num_heads": 4,
    "lstm_layers": 1,
    "lstm_width": 150,
    "context_length": 128,
    "batch_size": 8,
    "evaluations": 4,
}

CLAIM = Claim(
    name="lstm-transformer",
    title="LSTM or Transformer, at equal size and at equal work",
    statement=(
        "Of two small networks with as many weights, that read the same text once, the LSTM "
        "predicts better; also where both spend the same operations on more text. But what is far "
        "back helps the Transformer more: the longer the context, the smaller its distance."
    ),
    lecture="05, section 12",
    measure=measure,
    expectations=expected(),
    figure=figure,
    scales={
        "quick": {
            **SIZE,
            "documents": 300,
            "width": 32,
            "lstm_width": 44,
            "context_length": 64,
            "batch_size": 8,
            "steps": 5,
            "evaluations": 1,
        },
        "small": {**SIZE, "steps": 800},
        "full": {
            **SIZE,
            "vocab_size": 4096,
            "width": 384,
            "num_heads": 6,
            "context_length": 256,
            "batch_size": 32,
            "dropout": 0.2,
            "num_layers": 6,
            "lstm_layers": 2,
            "lstm_width": 710,
            "steps": 1500,
            "learning_rate": 1e-3,
        },
    },
    settings=[GPTSettings, LSTMSettings],
    own=(*OWN, "lstm_layers", "lstm_width"),
    formats={BITS: ".3f", WEIGHTS: ",.0f", SPENT: ".0f"},
    rows="model",
    about=(
        "English as it is inside Python, 512 subwords; both read 0.8 million tokens, of a million "
        "that there are. Each has token vectors and an output of its own. "
        "The Transformer reads windows from random places; the LSTM reads eight lanes and carries "
        "its state along, and its gradient reaches back as far as the Transformer sees. Work is "
        "counted in operations of the matrix products, forward and backward, the logits' included: "
        "seconds are beside it, but on a shared machine they varied by a factor of two, and what "
        "they say of an LSTM, whose steps wait for each other, is true of one machine only. Bits "
        "per byte are those of `evaluate`: windows that overlap by half, or the carried state. The "
        "gain by context is the loss after 8 to 15 tokens minus that after 64 or more, inside "
        "held-out documents, read from nothing in one pass; documents begin with what is easy, so "
        "that it is below 0 for all, and only its differences say something. Learning rates are "
        "the library's, 0.003 and 0.01, tuned for neither. With seed 100 an LSTM of three layers, "
        "as wide as the Transformer, came first, and did not learn (4.1 nats per token after 670 "
        "steps). The Transformer has hardly begun: it is little ahead of counting pairs, does not "
        "use a far context yet, and a wider one has 2.12 bits after 4 TFLOP (the claim "
        "characters-and-subwords). Nothing here says what larger networks do with more text."
    ),
)
