"""Figures of lecture 06: masks, the leak test, the scale, positions, depth, costs, heads."""

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib.colors import ListedColormap

from minissl.autograd import Tensor
from minissl.autograd.composed import allowed_keys
from minissl.figures import label_ends, legend, new_figure
from minissl.models.gpt import GPT, GPTConfig
from minissl.nn import Transformer, TransformerConfig, evaluating
from minissl.nn.positions import sinusoids
from minissl.palette import BLUE, GREY, GREY_TINT, PAPER, RED, SOFT_INK, look
from minissl.pretrain.language.gpt import GPTPretraining, GPTSettings
from minissl.pretrain.run import train
from minissl.text import Tokenizer
from minissl.text.corpora import python_english
from minissl.text.documents import SEPARATOR, split_documents

TWO = ListedColormap([GREY_TINT, BLUE])  # may not be looked at, may
LENGTH = 8
SENTENCE = "Return True if the file is not a directory."


def masks() -> Any:
    """Who may look at whom: encoder with padding, decoder, and a decoder at its memory."""
    figure, axes = new_figure(rows=2, columns=2, width=5.6, height=5.8)
    shape = (1, 1, LENGTH, LENGTH)
    everything = np.ones((LENGTH, LENGTH), bool)
    panels = (
        ("encoder", everything),
        ("encoder, 5 of 8 are tokens", allowed_keys(shape, False, [5])),
        ("decoder (causal)", allowed_keys(shape, True, None)),
        ("decoder: 4 new after 4 cached", allowed_keys((1, 1, 4, LENGTH), True, None)),
    )
    for axis, (title, allowed) in zip(axes, panels):
        assert allowed is not None
        matrix = np.broadcast_to(allowed, (1, 1, allowed.shape[-2], LENGTH)).reshape(-1, LENGTH)
        matrix = np.broadcast_to(matrix, (4 if "cached" in title else LENGTH, LENGTH))
        axis.pcolormesh(matrix, cmap=TWO, vmin=0, vmax=1, edgecolor=PAPER, linewidth=1.5)
        axis.set(title=title, aspect="equal", xlabel="key", ylabel="query")
        axis.title.set_fontsize(10)
        axis.invert_yaxis()
        first = LENGTH - len(matrix)
        axis.set_yticks(np.arange(len(matrix)) + 0.5, np.arange(first, LENGTH))
        axis.set_xticks(np.arange(LENGTH) + 0.5, np.arange(LENGTH))
        axis.spines[:].set_visible(False)
        axis.tick_params(length=0)
    return figure


@functools.cache
def leaks(causal: bool, length: int = 12) -> np.ndarray:
    """Largest change of each output when one input vector is exchanged: (changed, output)."""
    config = TransformerConfig(num_layers=2, width=32, num_heads=4, init_std=0.2)
    model = Transformer(config, generator=np.random.default_rng(0))
    x = np.random.default_rng(1).standard_normal((1, length, 32)).astype(np.float32)
    rows = []
    with evaluating(model):
        before = model(Tensor(x), causal=causal).numpy()
        for t in range(length):
            other = x.copy()
            other[:, t] = np.random.default_rng(2).standard_normal(32)
            rows.append(np.abs(model(Tensor(other), causal=causal).numpy() - before).max(axis=-1))
    return np.concatenate(rows)


def leak_test() -> Any:
    """The leak test as a picture, without and with the causal mask."""
    figure, axes = new_figure(columns=2, width=5.6, height=3.3)
    for axis, causal in zip(axes, (False, True)):
        changes = leaks(causal)
        axis.imshow(np.where(changes == 0, np.nan, changes), cmap="Blues", vmin=0)
        zero = int((changes == 0).sum())
        axis.set_title(
            f"{'causal' if causal else 'no mask'}: {zero} exact zeros", fontsize=10, loc="left"
        )
        axis.set(xlabel="output that changes", ylabel="input exchanged")
    return figure


@functools.cache
def largest_weight(head_dim: int, scaled: bool, keys: int = 64) -> float:
    """Mean over 2000 queries of the largest of 64 attention weights; all entries are N(0, 1)."""
    generator = np.random.default_rng(head_dim)
    query = generator.standard_normal((2000, head_dim))
    key = generator.standard_normal((2000, keys, head_dim))
    scores = (key @ query[..., None])[..., 0]
    scores /= math.sqrt(head_dim) if scaled else 1
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    return float((weights.max(axis=1) / weights.sum(axis=1)).mean())


def scale() -> Any:
    """What 1/√head_dim is for: without it one key takes all."""
    figure, (axis,) = new_figure(width=5.6, height=3.2)
    sizes = [2, 4, 8, 16, 32, 64, 128]
    for scaled, color, label in (
        (False, RED, "softmax(q·k)"),
        (True, BLUE, "softmax(q·k / √head_dim)"),
    ):
        heights = [largest_weight(size, scaled) for size in sizes]
        axis.plot(sizes, heights, **look(color, marker=True), label=label)
    axis.axhline(1 / 64, color=GREY, linewidth=0.8)
    axis.annotate("equal weights: 1/64", (2, 0.035), color=SOFT_INK, fontsize=9)
    axis.set(xscale="log", xlabel="head_dim", ylabel="largest of 64 weights", ylim=(0, 1))
    axis.set_xticks(sizes, [str(size) for size in sizes])
    axis.minorticks_off()
    label_ends(axis)
    return figure


def positions() -> Any:
    """The table of sinusoids, and the product of two rows against their distance."""
    figure, (table, product) = new_figure(rows=2, width=5.6, height=5.0)
    waves = sinusoids(128, 64)
    table.imshow(waves[:, ::2].T, cmap="RdBu", aspect="auto", interpolation="nearest")
    table.set(xlabel="position", ylabel="pair (its sine)")
    for t, color in ((40, BLUE), (64, RED)):
        distance = np.arange(-40, 41)
        product.plot(
            distance,
            waves[t + distance] @ waves[t],
            **look(color),
            label=f"row {t} · row {t} + distance",
        )
    product.set(xlabel="distance", ylabel="product", ylim=(0, 40))
    legend(product, loc="lower right")
    return figure


@functools.cache
def spread_by_depth(scaled: bool, num_layers: int = 24) -> np.ndarray:
    """Standard deviation of x before and after each of 24 untrained pre-norm blocks."""
    config = TransformerConfig(num_layers=num_layers, width=64, num_heads=4, init_std=0.1)
    model = Transformer(config, generator=np.random.default_rng(0))
    for block in model.blocks if not scaled else ():
        for linear in (block.attention.output, block.mlp.output):
            linear.weight.array = linear.weight.array * np.float32(math.sqrt(2 * num_layers))
    x = Tensor(np.random.default_rng(1).standard_normal((4, 32, 64)).astype(np.float32))
    spread = [float(x.numpy().std())]
    with evaluating(model):
        for block in model.blocks:
            x = block(x, causal=True)
            spread.append(float(x.numpy().std()))
    return np.array(spread)


def depth() -> Any:
    """How the numbers between the blocks grow, with and without 1/√(2 num_layers)."""
    figure, (axis,) = new_figure(width=5.6, height=3.0)
    for scaled, color, label in (
        (False, RED, "all weights alike"),
        (True, BLUE, "output weights ∕ √(2·num_layers)"),
    ):
        axis.plot(spread_by_depth(scaled), **look(color), label=label)
    axis.set(xlabel="after block", ylabel="standard deviation of x", ylim=(0, None))
    label_ends(axis)
    return figure


def multiply_adds(config: GPTConfig, length: int) -> dict[str, float]:
    """Multiply-adds of one token at the end of ``length``, by what they are for."""
    d, layers = config.width, config.num_layers
    return {
        "projections and MLP": layers * 12 * d * d,
        "scores and weighted values": layers * 2 * length * d,
        "logits": config.vocab_size * d,
    }


GPT2 = GPTConfig(vocab_size=50257, context_length=1024, num_layers=12, width=768, num_heads=12)


def costs() -> Any:
    """Where the multiply-adds of a token go in GPT-2's smallest, against the length."""
    figure, (axis,) = new_figure(width=5.6, height=3.3)
    lengths = np.geomspace(64, 65536, 50)
    parts = [multiply_adds(GPT2, length) for length in lengths]
    for name, color in zip(parts[0], (BLUE, RED, GREY)):
        axis.plot(lengths, [part[name] / 1e6 for part in parts], **look(color), label=name)
    axis.set(xscale="log", yscale="log", xlabel="tokens looked at", ylabel="million multiply-adds")
    axis.set_xticks([64, 512, 4096, 32768], ["64", "512", "4096", "32768"])
    axis.minorticks_off()
    label_ends(axis)
    return figure


@functools.cache
def small_gpt(steps: int = 300) -> tuple[GPT, Tokenizer]:
    """A GPT on the English inside Python, trained for half a minute, seed 0."""
    learned, _ = split_documents(python_english())
    texts = [document.text for document in learned]
    tokenizer = Tokenizer.train(texts, 1024, special_tokens=[SEPARATOR])
    separator = tokenizer.special_tokens[SEPARATOR]
    stream = np.concatenate(
        [[separator, *tokenizer.encode(text, allow_special="none")] for text in texts]
    )
    settings = GPTSettings(
        num_layers=2, width=96, num_heads=4, context_length=64, batch_size=16, steps=steps
    )
    model = GPT(settings.config(1024), generator=np.random.default_rng(0))
    method = GPTPretraining(model, stream, batch_size=16, separator=separator)
    train(method, settings, progress=False)
    return model, tokenizer


def heads() -> Any:
    """Four heads of the last layer of a trained GPT on one sentence."""
    model, tokenizer = small_gpt()
    tokens = tokenizer.encode(SENTENCE)
    names = [tokenizer.decode([token]).replace(" ", "·") for token in tokens]
    weights = model.attention_weights(np.array([tokens]))[-1, 0]
    figure, axes = new_figure(rows=2, columns=2, width=4.6, height=5.0)
    for head, axis in enumerate(axes):
        axis.imshow(weights[head], cmap="Blues", vmin=0)
        axis.set_title(f"head {head}", fontsize=10)
        axis.set_xticks(range(len(names)), names, rotation=90, fontsize=8)
        axis.set_yticks(range(len(names)), names, fontsize=8)
        axis.spines[:].set_visible(False)
    return figure


FIGURES: dict[str, Callable[[], Any]] = {
    "06_masks": masks,
    "06_leak_test": leak_test,
    "06_scale": scale,
    "06_positions": positions,
    "06_depth": depth,
    "06_costs": costs,
    "06_heads": heads,
}
