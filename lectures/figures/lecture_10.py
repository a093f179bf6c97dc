"""Figures of lecture 10: temperature, cut distributions, cache, greedy loops, growth by year."""

import csv
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.colors import ListedColormap

from minissl.data.texts import Streams, encode_documents
from minissl.figures import legend, new_figure
from minissl.losses.language_modeling import next_token_loss
from minissl.models.generate import generate, next_token_logits, next_token_probabilities
from minissl.models.gpt import GPT
from minissl.nn import evaluating
from minissl.palette import (
    BLUE,
    BLUE_TINT,
    EDGES,
    GREY,
    GREY_TINT,
    OCHRE,
    PAPER,
    RED,
    SOFT_INK,
    look,
)
from minissl.pretrain.language.gpt import GPTPretraining, GPTSettings
from minissl.pretrain.run import train
from minissl.text import Tokenizer
from minissl.text.corpora import python_english
from minissl.text.documents import SEPARATOR, split_documents

DONE = ListedColormap([PAPER, BLUE_TINT, BLUE])  # not there, read from the cache, computed
LOGITS = np.array([2.0, 1.0, 0.0, -1.0])  # of section 4
PROMPTS = ("It can be used", "Return True if the", "The")
TEMPERATURES = (0.0, 0.3, 0.5, 0.7, 0.9, 1.0, 1.2, 1.5)


def temperature() -> Any:
    """The four logits of the worked example at three temperatures."""
    figure, (axis,) = new_figure(width=5.6, height=3.0)
    looks = ((0.5, RED, "..."), (1.0, BLUE, ""), (2.0, OCHRE, "///"))
    for i, (value, color, hatch) in enumerate(looks):
        p = next_token_probabilities(LOGITS, temperature=value)
        bars = axis.bar(
            np.arange(4) + 0.27 * (i - 1), p, 0.26, facecolor=color, edgecolor=PAPER, linewidth=0,
            hatch=hatch, label=f"temperature {value:g}",
        )  # fmt: skip
        axis.bar_label(bars, fmt="%.2f", fontsize=8)
    axis.set_xticks(range(4), [f"logit {logit:g}" for logit in LOGITS])
    axis.set(ylabel="probability", ylim=(0, 1))
    legend(axis)
    return figure


@functools.cache
def trained(steps: int = 400) -> tuple[GPT, Streams, float]:
    """A GPT on the English inside Python after half a minute, its data, its held-out loss."""
    learned, held_out = split_documents(python_english())
    texts = [document.text for document in learned]
    data = encode_documents(
        learned, held_out, Tokenizer.train(texts, 1024, special_tokens=[SEPARATOR])
    )
    settings = GPTSettings(
        num_layers=2, width=96, num_heads=4, context_length=64, batch_size=16, steps=steps
    )
    model = GPT(settings.config(1024), generator=np.random.default_rng(0))
    method = GPTPretraining(model, data.stream, batch_size=16, held_out=data.held_out_stream)
    history = train(method, settings, progress=False)
    return model, data, float(history[-1]["held_out_loss"])


def cuts() -> Any:
    """What a trained GPT says after two prompts, and where top_k and top_p cut it."""
    model, data, _ = trained()
    separator = data.tokenizer.special_tokens[SEPARATOR]
    figure, axes = new_figure(rows=2, width=5.6, height=5.6)
    for axis, prompt in zip(axes, PROMPTS[:2]):
        with evaluating(model):
            tokens = [separator, *data.tokenizer.encode(prompt)]
            logits = next_token_logits(model, tokens)
        p = next_token_probabilities(logits)
        order = np.argsort(-p, kind="stable")[:20]
        kept = int((next_token_probabilities(logits, top_p=0.8) > 0).sum())
        names = [data.tokenizer.decode([i]).replace(" ", "·").replace("\n", "↵") for i in order]
        names = ["(end)" if i == separator else name for i, name in zip(order, names)]
        colors = [BLUE if i < 10 else GREY_TINT for i in range(20)]
        axis.bar(range(20), p[order], color=colors, edgecolor=[EDGES.get(c, c) for c in colors])
        axis.axvline(9.5, color=BLUE, linewidth=1)
        axis.text(9.6, p.max(), "top_k = 10", color=BLUE, fontsize=9, va="top")
        if kept <= 20:
            axis.axvline(kept - 0.5, color=RED, linewidth=1, linestyle="--")
        axis.text(
            min(kept - 0.4, 10), 0.6 * p.max(), f"top_p = 0.8: {kept} tokens", color=RED, fontsize=9
        )
        axis.set_xticks(range(20), names, rotation=90, fontsize=9)
        axis.set(ylabel="probability")
        axis.set_title(f"“{prompt} …”", fontsize=10)
    return figure


def cache() -> Any:
    """Which tokens go through the model at each step, with and without the cache."""
    figure, axes = new_figure(columns=2, width=5.6, height=3.4)
    prompt, steps = 3, 7
    for axis, cached in zip(axes, (False, True)):
        work = np.zeros((steps, prompt + steps - 1))
        for step in range(steps):
            known = prompt + step
            work[step, :known] = 1
            work[step, (known - 1 if cached and step else 0) : known] = 2
        axis.pcolormesh(work, cmap=DONE, vmin=0, vmax=2, edgecolor=PAPER, linewidth=1.5)
        axis.invert_yaxis()
        axis.set(xlabel="token", ylabel="step", aspect="equal")
        total = int((work == 2).sum())
        axis.set_title(f"{'cache' if cached else 'no cache'}: {total} tokens computed", fontsize=10)
        axis.set_xticks(np.arange(work.shape[1]) + 0.5, range(work.shape[1]))
        axis.set_yticks(np.arange(steps) + 0.5, range(steps))
        axis.spines[:].set_visible(False)
        axis.tick_params(length=0)
    return figure


def repeated_share(tokens: list[int], size: int = 4) -> float:
    """The share of the runs of ``size`` tokens that were there before."""
    runs = [tuple(tokens[i : i + size]) for i in range(len(tokens) - size + 1)]
    return 1 - len(set(runs)) / len(runs)


@functools.cache
def samples(value: float) -> tuple[float, float]:
    """Mean over 8 texts of 120 tokens: repeated runs of 4, and nats per token at T = 1."""
    model, data, _ = trained()
    separator = data.tokenizer.special_tokens[SEPARATOR]
    shares, nats = [], []
    for seed in range(8):
        prompt = [separator, *data.tokenizer.encode(PROMPTS[seed % 3])]
        out = generate(model, prompt, 120, temperature=value, generator=np.random.default_rng(seed))
        shares.append(repeated_share(out))
        text = np.array([[*prompt, *out]])[:, -65:]
        with evaluating(model):
            losses = next_token_loss(model(text[:, :-1]), text[:, 1:], reduction="none")
        nats.append(losses.numpy()[0, 16:].mean())
    return float(np.mean(shares)), float(np.mean(nats))


def loops() -> Any:
    """Repetition and surprise of sampled text against the temperature."""
    _, _, held_out = trained()
    figure, (share, nats) = new_figure(rows=2, width=5.6, height=5.0)
    measured = np.array([samples(value) for value in TEMPERATURES])
    share.plot(TEMPERATURES, measured[:, 0], color=RED, marker="o", markersize=4)
    share.set(ylabel="repeated runs of 4 tokens", ylim=(0, 1), xlabel="temperature (0: greedy)")
    nats.plot(TEMPERATURES, measured[:, 1], color=BLUE, marker="o", markersize=4)
    nats.axhline(held_out, color=GREY, linestyle="--", linewidth=1)
    nats.annotate("real held-out text", (0, held_out), fontsize=9, va="bottom", color=SOFT_INK)
    nats.set(ylabel="nats per token of the text", ylim=(0, None), xlabel="temperature (0: greedy)")
    return figure


class Published(NamedTuple):
    """A model of ``10_growth.csv``; NaN where no number was published, or none that is sure."""

    name: str
    year: float  # the middle of the month
    parameters: float
    tokens: float
    estimate: float  # 6 · parameters that a token meets · tokens
    operations: float  # as published


@functools.cache
def published() -> list[Published]:
    """The table, oldest first."""
    with (Path(__file__).parent / "10_growth.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    found = []
    for row in rows:
        year, month = map(int, row["date"].split("-"))
        keys = ("parameters", "tokens", "operations")
        parameters, tokens, operations = (float(row[key] or "nan") for key in keys)
        met = float(row["active"] or parameters)
        found.append(
            Published(
                row["model"], year + (month - 0.5) / 12, parameters, tokens, 6 * met * tokens,
                operations,
            )
        )  # fmt: skip
    return found


def per_year(column: str, first: str = "GPT", last: str = "DeepSeek-V3") -> tuple[float, float]:
    """By which factor a column grows in a year, and the scatter about that, as a factor.

    Least squares on the logarithms of the models from ``first`` to ``last`` that have a number.
    """
    names = [one.name for one in published()]
    chosen = published()[names.index(first) : names.index(last) + 1]
    points = np.array([(one.year, np.log10(getattr(one, column))) for one in chosen])
    x, y = points[np.isfinite(points[:, 1])].T
    slope, start = np.polyfit(x, y, 1)
    return 10**slope, 10 ** np.std(y - slope * x - start)


SPANS = (("GPT", "GPT-3", RED), ("GPT-3", "DeepSeek-V3", BLUE))  # what lines are fitted to
BESIDE: dict[Any, tuple[int, int, str]] = {  # where a name stands, in points from its model
    **dict.fromkeys(
        ("GPT-2", "T5 11B", "GPT-3", "Megatron-Turing NLG", "Llama 3.1 405B"), (-5, 2, "right")
    ),
    **dict.fromkeys(("Megatron-LM", "Gopher"), (-5, -5, "right")),
    "BERT large": (0, -11, "center"), "Chinchilla": (0, -11, "center"),
    "LLaMA 65B": (0, 5, "center"),
    ("tokens", "Megatron-LM"): (5, -3, "left"),
    ("tokens", "Gopher"): (-4, 5, "right"), ("tokens", "Megatron-Turing NLG"): (-5, -8, "right"),
}  # fmt: skip


def growth() -> Any:
    """Parameters, tokens and operations by year, with lines for the time to GPT-3 and since."""
    figure, axes = new_figure(rows=3, width=5.8, height=8.4)
    labels = {
        "parameters": "parameters", "tokens": "tokens read", "estimate": "operations, 6ND",
    }  # fmt: skip
    years = {one.name: one.year for one in published()}
    for axis, (column, label) in zip(axes, labels.items()):
        named = [(one.name, one.year, getattr(one, column)) for one in published()]
        named = [one for one in named if np.isfinite(one[2])]
        axis.semilogy([y for _, y, _ in named], [v for *_, v in named], "o", color=GREY, ms=4)
        for name, year, value in named:
            side, height, where = BESIDE.get((column, name), BESIDE.get(name, (5, -5, "left")))
            axis.annotate(
                name, (year, value), (side, height), textcoords="offset points", fontsize=7,
                ha=where,
            )  # fmt: skip
        for first, last, color in SPANS:
            inside = [(y, v) for _, y, v in named if years[first] <= y <= years[last]]
            factor, _ = per_year(column, first, last)
            x = np.array([years[first], years[last]])
            middle = np.mean([(y, np.log10(v)) for y, v in inside], axis=0)
            line = 10 ** (middle[1] + np.log10(factor) * (x - middle[0]))
            axis.plot(x, line, **look(color), linewidth=1.2, label=f"x {factor:.2g} a year")
        axis.set(ylabel=label, xlim=(2018, 2026))
        legend(axis, loc="lower right", fontsize=8)
    return figure


FIGURES: dict[str, Callable[[], Any]] = {
    "10_temperature": temperature,
    "10_cuts": cuts,
    "10_cache": cache,
    "10_loops": loops,
    "10_growth": growth,
}
