"""Lecture 10: what temperature, top-k and top-p do to samples, and what a cache saves."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from minissl.autograd.threads import engine_threads
from minissl.claims.claim import Cell, Claim, Expectation, Measured, Setup, ahead, chosen
from minissl.claims.drawing import level, line, panels, values
from minissl.claims.gpt_on_english import (
    FULL,
    OWN,
    QUICK,
    encoded,
    english,
    log_probabilities,
    new_gpt,
    trained,
)
from minissl.figures import label_ends
from minissl.models import decode
from minissl.models.generate import generate, next_token_logits
from minissl.models.gpt import GPT
from minissl.nn.evaluating import evaluating
from minissl.palette import BLUE, GREY, OCHRE, RED
from minissl.pretrain.language.gpt import GPTSettings

PROMPT, NGRAM = 8, 4
TEXT, CACHED, ANEW = "the text itself", "with a cache", "without a cache"
JUDGED, REPEATED, DISTINCT = "judge's nats per token", "repeated (%)", "distinct (%)"
WAYS: dict[str, dict[str, Any]] = {
    "greedy": {"temperature": 0},
    "temperature 0.3": {"temperature": 0.3},
    "temperature 0.5": {"temperature": 0.5},
    "temperature 0.7": {"temperature": 0.7},
    "temperature 1": {"temperature": 1.0},
    "temperature 1.3": {"temperature": 1.3},
    "top-k 40": {"top_k": 40},
    "top-p 0.9": {"top_p": 0.9},
}
CURVE = ("greedy", *(name for name in WAYS if name.startswith("temperature")))


def measure(setup: Setup) -> Measured:
    """Two models learn from two halves of the text: one writes, the other judges."""
    train, held_out = english(setup)
    data = encoded(train, held_out, setup.settings["vocab_size"])
    settings, vocab_size = chosen(GPTSettings, setup), data.tokenizer.vocab_size
    middle = len(data.stream) // 2
    models = []
    for number, half in enumerate((data.stream[:middle], data.stream[middle:])):
        setup.note(("writer", "judge")[number])
        model = new_gpt(setup, settings, vocab_size, number=number)
        trained(setup, model, replace(data, stream=half), settings, held_out=False)
        models.append(model)
    writer, judge = models
    texts = held_out_texts(data.held_out_stream, setup.settings)
    table = {TEXT: describe(judge, texts)}
    for name, way in WAYS.items():
        setup.note(name)
        table[name] = describe(judge, continuations(writer, texts, setup.seed, **way))
    curves: dict[str, Any] = {
        column: (
            [WAYS[name]["temperature"] for name in CURVE],
            [table[name][column] for name in CURVE],
        )
        for column in (JUDGED, REPEATED, DISTINCT)
    }
    setup.note("cache")
    timed, costs = cost_of_a_token(setup, vocab_size)
    same = continuations(writer, texts[:4], setup.seed, cache=False)
    agree = same == continuations(writer, texts[:4], setup.seed)
    table[CACHED] = {**timed[CACHED], "same tokens (%)": 100 * float(agree.mean())}
    table[ANEW] = timed[ANEW]
    return Measured(table, curves | costs)


def held_out_texts(stream: np.ndarray, settings: Mapping[str, Any]) -> np.ndarray:
    """Pieces of held-out text, at equal distances: (texts, PROMPT + written)."""
    length = PROMPT + settings["written"]
    starts = np.linspace(0, len(stream) - length, settings["texts"]).astype(int)
    return stream[starts[:, None] + np.arange(length)]


def continuations(writer: GPT, texts: np.ndarray, seed: int, **way: Any) -> np.ndarray:
    """The beginning of each text, continued by the model to the same length."""
    written = [
        generate(
            writer,
            text[:PROMPT],
            len(text) - PROMPT,
            generator=np.random.default_rng([seed, number]),
            **way,
        )
        for number, text in enumerate(texts)
    ]
    return np.concatenate([texts[:, :PROMPT], written], axis=1)


def describe(judge: GPT, texts: np.ndarray) -> dict[str, float]:
    """How surprising another model finds what follows the prompts, and how it repeats itself.

    Distinct: different sequences of four tokens, of all there are. Repeated: those that occurred
    earlier in the same text.
    """
    with evaluating(judge):
        predicted = log_probabilities(judge(texts[:, :-1]).numpy())
    chosen = np.take_along_axis(predicted, texts[:, 1:, None], axis=-1)[:, PROMPT - 1 :]
    after = [[tuple(t[i : i + NGRAM]) for i in range(len(t) - NGRAM + 1)] for t in texts.tolist()]
    after = [ngrams[PROMPT:] for ngrams in after]
    total = sum(map(len, after))
    return {
        JUDGED: float(-chosen.mean()),
        REPEATED: 100 * sum(len(ngrams) - len(set(ngrams)) for ngrams in after) / total,
        DISTINCT: 100 * len({ngram for ngrams in after for ngram in ngrams}) / total,
    }


def cost_of_a_token(
    setup: Setup, vocab_size: int
) -> tuple[dict[str, dict[str, float]], dict[str, Any]]:
    """Milliseconds for one more token after texts of several lengths, with and without a cache.

    The best of several tries, with a model of fresh weights and a long context: what it says does
    not matter here. One thread, as ``generate`` uses; on a GPU by the clock, else processor time.
    """
    lengths = setup.settings["lengths"]
    settings = chosen(GPTSettings, setup, context_length=max(lengths) + 1)
    model = new_gpt(setup, settings, vocab_size)
    quick = decode.applies_to(model)
    clock = time.perf_counter if setup.device.startswith("cuda") else time.process_time
    tokens = np.random.default_rng(setup.seed).integers(vocab_size, size=max(lengths) + 1).tolist()
    curves: dict[str, Any] = {CACHED: (lengths, []), ANEW: (lengths, [])}
    with engine_threads(1), evaluating(model):
        for length in lengths:
            best = {CACHED: np.inf, ANEW: np.inf}
            for _ in range(setup.settings["tries"]):
                caches = model.new_caches()
                next_token_logits(model, tokens[:length], caches)
                started = clock()
                next_token_logits(model, tokens[: length + 1], caches, quick=quick)
                best[CACHED] = min(best[CACHED], clock() - started)
                started = clock()
                next_token_logits(model, tokens[: length + 1])
                best[ANEW] = min(best[ANEW], clock() - started)
            for name, seconds in best.items():
                curves[name][1].append(1e3 * seconds)
    table = {
        name: {
            "ms for a token, short": curves[name][1][0],
            "ms for a token, long": curves[name][1][-1],
        }
        for name in (CACHED, ANEW)
    }
    for row in table.values():
        row["times as long"] = row["ms for a token, long"] / table[CACHED]["ms for a token, long"]
    return table, curves


def figure(measured: Sequence[Measured], settings: Mapping[str, Any]) -> Any:
    """The judge's loss, repetition, and the cost of a token."""
    drawn, (judged, repeated, cost) = panels(2.2, 2.2, 2.2)
    line(judged, measured, JUDGED, color=BLUE, marker="o", markersize=4)
    level(judged, values(measured, TEXT, JUDGED).mean(), TEXT)
    judged.set(ylabel="judge's loss\n(nats per token)")
    line(repeated, measured, DISTINCT, color=OCHRE, marker="o", ms=4, label="distinct")
    line(repeated, measured, REPEATED, color=RED, marker="o", ms=4, label="repeated")
    level(repeated, values(measured, TEXT, REPEATED).mean(), f"repeated in {TEXT}")
    repeated.set(xlabel="temperature (0 is greedy)", ylabel="four tokens\nin a row (%)")
    line(cost, measured, ANEW, color=GREY, marker="o", markersize=4)
    line(cost, measured, CACHED, color=BLUE, marker="o", markersize=4)
    cost.set(xlabel="tokens so far", ylabel="ms for one more token")
    cost.set(xscale="log", yscale="log")
    cost.set_xticks(settings["lengths"], [str(length) for length in settings["lengths"]])
    cost.minorticks_off()
    cost.yaxis.set_major_formatter("{x:g}")
    for axis in (repeated, cost):
        label_ends(axis)
    return drawn


SIZE = {
    "vocab_size": 1024,
    "num_layers": 2,
    "width": 128,
    "num_heads": 4,
    "context_length": 128,
    "batch_size": 8,
    "steps": 300,
    "texts": 24,
    "written": 100,
    "lengths": [64, 128, 256, 512, 1024],
    "tries": 5,
}

CLAIM = Claim(
    name="sampling",
    title="Temperature trades quality for variety, and a cache only saves time",
    statement=(
        "Low temperatures write what a model finds likely, and repeat themselves; high ones write "
        "what it finds surprising; the text itself lies between. Keeping the keys and values of "
        "earlier tokens changes no token, and a token no longer costs a pass over the whole text."
    ),
    lecture="10, section 3",
    measure=measure,
    expectations=(
        ahead("greedy", TEXT, REPEATED, 20.0, "the likeliest leads in circles"),
        ahead("temperature 1", "greedy", DISTINCT, 20.0, "chance is variety"),
        ahead(
            "temperature 1.3",
            "temperature 0.7",
            JUDGED,
            1.0,
            "unlikely tokens are drawn more often",
        ),
        ahead(
            TEXT,
            "greedy",
            JUDGED,
            0.5,
            "people do not write what is likeliest",
        ),
        ahead("temperature 1", "top-p 0.9", JUDGED, 0.2, "the tail is cut off"),
        ahead("temperature 1", "top-k 40", JUDGED, 0.2, "the tail is cut off"),
        Expectation(Cell(CACHED, "same tokens (%)"), 0.0, 100.0, "the cache is exact"),
        Expectation(
            Cell(ANEW, "times as long"), 0.0, 5.0, "after 1,024 tokens: all is computed again"
        ),
    ),
    figure=figure,
    scales={
        "quick": {
            **SIZE,
            **QUICK,
            "written": 20,
            "texts": 6,
            "lengths": [16, 64],
            "tries": 2,
        },
        "small": SIZE,
        "full": {
            **SIZE,
            **FULL,
            "texts": 100,
            "written": 200,
        },
    },
    settings=[GPTSettings],
    own=(*OWN, "texts", "written", "lengths", "tries"),
    formats={
        "same tokens (%)": ".0f",
        "times as long": ".3g",
        REPEATED: ".0f",
        DISTINCT: ".0f",
        "ms for a token, short": ".3g",
        "ms for a token, long": ".3g",
    },
    rows="written with",
    about=(
        "Two GPTs of the same size learn from two halves of the English inside Python; one "
        "continues held-out texts after eight tokens, the other judges. At the default scale both "
        "read some 300,000 tokens, so that what they write is poor: compare the ways, not the "
        "levels. Repeated and distinct are counted in four tokens in a row. A token's time is the "
        "best of several tries, on the CPU processor time of one thread, for a text of 64 tokens "
        "(short) and of 1,024 (long)."
    ),
)
