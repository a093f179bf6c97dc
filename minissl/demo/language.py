"""The demo's first half: a tokenizer and a small GPT on the English that ships with Python."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from minissl import figures
from minissl.adapt.watching import KNN, RANK, usual_watch
from minissl.data.texts import Streams, Texts
from minissl.demo import sentences
from minissl.models.generate import generate
from minissl.models.gpt import GPT
from minissl.page import Page
from minissl.pretrain.language.gpt import GPTPretraining, GPTSettings
from minissl.pretrain.run import pretrain
from minissl.report.readings import course
from minissl.text import show_tokens
from minissl.text.baselines import (
    bigram_loss,
    bits_per_byte,
    compressed_bits_per_byte,
    unigram_loss,
)
from minissl.text.corpora import python_english
from minissl.training import History

PROMPTS = ("Return a list of", "The import statement", "Raise an exception if")
SENTENCE = "The value of the expression is returned, or None if the file is not found."


def language_demo(
    page: Page, folder: Path, settings: GPTSettings, *, seed: int, device: str, progress: bool
) -> dict[str, Any]:
    """Pretrain, measure, and write this half of the page. Returns the numbers of the report."""
    started = time.perf_counter()
    documents = python_english()
    method, data, history = pretrain(
        GPTPretraining,
        Texts(documents),
        settings,
        folder,
        seed=seed,
        device=device,
        progress=progress and "GPT",
        watch=usual_watch(GPTPretraining, settings, Texts(documents), None),
    )
    model = method.model
    results = {
        "documents": len(documents),
        "bytes": len(data.text) + len(data.held_out_text),
        "training_tokens": len(data.stream),
        "held_out_tokens": len(data.held_out_stream),
        "parameters": model.num_parameters(),
        "settings": asdict(settings),
        **measure(data, history),
        "samples": [sample(model, data, prompt, seed) for prompt in PROMPTS],
    }
    results["seconds"] = round(time.perf_counter() - started, 1)
    _write(page, results, model, data, history)
    return results


def measure(data: Streams, history: History) -> dict[str, Any]:
    """Held-out loss of the GPT and of what it must beat, in nats per token and bits per byte."""
    targets, size = len(data.held_out_stream) - 1, len(data.held_out_text)
    vocab_size = data.tokenizer.vocab_size
    nats = {
        "uniform": float(np.log(vocab_size)),
        "unigram": unigram_loss(data.stream, data.held_out_stream, vocab_size),
        "bigram": bigram_loss(data.stream, data.held_out_stream, vocab_size),
        "GPT": history[-1]["held_out_loss"],
    }
    bits = {name: bits_per_byte(loss, targets, size) for name, loss in nats.items()}
    held_out, train = data.held_out_text, data.text
    bits["gzip"] = compressed_bits_per_byte(held_out, method="gzip")
    bits["xz"] = compressed_bits_per_byte(held_out, method="xz")
    bits["xz after the training text"] = compressed_bits_per_byte(held_out, train, method="xz")
    return {"first_loss": history[1]["loss"], "nats_per_token": nats, "bits_per_byte": bits}


def sample(model: GPT, data: Streams, prompt: str, seed: int) -> str:
    """A prompt and what the model makes of it."""
    separator = data.separator
    ids = generate(
        model,
        [separator, *data.tokenizer.encode(prompt)],
        50,
        temperature=0.7,
        top_k=40,
        generator=np.random.default_rng(seed),
        stop=[separator],
    )
    return prompt + data.tokenizer.decode([i for i in ids if i != separator])


def _write(
    page: Page, results: dict[str, Any], model: GPT, data: Streams, history: History
) -> None:
    nats, bits = results["nats_per_token"], results["bits_per_byte"]
    page.heading("1 · Text: predict the next token")
    page.text(
        f"The text is the English that ships with Python: {results['documents']:,} documents, "
        f"{results['bytes'] / 1e6:.1f} MB. Nobody labelled it: each token is the label of those "
        f"before it. First a tokenizer learns {data.tokenizer.vocab_size:,} pieces of words from "
        "the text itself; common words become one piece, rare ones several:"
    )
    page.raw(show_tokens(data.tokenizer, SENTENCE)._repr_html_())
    page.text(
        f"Then a GPT with {results['parameters'] / 1e6:.1f} million parameters learns to continue "
        f"it. It begins knowing nothing: its first loss is {results['first_loss']:.2f}, that of "
        f"guessing among all tokens is ln({data.tokenizer.vocab_size}) = {nats['uniform']:.2f}. "
        f"On {results['held_out_tokens']:,} tokens of documents it never saw it ends at "
        f"{nats['GPT']:.2f} nats per token; {sentences.against_counting(nats)}"
    )
    steps, losses = history.column("loss")
    held_out = list(zip(*history.column("held_out_loss")))
    levels = {"uniform": nats["uniform"], "unigram": nats["unigram"], "bigram": nats["bigram"]}
    page.figure(
        figures.language_loss(steps, losses, held_out, levels),
        "Loss during pretraining, the lower the better; the horizontal lines are three models that "
        f"only count. {sentences.loss_seen(nats)}",
        sentences.curve_description(nats),
    )
    page.text(
        "Bits per byte compare what has different tokens. A model that predicts well is a good "
        "compressor, and the other way round: xz is allowed to see the training text as well, and "
        "may copy from it."
    )
    page.figure(
        figures.bits_per_byte(bits, best="GPT"),
        f"The same held-out text, the shorter the better. {sentences.bits_seen(bits)}",
        "Bars of bits per byte: " + ", ".join(f"{n} {v:.2f}" for n, v in bits.items()),
    )
    if RANK in history[-1] and KNN in history[-1]:
        page.figure(
            figures.curves({"k-NN accuracy": history.column(KNN), "rank": history.column(RANK)}),
            "On the way: from which of twelve packages a docstring is, by the vote of its nearest "
            "neighbors, and how many directions the states of the GPT use (the effective rank). "
            "Nothing was trained on these labels. "
            f"{course('k-NN accuracy', *history.column(KNN))} "
            f"{course('rank', *history.column(RANK))}",
            "Two curves against the step: accuracy of neighbors, effective rank",
        )
    page.text("What it writes (the first words are ours; temperature 0.7, top 40):")
    for text in results["samples"]:
        page.code(text)
    ids = data.tokenizer.encode(SENTENCE)[: model.config.context_length]
    weights = model.attention_weights(np.array([ids]))[-1][0]  # (heads, time, time)
    tokens = [data.tokenizer.decode([i]) for i in ids]
    page.figure(
        figures.attention_map(weights, tokens),
        "Who looks at whom in the last layer: each row is a token, which takes from the tokens at "
        "or before it, the darker the more. Nobody can look ahead. "
        + sentences.head_seen(weights, tokens, figures.telling_head(weights)),
        "Attention weights of each head, lower triangular",
    )
