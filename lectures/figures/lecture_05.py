"""Figures and measured tables of lecture 05: the chain rule, units, the first loss, the past."""

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from minissl.autograd import Tensor
from minissl.data.texts import Streams, encode_documents
from minissl.figures import label_ends, legend, new_figure
from minissl.losses.language_modeling import next_token_loss
from minissl.models.gpt import GPT, GPTConfig
from minissl.models.held_out import carried_nats, stream_nats
from minissl.nn import LSTM, evaluating
from minissl.palette import BLUE, BLUE_TINT, EDGES, GREY, OCHRE_TINT, RED, RED_TINT, look
from minissl.pretrain.language.gpt import GPTPretraining
from minissl.pretrain.language.lstm import LSTMPretraining
from minissl.pretrain.run import train
from minissl.text import Tokenizer
from minissl.text.baselines import bigram_loss, bits_per_byte, unigram_loss
from minissl.text.corpora import python_english
from minissl.text.documents import SEPARATOR, split_documents

TOKENS = ("a", "b", ".")
FIRST = np.array([0.5, 0.25, 0.25])  # p(x₁)
AFTER = np.array([[0.25, 0.5, 0.25], [0.5, 0.25, 0.25], [1.0, 0.0, 0.0]])  # p(x_t | x_{t-1})
VOCAB_SIZES = (257, 512, 1024, 2048, 4096)


def text_probabilities(length: int) -> dict[str, float]:
    """p of every text of that length under the toy model, by the chain rule."""
    texts = {token: float(p) for token, p in zip(TOKENS, FIRST)}
    for _ in range(length - 1):
        texts = {
            text + token: p * float(q)
            for text, p in texts.items()
            for token, q in zip(TOKENS, AFTER[TOKENS.index(text[-1])])
        }
    return texts


def chain_rule() -> Any:
    """All texts of one, two and three tokens; the width of each is its probability."""
    figure, (axis,) = new_figure(width=5.6, height=2.9)
    colors = {"a": BLUE_TINT, "b": RED_TINT, ".": OCHRE_TINT}
    for row, length in enumerate((1, 2, 3)):
        left = 0.0
        for text, p in text_probabilities(length).items():
            if p == 0:
                continue
            color = colors[text[-1]]
            axis.barh(-row, p, left=left, height=0.86, color=color, edgecolor=EDGES[color])
            if p >= 0.06:
                axis.text(left + p / 2, -row, text, ha="center", va="center", fontsize=9)
            left += p
    axis.set_yticks([0, -1, -2], ["$p(x_1)$", "$p(x_1 x_2)$", "$p(x_1 x_2 x_3)$"])
    axis.set(xlabel="probability", xlim=(0, 1))
    axis.spines[["left"]].set_visible(False)
    axis.tick_params(axis="y", length=0)
    return figure


@functools.cache
def english(vocab_size: int) -> Streams:
    """The English inside Python in tokens; 257 of them are the bytes and the separator."""
    train, held_out = split_documents(python_english())
    texts = [document.text for document in train]
    tokenizer = Tokenizer.train(texts, vocab_size, special_tokens=[SEPARATOR])
    return encode_documents(train, held_out, tokenizer)


@functools.cache
def counting_losses(vocab_size: int) -> dict[str, float]:
    """Held-out nats per token and bits per byte of models that only count."""
    data = english(vocab_size)
    targets, size = len(data.held_out_stream) - 1, len(data.held_out_text)
    nats = {
        "uniform": math.log(vocab_size),
        "unigram": unigram_loss(data.stream, data.held_out_stream, vocab_size),
        "bigram": bigram_loss(data.stream, data.held_out_stream, vocab_size),
    }
    bits = {f"{name}, bits": bits_per_byte(loss, targets, size) for name, loss in nats.items()}
    return {**nats, **bits, "tokens": targets, "bytes": size}


def units() -> Any:
    """The same bigram counts in tokens of five sizes: nats per token, and bits per byte."""
    figure, axes = new_figure(rows=2, width=5.6, height=5.2)
    table = [counting_losses(size) for size in VOCAB_SIZES]
    for axis, suffix, label in zip(axes, ("", ", bits"), ("nats per token", "bits per byte")):
        for name, color in (("unigram", GREY), ("bigram", BLUE)):
            heights = [row[name + suffix] for row in table]
            axis.plot(VOCAB_SIZES, heights, **look(color, marker=True), label=name)
        axis.set(xscale="log", xlabel="vocab_size", ylabel=label, ylim=(0, None))
        axis.set_xticks(VOCAB_SIZES, [str(size) for size in VOCAB_SIZES], fontsize=9)
        axis.minorticks_off()
        label_ends(axis)
    return figure


@functools.cache
def first_loss(init_std: float, width: int = 128, vocab_size: int = 2048) -> float:
    """The loss of an untrained GPT on random tokens."""
    config = GPTConfig(
        vocab_size=vocab_size,
        context_length=64,
        num_layers=2,
        width=width,
        num_heads=4,
        init_std=init_std,
    )
    generator = np.random.default_rng(0)
    model = GPT(config, generator=generator)
    tokens = generator.integers(vocab_size, size=(8, 65))
    with evaluating(model):
        return next_token_loss(model(tokens[:, :-1]), tokens[:, 1:]).item()


def start() -> Any:
    """The loss before training against the size of the initial weights, and ln V + s²/2."""
    figure, (axis,) = new_figure(width=5.6, height=3.2)
    stds = np.geomspace(0.005, 0.3, 13)
    axis.plot(stds, [first_loss(float(std)) for std in stds], "o", color=BLUE, label="measured")
    fine = np.geomspace(0.005, 0.3, 100)
    axis.plot(fine, math.log(2048) + fine**2 * 128 / 2, **look(GREY), label="$\\ln V + s^2/2$")
    axis.axhline(math.log(2048), color=RED, linestyle="--", linewidth=1)
    axis.annotate("ln 2048 = 7.62", (0.005, 7.5), color=RED, fontsize=9, va="top")
    axis.set(xscale="log", xlabel="init_std of the weights", ylabel="loss before training (nats)")
    axis.set_ylim(6.8, None)
    axis.set_xticks([0.005, 0.02, 0.05, 0.1, 0.3], ["0.005", "0.02", "0.05", "0.1", "0.3"])
    axis.minorticks_off()
    legend(axis, loc="upper left", bbox_to_anchor=(0, 0.75))
    return figure


@functools.cache
def reach(forget_bias: float, steps: int = 60, size: int = 64) -> np.ndarray:
    """‖∂(c·h_T) / ∂x_t‖ of an untrained LSTM against the distance T − t, in units of t = T."""
    norms = []
    for seed in range(5):
        generator = np.random.default_rng(seed)
        lstm = LSTM(size, size, forget_bias=forget_bias, generator=generator)
        x = Tensor(generator.standard_normal((8, steps, size)).astype(np.float32))
        x.requires_grad = True
        outputs, _ = lstm(x)
        cotangent = generator.standard_normal((8, size)).astype(np.float32)
        (outputs[:, -1] * cotangent).sum().backward()
        assert x.grad is not None
        norms.append(np.linalg.norm(x.grad, axis=-1).mean(axis=0)[::-1])
    mean = np.mean(norms, axis=0)
    return mean / mean[0]


def far_back() -> Any:
    """How much of the gradient arrives at inputs further and further back."""
    figure, (axis,) = new_figure(width=5.6, height=3.2)
    for bias, color in ((0.0, GREY), (1.0, BLUE), (3.0, RED)):
        axis.plot(reach(bias), **look(color), label=f"forget_bias = {bias:g}")
    axis.set(yscale="log", xlabel="steps back", ylabel="gradient (1 = last input)", ylim=(1e-8, 2))
    legend(axis)
    return figure


# ---- the past ------------------------------------------------------------------------------------

LSTM_SETTINGS = LSTMPretraining.Settings(
    vocab_size=1024, width=128, num_layers=1, context_length=32, steps=600, evaluations=1
)
GPT_SETTINGS = GPTPretraining.Settings(
    vocab_size=1024, width=128, num_layers=2, context_length=128, steps=1600, evaluations=1
)
STRIDES = (128, 64, 32, 16, 8)


class Zeros(LSTMPretraining):
    """Every window begins with a state of zeros."""

    def after_step(self, done: int) -> None:
        """Forget."""
        self._next = -1, None


class LaneBeside(LSTMPretraining):
    """A fault on purpose: each lane goes on with the state of the lane beside it."""

    def after_step(self, done: int) -> None:
        """Carry on, and move by one."""
        super().after_step(done)
        self.model.state.array = np.roll(self.model.state.array, 1, axis=0)


@functools.cache
def trained(kind: Any) -> Any:
    """The network of a method that has read the English inside Python."""
    settings = GPT_SETTINGS if kind is GPTPretraining else LSTM_SETTINGS
    method = kind.build(settings, english(1024), seed=0)
    train(method, settings, progress=False)
    return method.network


def from_zeros(network: Any, length: int) -> float:
    """Held-out nats per token where a state of zeros begins every ``length`` tokens."""
    stream = english(1024).held_out_stream
    total = 0.0
    with evaluating(network):
        for start in range(0, len(stream) - 1, length):
            window = stream[None, start : start + length + 1]
            inputs, targets = window[:, :-1], window[:, 1:]
            total += next_token_loss(network(inputs), targets, reduction="sum").item()
    return total / (len(stream) - 1)


def carrying() -> dict[str, list[float]]:
    """Three ways to train; nats with the state carried, and from zeros every 32, 64, 128 tokens."""
    stream, table = english(1024).held_out_stream, {}
    for name, kind in (("carried", LSTMPretraining), ("zeros", Zeros), ("beside", LaneBeside)):
        network = trained(kind)
        carried = carried_nats(network, stream, lanes=1) / (len(stream) - 1)
        table[name] = [carried, *(from_zeros(network, length) for length in (32, 64, 128))]
    return table


@functools.cache
def by_past(kind: Any) -> tuple[list[float], list[float]]:
    """How many tokens were seen, and nats per token: 1 to 16, then means over 17 to 32, and so on.

    All points predict the same tokens but for the ends, so that only the past differs.
    """
    near = _by_place(trained(kind), length=16, apart=1)
    far = _by_place(trained(kind), length=128, apart=16).reshape(8, 16).mean(axis=1)[1:]
    return [*range(1, 17), *(16 * n + 8.5 for n in range(1, 8))], [*near, *far]


def _by_place(network: Any, length: int, apart: int) -> np.ndarray:
    """The loss at each place of windows that begin every ``apart`` tokens: (length,)."""
    stream = english(1024).held_out_stream
    starts = np.arange(0, len(stream) - length - 1, apart)
    windows = stream[starts[:, None] + np.arange(length + 1)]
    total = np.zeros(length)
    with evaluating(network):
        for part in np.array_split(windows, 1 + len(windows) * length // 4096):
            loss = next_token_loss(network(part[:, :-1]), part[:, 1:], reduction="none")
            total += loss.numpy().sum(axis=0)
    return total / len(windows)


def strides() -> dict[int, float]:
    """Held-out nats per token of the GPT by the stride of its windows of 128."""
    stream, network = english(1024).held_out_stream, trained(GPTPretraining)
    return {s: stream_nats(network, stream, stride=s) / (len(stream) - 1) for s in STRIDES}


def past() -> Any:
    """Above: loss against the tokens seen. Below: loss against the stride of the windows."""
    figure, (places, slides) = new_figure(rows=2, width=5.6, height=5.4)
    for kind, color, name in ((LSTMPretraining, BLUE, "LSTM"), (GPTPretraining, RED, "GPT")):
        places.plot(*by_past(kind), **look(color, marker=True), label=f"{name}, from nothing")
    carried = carrying()["carried"][0]
    places.axhline(carried, color=BLUE, linestyle=":", label="LSTM, state carried")
    places.set(xscale="log", xlabel="tokens seen", ylabel="nats per token")
    places.set_xticks([1, 2, 4, 8, 16, 32, 64, 128], ["1", "2", "4", "8", "16", "32", "64", "128"])
    measured = strides()
    slides.plot(
        *zip(*measured.items()), **look(RED, marker=True), label="GPT, windows of 128 that slide"
    )
    slides.set(xscale="log", xlabel="stride", ylabel="nats per token")
    slides.set_xticks(STRIDES, [str(stride) for stride in STRIDES])
    for axis in (places, slides):
        axis.minorticks_off()
        legend(axis, fontsize=9)
    return figure


FIGURES: dict[str, Callable[[], Any]] = {
    "05_chain_rule": chain_rule,
    "05_units": units,
    "05_start": start,
    "05_far_back": far_back,
    "05_past": past,
}
