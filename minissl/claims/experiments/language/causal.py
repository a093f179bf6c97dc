"""Lecture 05: maximum likelihood is cross-entropy, as long as nobody sees the future."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from minissl.autograd import Tensor, no_grad
from minissl.claims.claim import Cell, Claim, Expectation, Measured, Setup, ahead, chosen
from minissl.claims.drawing import bars, level, line, panels, smooth, values
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
from minissl.figures import label_ends
from minissl.losses.language_modeling import next_token_loss
from minissl.models.gpt import GPT
from minissl.nn.attention import KeyValueCache
from minissl.nn.evaluating import evaluating
from minissl.palette import BLUE, GREY, RED, SOFT_INK
from minissl.pretrain.language.gpt import GPTSettings
from minissl.text.baselines import bigram_probabilities, unigram_probabilities

LONGEST_PRODUCT = 64  # probabilities; of many more the product is 0 even in float64
CAUSAL, UNMASKED = "causal mask", "no mask"


class UnmaskedGPT(GPT):
    """A GPT in which every token sees every token: an encoder, made to predict the next one."""

    def hidden(
        self,
        tokens: Any,
        *,
        caches: Sequence[KeyValueCache] | None = None,
        generator: np.random.Generator | None = None,
    ) -> Tensor:
        """As in ``GPT``, without the mask."""
        return self.transformer(self.dropout(self._embed(tokens), generator), generator=generator)


def measure(setup: Setup) -> Measured:
    """Train the same network with and without its mask; measure what each knows, and whence."""
    train, held_out = english(setup)
    data = encoded(train, held_out, setup.settings["vocab_size"])
    settings = chosen(GPTSettings, setup)
    vocab_size = data.tokenizer.vocab_size
    separator = data.tokenizer.special_tokens[SEPARATOR]
    windows = held_out_windows(data.held_out_stream, settings.context_length)
    table, curves, models = {}, {}, {}
    for name, kind in ((CAUSAL, GPT), (UNMASKED, UnmaskedGPT)):
        setup.note(name)
        model = models[name] = new_gpt(setup, settings, vocab_size, kind=kind)
        first = first_loss(model, data.stream)
        history = trained(setup, model, data, settings, separator=separator, held_out=False)
        losses = history.losses()
        width = max(1, len(losses) // 40)
        averages = smooth(losses, width)
        curves[name] = (width * (np.arange(len(averages)) + 0.5), averages)
        table[name] = {
            "first loss − ln V": abs(first - math.log(vocab_size)),
            "training loss": float(averages[-1]),
            "future hidden": future_hidden_loss(model, windows),
            "past changes by": change_of_the_past(model, windows, setup.seed),
            "gradient to the future": gradient_to_the_future(model, windows, setup.seed),
        }
    for name, loss in counted_losses(data.stream, windows, vocab_size).items():
        table[name] = {"future hidden": loss}
    text = data.held_out_stream[: min(settings.context_length, LONGEST_PRODUCT) + 1]
    table["a text by hand"] = chain_rule(models[CAUSAL], text)
    return Measured(table, curves)


def first_loss(model: GPT, stream: np.ndarray) -> float:
    """The loss on the beginning of the stream, before any training."""
    windows = held_out_windows(stream, model.config.context_length)
    with evaluating(model):
        return next_token_loss(model(windows[:, :-1]), windows[:, 1:]).item()


def held_out_windows(stream: np.ndarray, length: int, most: int = 32) -> np.ndarray:
    """Windows one after the other: (windows, length + 1)."""
    count = min(most, len(stream) // (length + 1))
    return stream[: count * (length + 1)].reshape(count, length + 1)


def future_hidden_loss(model: GPT, windows: np.ndarray) -> float:
    """Nats per token where the tokens to predict are not in the input, as in real use.

    For eight lengths in the second half of the context, the model reads the beginning of each
    window and its last output predicts the token that follows.
    """
    total = []
    with evaluating(model):
        for known in known_lengths(windows):
            logits = model(windows[:, :known])[:, -1].numpy()
            chosen = log_probabilities(logits)[np.arange(len(windows)), windows[:, known]]
            total.append(-chosen.mean())
    return float(np.mean(total))


def known_lengths(windows: np.ndarray) -> np.ndarray:
    """How many tokens of each window are read before the next is predicted."""
    length = windows.shape[1] - 1
    return np.linspace(length // 2, length, 8).astype(int)


def counted_losses(stream: np.ndarray, windows: np.ndarray, vocab_size: int) -> dict[str, float]:
    """Nats per token of the same predictions by counts of tokens, and of pairs, in the stream."""
    known = known_lengths(windows)
    previous, following = windows[:, known - 1].ravel(), windows[:, known].ravel()
    pairs = bigram_probabilities(stream, previous, following, vocab_size)
    tokens = unigram_probabilities(stream, vocab_size)[following]
    return {
        "counting pairs": float(-np.log(pairs).mean()),
        "counting tokens": float(-np.log(tokens).mean()),
    }


def change_of_the_past(model: GPT, windows: np.ndarray, seed: int) -> float:
    """The largest change of any logit before t when all tokens from t on are exchanged."""
    generator = np.random.default_rng(seed)
    tokens = windows[:4, :-1]
    largest = 0.0
    with evaluating(model):
        before = model(tokens).numpy()
        for t in range(1, tokens.shape[1], max(1, tokens.shape[1] // 8)):
            other = tokens.copy()
            other[:, t:] = generator.integers(model.config.vocab_size, size=other[:, t:].shape)
            change = np.abs(model(other).numpy()[:, :t] - before[:, :t])
            largest = max(largest, float(change.max()))
    return largest


def gradient_to_the_future(model: GPT, windows: np.ndarray, seed: int) -> float:
    """The largest derivative of outputs before t by the token vectors from t on."""
    generator = np.random.default_rng(seed)
    tokens = windows[:4, :-1]
    half = tokens.shape[1] // 2
    with no_grad():
        vectors = model._embed(tokens)
    x = Tensor(vectors.array, requires_grad=True)
    model.eval()
    earlier = model.transformer(x, causal=type(model) is GPT)[:, :half]
    cotangent = generator.standard_normal(earlier.shape).astype(np.float32)
    (earlier * cotangent).sum().backward()
    return float(np.abs(Tensor(x.grad).numpy()[:, half:]).max())


def chain_rule(model: GPT, text: np.ndarray) -> dict[str, float]:
    """−ln of the product of the probabilities, beside the sum of the cross-entropies.

    The product is taken the long way: a float64 copy of the model reads every prefix by itself,
    softmax is done by hand, and the probabilities are multiplied as they are.
    """
    copy = GPT(model.config, generator=np.random.default_rng(0))
    copy.load_state_dict(model.state_dict())
    copy.astype(np.float64)
    product = 1.0
    with evaluating(copy):
        for known in range(1, len(text)):
            logits = copy(text[None, :known]).numpy()[0, -1]
            exponentials = np.exp(logits)
            product *= exponentials[text[known]] / exponentials.sum()
    with evaluating(model):
        summed = next_token_loss(model(text[None, :-1]), text[None, 1:], reduction="sum").item()
    by_hand = -math.log(product)
    return {
        "sum of −ln p": summed,
        "−ln of the product": by_hand,
        "difference": abs(summed - by_hand),
    }


def figure(measured: Sequence[Measured], settings: Mapping[str, Any]) -> Any:
    """Learning curves with and without the mask; what each is worth when the future is hidden."""
    drawn, (curves, worth) = panels(3.2, 2.0)
    line(curves, measured, CAUSAL, color=BLUE)
    line(curves, measured, UNMASKED, color=RED)
    level(curves, values(measured, "counting tokens", "future hidden").mean(), "counting tokens")
    level(curves, values(measured, "counting pairs", "future hidden").mean(), "counting pairs")
    curves.set(xlabel="step", ylabel="training loss (nats per token)", ylim=(0, None))
    label_ends(curves)
    bars(worth, measured, [CAUSAL, UNMASKED], "future hidden", colors=[BLUE, RED])
    for row, text in (("counting pairs", "pairs"), ("counting tokens", "tokens")):
        worth.axvline(
            values(measured, row, "future hidden").mean(), color=GREY, linestyle="--", zorder=0
        )
        worth.annotate(
            text,
            (values(measured, row, "future hidden").mean(), 1),
            xycoords=("data", "axes fraction"),
            fontsize=9,
            color=SOFT_INK,
        )
    worth.set(xlabel="nats per token where the next tokens are not in the input")
    return drawn


SIZE = {
    "num_layers": 2,
    "width": 64,
    "num_heads": 4,
    "context_length": 64,
    "evaluations": 1,
}

CLAIM = Claim(
    name="causal",
    title="A causal model cannot see the future; without the mask it only copies",
    statement=(
        "Maximum likelihood is a sum of cross-entropies, one per token, as long as each prediction "
        "sees the past alone. Without the mask the training loss goes to zero, by copying: such a "
        "model knows nothing where the next token is not there to be copied."
    ),
    lecture="05, section 3",
    measure=measure,
    expectations=(
        Expectation(
            0.001,
            Cell("a text by hand", "difference"),
            0.0,
            "the logarithm of a product is the sum of the logarithms",
        ),
        Expectation(
            0.15,
            Cell(CAUSAL, "first loss − ln V"),
            0.0,
            "a model that knows nothing hesitates between all tokens",
        ),
        Expectation(0.0, Cell(CAUSAL, "past changes by"), 0.0, "bit for bit"),
        Expectation(0.0, Cell(CAUSAL, "gradient to the future"), 0.0, "exactly zero"),
        Expectation(0.1, Cell(UNMASKED, "training loss"), 0.0, "the answer stands in the input"),
        ahead(
            CAUSAL,
            UNMASKED,
            "training loss",
            2.0,
            "prediction is harder than copying",
        ),
        ahead(
            UNMASKED,
            CAUSAL,
            "future hidden",
            1.0,
            "what it copied is not there",
        ),
        ahead(
            "counting pairs",
            CAUSAL,
            "future hidden",
            0.1,
            "attention sees more than one token back",
        ),
    ),
    figure=figure,
    scales={
        "quick": {**SIZE, **QUICK},
        "small": {**SIZE, "vocab_size": 1024, "steps": 1500, "batch_size": 16},
        "full": {**SIZE, **FULL},
    },
    settings=[GPTSettings],
    own=OWN,
    formats={
        "training loss": ".3f",
        "past changes by": ".2g",
        "gradient to the future": ".2g",
        "difference": ".1e",
    },
    rows="model",
    about=(
        "The same network, text, batches and initial weights, with and without the mask; losses in "
        "nats per token. 'Future hidden' is measured on held-out text where the input ends before "
        "the token to predict, as when text is generated. 'A text by hand': the float64 model "
        "reads every prefix alone, and the probabilities are multiplied."
    ),
)
