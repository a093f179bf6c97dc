"""What the methods share that learn word vectors from windows of words: batch and vectors.

A batch is blocks of ``BLOCK`` neighbouring center words. The words around a block are the contexts
of all its centers, and the words that were drawn as noise are the same for the whole block: so that
one product of two small matrices has the scores of all pairs, wanted or not. Lecture 04.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from minissl.autograd.tensor import Tensor
from minissl.data.words import WordOptions, Words, WordStream, WordTexts
from minissl.models.word_tables import WordTables
from minissl.nn.evaluating import evaluating
from minissl.nn.module import Module
from minissl.optim import AdaGrad
from minissl.optim.optimizer import Optimizer
from minissl.options import option
from minissl.pretrain.method import Pretraining, Training
from minissl.text.cooccurrence import keep_probabilities, noise_distribution

import os
BLOCK = int(os.environ.get("BL","32"))
SHARED = int(os.environ.get("SH","32"))
MEASURED = 64  # blocks that are measured at once


@dataclass(frozen=True, kw_only=True)
class WindowSettings(Training, WordOptions):
    """Vectors, windows and noise, and how they are trained: half a minute on two cores."""

    width: int = option(100, "numbers per word", least=1, most=1 << 16)
    window: int = option(
        5, "words to each side at most; each center draws from 1 to so many", least=1, most=100
    )
    negatives: int = option(5, "words of noise for each real pair", least=1, most=10_000)
    threshold: float = option(
        1e-3, "share of the text above which a word is thinned out; 0: none is", least=0, most=1
    )
    noise_power: float = option(0.75, "noise is drawn as count to this power", least=0, most=10)
    batch_size: int = option(
        10_240, "center words per step, in blocks of 32", least=1, most=1 << 20
    )
    steps: int = option(400, "updates", least=1, most=10**9)
    learning_rate: float = option(0.3, "at the beginning; it falls in a line", above=0, most=100)
    weight_decay: float = option(
        0.0, "there is none: rare words would be forgotten", least=0, most=0
    )
    evaluations: int = option(5, "how often the held-out loss is measured", least=1, free=True)

    def optimizer(self, model: Module) -> Optimizer:
        """AdaGrad that begins as GloVe's does, with a sum of 1, for a loss summed over pairs.

        Ours is their mean: its gradients are smaller by the number of pairs, and the sum of their
        squares by the square of it.
        """
        pairs = self.batch_size * (self.window + 1)
        return AdaGrad(model.named_parameters(), initial_sum=1 / pairs**2, eps=0.0)

    def schedule(self, step: int) -> float:
        """From the learning rate in a line to 0, which is not reached."""
        return self.learning_rate * (1 - step / self.steps)


class Windows(NamedTuple):
    """Blocks of center words, what stands around them, and what was drawn as noise.

    centers: (blocks, BLOCK) ids, 0 where there is none; around: (blocks, BLOCK + 2 window) ids;
    seen: (blocks, BLOCK + 2 window, BLOCK) True where a word is in the window of a center;
    noise: (blocks, SHARED) ids.
    """

    centers: NDArray[np.int32]
    around: NDArray[np.int32]
    seen: NDArray[np.bool_]
    noise: NDArray[np.int64]


class WordWindows(Pretraining):
    """Word vectors from windows: a subclass says what the loss of a batch of windows is.

    ``stream``: the words to train on, ``held_out`` those for ``evaluate``; both may be empty.
    ``counts``: (vocab_size,) of the words in training, of which thinning and noise are made.
    """

    Settings = WindowSettings
    Data = WordTexts
    settings: WindowSettings
    biases = False  # whether a context has one

    def __init__(self, model: WordTables, data: Words, settings: WindowSettings):
        self.model, self.data, self.settings = model, data, settings
        counts = data.vocabulary.counts.copy()
        counts[0] = 0  # unknown words are in no window
        self.noise = noise_distribution(counts, settings.noise_power)
        self._up_to = np.cumsum(self.noise)
        self.keep = keep_probabilities(counts, settings.threshold)
        shares = counts / counts.sum()
        wanted = BLOCK + 2 * settings.window
        self._read = int(np.ceil(1.1 * wanted / (shares @ self.keep))) + 1  # to keep so many
        self._stream = _padded(data.stream, self._read)
        self._held_out = _padded(data.held_out, self._read)

    @classmethod
    def build(cls, settings: Any, data: Words, *, seed: int = 0) -> Self:
        """Random vectors for the words of the vocabulary."""
        generator = np.random.default_rng(seed)
        size = data.vocabulary.vocab_size
        model = WordTables(size, settings.width, biases=cls.biases, generator=generator)
        return cls(model, data, settings)

    def batch(self, generator: np.random.Generator) -> tuple[NDArray, ...]:
        """Blocks from random places: what ``arrays`` makes of their windows."""
        if not len(self.data.stream):
            raise ValueError("there is no text to train on: this method was opened to be used")
        blocks = max(1, round(self.settings.batch_size / BLOCK))
        starts = generator.integers(len(self._stream) - self._read, size=blocks)
        return self.arrays(self.windows(self._stream, starts, generator))

    def windows(
        self, stream: WordStream, starts: NDArray, generator: np.random.Generator
    ) -> Windows:
        """The words behind each start, frequent ones thinned out, and windows drawn around them."""
        window, read = self.settings.window, starts[:, None] + np.arange(self._read)
        words, documents = stream.words[read], stream.documents[read]
        kept = generator.random(words.shape, np.float32) < self.keep[words]
        order = np.argsort(~kept, axis=1, kind="stable")[:, : BLOCK + 2 * window]
        kept = np.take_along_axis(kept, order, axis=1)
        around = np.where(kept, np.take_along_axis(words, order, axis=1), 0)
        documents = np.take_along_axis(documents, order, axis=1)
        middle = slice(window, window + BLOCK)
        distance = np.abs(np.arange(BLOCK + 2 * window)[:, None] - window - np.arange(BLOCK))
        reach = generator.integers(1, window + 1, size=(len(starts), 1, BLOCK))
        seen = (distance > 0) & (distance <= reach)
        seen &= (around[:, None, middle] > 0) & (around[:, :, None] > 0)
        seen &= documents[:, None, middle] == documents[:, :, None]
        drawn = np.searchsorted(self._up_to, generator.random((len(starts), SHARED)), "right")
        noise = np.minimum(drawn, len(self.noise) - 1)  # the last sum may be a little below 1
        return Windows(around[:, middle], around, seen, noise)

    @abstractmethod
    def arrays(self, windows: Windows) -> tuple[NDArray, ...]:
        """What ``loss`` and ``count`` need of a batch."""

    def evaluate(self) -> dict[str, float]:
        """The held-out loss, in nats for each real pair with its noise.

        Every held-out word is read about once, thinned out as in training, with the same windows
        and the same noise each time.
        """
        if not len(self.data.held_out):
            return {}
        generator = np.random.default_rng(0)
        starts = np.arange(0, len(self.data.held_out), self._read - 2 * self.settings.window)
        total = pairs = 0.0
        with evaluating(self.model):
            for first in range(0, len(starts), MEASURED):
                some = starts[first : first + MEASURED] + self._read - self.settings.window
                batch = self.arrays(self.windows(self._held_out, some, generator))
                if count := self.count(batch):
                    total += count * self.loss(batch, generator).item()
                    pairs += count
        return {"held_out_loss": total / pairs} if pairs else {}

    @abstractmethod
    def count(self, batch: tuple[NDArray, ...]) -> float:
        """How many pairs ``loss`` is the mean of."""

    # ---- the vectors -----------------------------------------------------------------------------

    def vectors(self) -> Any:
        """The center vector of each word."""
        from minissl.data.vectors import WordVectors

        return WordVectors(self.data.vocabulary.tokens[1:], self.model.centers.weight.numpy()[1:])

    @property
    def width(self) -> int:
        """Of a vector."""
        return self.model.width

    def collate(self, examples: Sequence[Sequence[int]]) -> tuple[NDArray, NDArray]:
        """Texts as ids (batch, time), and weights (batch, time) that make the mean of known words.

        All weights of a text without a known word are 0, and so is what represents it.
        """
        longest = max([1, *map(len, examples)])
        ids = np.zeros((len(examples), longest), np.int64)
        for row, example in zip(ids, examples):
            row[: len(example)] = example
        known = ids > 0
        weights = known / np.maximum(known.sum(axis=1, keepdims=True), 1)
        return ids, weights.astype(self.model.centers.weight.numpy().dtype)

    def encode(
        self, batch: tuple[NDArray, NDArray], generator: np.random.Generator | None = None
    ) -> Tensor:
        """The mean of the vectors of a text's known words: (batch, width)."""
        return self.model.mean(*batch)


def _padded(stream: WordStream, read: int) -> WordStream:
    """The stream between ``read`` places without a word: a block may begin before the text."""
    words = np.pad(stream.words, read)
    return WordStream(words, np.pad(stream.documents, read, constant_values=-1))
