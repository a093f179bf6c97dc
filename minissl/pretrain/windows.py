"""What the methods share that learn word vectors from windows of words: batch and vectors.

A batch is blocks of ``BLOCK`` neighbouring center words. The words around a block are the contexts
of all its centers, and the words that were drawn as noise are the same for the whole block: so that
one product of two small matrices has the scores of all pairs, wanted or not. Lecture 04.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from minissl.autograd import operations as ops
from minissl.autograd.tensor import Tensor
from minissl.data.words import WordOptions, Words, WordStream
from minissl.models.word_tables import WordTables
from minissl.nn.evaluating import evaluating
from minissl.nn.module import Module
from minissl.optim.optimizer import Optimizer
from minissl.options import option
from minissl.pretrain.method import Training
from minissl.pretrain.word_vectors import Passes, WordMethod, adagrad_over_pairs
from minissl.text.cooccurrence import keep_probabilities, noise_distribution

BLOCK = 16
SHARED = 16
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
        1e-3,
        "words above 2.6 times this share of the text are thinned out; 0: none is",
        least=0,
        most=1,
    )
    noise_power: float = option(0.75, "noise is drawn as count to this power", least=0, most=10)
    batch_size: int = option(
        10_240, "center words per step: whole blocks of 16, at least one", least=1, most=1 << 20
    )
    steps: int = option(400, "updates", least=1, most=10**9)
    learning_rate: float = option(0.3, "at the beginning; it falls in a line", above=0, most=100)
    weight_decay: float = option(
        0.0, "there is none: rare words would be forgotten", least=0, most=0
    )
    evaluations: int = option(5, "how often the held-out loss is measured", least=1, free=True)

    @property
    def blocks(self) -> int:
        """Of center words, in a step."""
        return max(1, self.batch_size // BLOCK)

    def optimizer(self, model: Module) -> Optimizer:
        """AdaGrad; a center has window + 1 pairs on average. (CBOW's are taken for as many.)"""
        return adagrad_over_pairs(model, self.blocks * BLOCK * (self.window + 1))

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


class WordWindows(WordMethod):
    """Word vectors from windows: a subclass says what the loss of a batch of windows is.

    ``data``: the words to train on and those for ``evaluate``; both may be empty. Thinning and
    noise are made of the counts of its vocabulary. A pass through the text thins it out anew, and
    takes its blocks in random order.
    """

    Settings = WindowSettings
    settings: WindowSettings

    def __init__(self, model: WordTables, data: Words, settings: WindowSettings, *, seed: int = 0):
        super().__init__(model, data, settings, seed=seed)
        counts = data.vocabulary.counts.copy()
        counts[0] = 0  # unknown words are in no window
        self.noise = noise_distribution(counts, settings.noise_power)
        self._up_to = np.cumsum(self.noise)
        self.keep = keep_probabilities(counts, settings.threshold)
        staying = self.keep[data.stream.words].sum()  # words, on average
        if len(data.stream) and staying < 2:
            raise ValueError(
                f"threshold={settings.threshold} thins {len(data.stream):,} words out to "
                f"{staying:.2g}: take a larger one, or 0"
            )
        self.passes = Passes(max(1, round(staying / BLOCK)), seed)  # of so many blocks
        self._thinned: tuple[int, WordStream] = (-1, data.stream)  # of the last pass

    def batch(
        self, generator: np.random.Generator, number: int | None = None
    ) -> tuple[NDArray, ...]:
        """The next blocks of the pass that batch ``number`` falls into: ``arrays`` of windows."""
        self.require_text()
        number = int(generator.integers(1 << 30)) if number is None else number
        parts = []
        for index, blocks in self.passes.places(number, self.settings.blocks):
            text = self._thin(self.data.stream, index)
            starts = blocks * len(text) // self.passes.size
            parts.append(self.blocks(text, starts))
        words, documents = (np.concatenate(part) for part in zip(*parts))
        return self.arrays(self.windows(words, documents, generator))

    def _thin(self, stream: WordStream, index: int) -> WordStream:
        """The text of a pass: frequent words are left out, most of the time."""
        if self._thinned[0] != index:
            draws = np.random.default_rng([self.passes.seed, index]).random(len(stream), np.float32)
            kept = draws < self.keep[stream.words]
            self._thinned = index, WordStream(stream.words[kept], stream.documents[kept])
        return self._thinned[1]

    def blocks(self, text: WordStream, starts: NDArray) -> tuple[NDArray, NDArray]:
        """Words and documents of blocks and of ``window`` words to each side, 0 outside the text.

        Two arrays (blocks, BLOCK + 2 window).
        """
        window = self.settings.window
        places = starts[:, None] + np.arange(-window, BLOCK + window)
        outside = (places < 0) | (places >= len(text))
        places[outside] = 0
        words = np.where(outside, 0, text.words[places]) if len(text) else places
        return words, text.documents[places] if len(text) else places

    def windows(
        self, words: NDArray, documents: NDArray, generator: np.random.Generator
    ) -> Windows:
        """Windows and noise drawn for the words of blocks, see ``blocks``."""
        window = self.settings.window
        middle = slice(window, window + BLOCK)
        distance = np.abs(np.arange(BLOCK + 2 * window)[:, None] - window - np.arange(BLOCK))
        reach = generator.integers(1, window + 1, size=(len(words), 1, BLOCK))
        seen = (distance > 0) & (distance <= reach)
        seen &= (words[:, None, middle] > 0) & (words[:, :, None] > 0)
        seen &= documents[:, None, middle] == documents[:, :, None]
        drawn = np.searchsorted(self._up_to, generator.random((len(words), SHARED)), "right")
        noise = np.minimum(drawn, len(self.noise) - 1)  # the last sum may be a little below 1
        return Windows(words[:, middle], words, seen, noise)

    @abstractmethod
    def arrays(self, windows: Windows) -> tuple[NDArray, ...]:
        """What ``loss`` and ``count`` need of a batch."""

    @abstractmethod
    def count(self, batch: tuple[NDArray, ...]) -> float:
        """How many pairs ``loss`` is the mean of."""

    def evaluate(self) -> dict[str, float]:
        """The held-out loss, in nats for each real pair with its noise.

        The held-out text is read once, thinned out as in training, with the same windows and the
        same noise each time.
        """
        generator = np.random.default_rng(0)
        whole = self.data.held_out
        kept = generator.random(len(whole), np.float32) < self.keep[whole.words]
        text = WordStream(whole.words[kept], whole.documents[kept])
        total = pairs = 0.0
        with evaluating(self.model):
            for first in range(0, len(text), BLOCK * MEASURED):
                starts = np.arange(first, min(first + BLOCK * MEASURED, len(text)), BLOCK)
                batch = self.arrays(self.windows(*self.blocks(text, starts), generator))
                if count := self.count(batch):
                    total += count * self.loss(batch, generator).item()
                    pairs += count
        return {"held_out_loss": total / pairs} if pairs else {}


class PairWindows(WordWindows):
    """Windows of which every center is paired with each word in its window, and with noise."""

    def arrays(self, windows: Windows) -> tuple[NDArray, ...]:
        """Ids of centers and of what is scored with them, and what counts as seen and as noise.

        Shapes: (blocks, BLOCK), (blocks, words), twice (blocks, words, BLOCK). Of ``SHARED`` noise
        words each stands for negatives / SHARED words for each word in the window.
        """
        words = np.concatenate([windows.around, windows.noise], axis=1)
        seen = np.zeros((*words.shape, BLOCK), np.float32)
        noise = np.zeros_like(seen)
        near = windows.around.shape[1]
        seen[:, :near] = windows.seen
        noise[:, near:] = self.settings.negatives / SHARED * seen.sum(axis=1, keepdims=True)
        return windows.centers, words, seen, noise

    def scores(self, centers: Any, words: Any) -> Tensor:
        """The dot products of a block's words with its centers: (blocks, words, BLOCK)."""
        return ops.matmul(self.model.contexts(words), self.model.centers(centers).mT)

    def count(self, batch: tuple[Any, ...]) -> float:
        """How many words stand in the windows of the batch."""
        return float(batch[2].sum())
