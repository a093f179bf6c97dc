"""Lecture 05: characters against subwords, in bits per byte and at equal compute."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from minissl.claims.claim import Claim, Measured, Setup, ahead, chosen
from minissl.claims.drawing import bars, level, line, panels, values
from minissl.claims.gpt_on_english import OWN, encoded, english, new_gpt, trained
from minissl.data.texts import Streams
from minissl.figures import label_ends
from minissl.models.gpt import GPTConfig
from minissl.palette import BLUE, GREY, OCHRE, RED
from minissl.pretrain.language.gpt import GPTSettings
from minissl.text.baselines import (
    bigram_loss,
    bits_per_byte,
    compressed_bits_per_byte,
)

COLORS = (RED, BLUE, OCHRE)
BITS = "bits per byte"


def measure(setup: Setup) -> Measured:
    """Train one GPT per vocabulary, each until the same number of operations is spent."""
    train, held_out = english(setup)
    budget = setup.settings["teraflop"] * 1e12
    table, curves, counted = {}, {}, {}
    for vocab_size in setup.settings["vocab_sizes"]:
        name = row(vocab_size)
        setup.note(name)
        data = encoded(train, held_out, vocab_size)
        settings = chosen(GPTSettings, setup)
        model = new_gpt(setup, settings, vocab_size)
        per_step = flops_per_step(model.config, settings.batch_size)
        settings = chosen(GPTSettings, setup, steps=max(1, round(budget / per_step)))
        history = trained(setup, model, data, settings)
        tokens = settings.steps * settings.batch_size * settings.context_length
        bytes_per_token = len(data.text) / len(data.stream)
        table[name] = {
            BITS: history[-1]["held_out_bits_per_byte"],
            "nats per token": history[-1]["held_out_loss"],
            "TFLOP": settings.steps * per_step / 1e12,
            "steps": settings.steps,
            "MB of text read": tokens * bytes_per_token / 1e6,
        }
        steps, bits = history.column("held_out_bits_per_byte")
        curves[name] = (steps[1:] * per_step / 1e12, bits[1:])
        counted[f"pairs of {name}"] = {BITS: pairs_bits_per_byte(data)}
    table |= counted
    text, before = data.held_out_text, data.text
    table["gzip"] = {BITS: compressed_bits_per_byte(text, method="gzip")}
    table["xz"] = {BITS: compressed_bits_per_byte(text, method="xz")}
    table["xz after the training text"] = {BITS: compressed_bits_per_byte(text, before)}
    return Measured(table, curves)


def row(vocab_size: int) -> str:
    """How a vocabulary is called; 257 are the bytes and the separator."""
    return "bytes" if vocab_size == 257 else f"BPE, {vocab_size:,}"


def flops_per_step(config: GPTConfig, batch_size: int) -> int:
    """Multiplications and additions of one training step, counted for the matrix products alone.

    Forward, for each token: 12 d² multiplications per block (attention's four projections 4 d², the
    MLP 8 d²), T d for its scores and its mixing (a causal token sees half of T keys), and V d for
    the logits. Each has an addition. The backward pass multiplies two matrices for every one of
    the forward pass.
    """
    d, length = config.width, config.context_length
    per_block = 4 * d * d + 2 * d * config.mlp_width + length * d
    multiplications = config.num_layers * per_block + config.vocab_size * d
    return 3 * 2 * multiplications * length * batch_size


def pairs_bits_per_byte(data: Streams) -> float:
    """What counting pairs of these tokens gives."""
    loss = bigram_loss(data.stream, data.held_out_stream, data.tokenizer.vocab_size)
    return bits_per_byte(loss, len(data.held_out_stream) - 1, len(data.held_out_text))


def figure(measured: Sequence[Measured], settings: Mapping[str, Any]) -> Any:
    """Bits per byte against compute; the end, beside what only counts or compresses."""
    names = [row(size) for size in settings["vocab_sizes"]]
    drawn, (curves, ends) = panels(3.0, 2.9)
    for name, color in zip(names, COLORS):
        line(curves, measured, name, color=color, marker="o", markersize=4)
    level(curves, values(measured, "gzip", BITS).mean(), "gzip")
    curves.set(xlabel="training operations (TFLOP)", ylabel="held-out bits per byte")
    label_ends(curves)
    others = [f"pairs of {name}" for name in names] + ["gzip", "xz", "xz after the training text"]
    colors = [*COLORS[: len(names)], *[GREY] * len(others)]
    bars(ends, measured, names + others, BITS, colors=colors)
    ends.set(xlabel="held-out bits per byte (shorter is better)")
    return drawn


SIZE = {
    "vocab_sizes": [257, 1024, 4096],
    "num_layers": 2,
    "width": 128,
    "num_heads": 4,
    "context_length": 128,
    "batch_size": 8,
    "evaluations": 4,
}

CLAIM = Claim(
    name="characters-and-subwords",
    title="Characters against subwords, at equal compute",
    statement=(
        "For the same number of operations a model of subwords predicts text better than a model "
        "of characters: each token it reads covers several of them. Losses per token say the "
        "opposite, and mean nothing across tokenizers; bits per byte can be compared."
    ),
    lecture="05, section 5",
    measure=measure,
    expectations=(
        ahead("bytes", "BPE, 1,024", BITS, 0.15, "more text for the same work"),
        ahead("bytes", "BPE, 4,096", BITS, 0.15, "more text for the same work"),
        ahead(
            "BPE, 1,024",
            "bytes",
            "nats per token",
            1.0,
            "a token that says more costs more: the loss per token points the other way",
        ),
        ahead("gzip", "BPE, 1,024", BITS, 0.3, "it has seen more text"),
    ),
    figure=figure,
    scales={
        "quick": {
            **SIZE,
            "documents": 300,
            "vocab_sizes": [257, 1024, 4096],
            "width": 16,
            "num_layers": 1,
            "context_length": 32,
            "teraflop": 0.004,
            "evaluations": 2,
        },
        "small": {**SIZE, "teraflop": 4},
        "full": {
            **SIZE,
            "teraflop": 300,
            "num_layers": 6,
            "width": 384,
            "num_heads": 6,
            "context_length": 256,
            "batch_size": 64,
            "learning_rate": 1e-3,
            "dropout": 0.2,
        },
    },
    settings=[GPTSettings],
    own=(*OWN, "vocab_sizes", "teraflop"),
    formats={"TFLOP": ".2f", "steps": ",.0f", "MB of text read": ".1f"},
    rows="model",
    about=(
        "English as it is inside Python, nearly all of it one byte per character, so that a model "
        "of bytes is one of characters. The same Transformer with the same context in tokens; the "
        "operations of its matrix products are counted, the logits' over the vocabulary included, "
        "and training stops when the budget is spent. Every vocabulary is learned from the "
        "training part. gzip and xz see the held-out text alone, except in the last row. Read the "
        "gap beside the budget: in a first run, with 0.9 TFLOP, it was 1.2 bits, and all models of "
        "subwords were behind counting pairs of their tokens. With 4 TFLOP it is 0.2 to 0.3, and "
        "the larger vocabulary, which has had the fewest steps, is still behind its pairs. How "
        "much is left after long training is for the full scale to show."
    ),
)
