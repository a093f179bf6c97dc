"""What every pretraining method has: settings, data, and the three questions. Lecture 01."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from minissl.autograd.tensor import Tensor
from minissl.data.labels import pick
from minissl.data.vectors import WordVectors
from minissl.nn.evaluating import evaluating
from minissl.nn.module import Module
from minissl.optim import AdamW, warmup_cosine
from minissl.optim.optimizer import Optimizer
from minissl.options import Options, option
from minissl.training.progress import patiently


@dataclass(frozen=True, kw_only=True)
class Training(Options):
    """Settings that every method has; a method adds its own and may change the defaults."""

    batch_size: int = option(256, "examples per step", least=1, most=1 << 20)
    steps: int = option(800, "updates", least=1, most=10**9)
    learning_rate: float = option(
        3e-3, "at its highest, after a warm-up of a twentieth", above=0, most=100
    )
    weight_decay: float = option(1e-4, "of matrices", least=0, most=100)
    clip: float = option(0.0, "largest norm of the gradient; 0: no limit", least=0)
    evaluations: int = option(10, "how often it is measured on the way", least=1, free=True)
    keep: int = option(2, "checkpoints that stay, the newest; 0: all", least=0, free=True)

    def optimizer(self, model: Module) -> Optimizer:
        """AdamW for all of the model."""
        return AdamW(model.named_parameters(), weight_decay=self.weight_decay)

    def schedule(self, step: int) -> float:
        """The learning rate of a step: a warm-up, then half a cosine."""
        return warmup_cosine(
            step,
            peak=self.learning_rate,
            warmup_steps=self.steps // 20,
            total_steps=self.steps,
        )


class Represents(ABC):
    """What represents an example: a network, what it takes, and ``encode``."""

    model: Any

    @property
    def encoder(self) -> Module:
        """The part of the model that ``encode`` needs: all of it, unless it says otherwise."""
        return self.model

    @property
    @abstractmethod
    def width(self) -> int:
        """How many numbers represent an example."""

    def collate(self, examples: Any) -> Any:
        """Some examples as the arrays that ``encode`` takes; images are one already."""
        return np.asarray(examples)

    @abstractmethod
    def encode(self, batch: Any, generator: np.random.Generator | None = None) -> Tensor:
        """What represents each example of a collated batch: (batch, width), with its gradient.

        In the mode that the model is in; ``generator`` is for dropout. In evaluation mode an
        example is represented in the same way whatever else is in the batch.
        """

    def represent(self, examples: Any, *, batch_size: int = 512, progress: str = "") -> np.ndarray:
        """What the pretrained model makes of examples, in evaluation mode: (examples, width).

        ``progress``: what stands before a bar in a terminal, "" for none.
        """
        if not len(examples):
            return np.empty((0, self.width), self.model.parameters()[0].numpy().dtype)
        return self.by_batches(self.encode, examples, batch_size, progress)

    def by_batches(
        self, function: Callable[[Any], Tensor], examples: Any, batch_size: int, progress: str
    ) -> np.ndarray:
        """What the function makes of collated batches, (batch, ...) each, for all examples."""
        parts, order = [], []
        for chosen, batch in self.collated(examples, batch_size, progress):
            parts.append(function(batch).numpy())
            order.append(chosen)
        return np.concatenate(parts)[np.argsort(np.concatenate(order), kind="stable")]

    def collated(
        self, examples: Any, batch_size: int, progress: str
    ) -> Iterator[tuple[NDArray[np.int64], Any]]:
        """Batches in evaluation mode, and which examples they are; of like lengths, to pad little.

        A representation has to be made before the next batch is asked for.
        """
        sizes = [0 if isinstance(examples, np.ndarray) else len(one) for one in examples]
        order = np.argsort(sizes, kind="stable")
        with evaluating(self.model):
            for start in patiently(range(0, len(order), batch_size), progress):
                chosen = order[start : start + batch_size]
                yield chosen, self.collate(pick(examples, chosen))


class Pretraining(Represents):
    """A pretraining method: how is a batch made, what is its loss, what represents an example?

    ``Settings`` and ``Data`` say what it can be told and what it is trained on; ``build`` makes it
    from both. It may also answer the questions of the protocols below and of ``training.method``:
    ``evaluate``, ``count``, ``after_step``.

    The file says in its docstring, after one line of help, the paper with its year, the lecture
    ("Lecture 12") and what is "Not here:". ``tests/pretrain/test_every_method.py`` asks for this
    and for all that follows.
    """

    Settings: ClassVar[type[Training]]
    Data: ClassVar[Any]  # a kind of ``minissl.data.Data``
    in_processes: ClassVar[bool] = True  # whether several may train it together (torchrun)
    of_the_run: ClassVar[tuple[str, ...]] = ()  # buffers that nobody needs when it is opened

    @classmethod
    @abstractmethod
    def build(cls, settings: Any, data: Any, *, seed: int = 0) -> Self:
        """The method with random weights, on prepared data (which may be empty: a reopened run)."""

    @abstractmethod
    def batch(self, generator: np.random.Generator) -> Any:
        """A batch made from raw data, without labels, from this generator alone.

        Raises ValueError, "opened to be used", where there is no data to make it from.
        """

    @abstractmethod
    def loss(self, batch: Any, generator: np.random.Generator) -> Tensor:
        """The loss of a batch: a Tensor with one element. ``generator`` is for dropout."""

    def to(self, device: str) -> None:
        """Compute there: "cpu", "cuda"."""
        self.model.to(device)


@runtime_checkable
class Generates(Protocol):
    """A method that can write: ``minissl sample``."""

    def sample(
        self,
        prompt: bytes,
        count: int,
        *,
        temperature: float,
        top_k: int | None,
        top_p: float | None,
        generator: np.random.Generator,
        write: Callable[[bytes], None],
        allow_special: str = "all",
    ) -> None:
        """Continue the prompt by at most ``count`` tokens; ``write`` gets each as it comes.

        ``allow_special``: "none" for a prompt with text of somebody else's in it, which may spell
        the name of a special token.
        """


@runtime_checkable
class Scores(Protocol):
    """A method that knows how likely a text is: ``minissl cloze``."""

    def score(self, prompts: Sequence[str], answers: Sequence[str]) -> NDArray[np.float64]:
        """ln p(answer | the document begins with prompt), in nats, of each pair: (pairs,)."""


@runtime_checkable
class Fills(Protocol):
    """A method that knows what may stand in a gap: ``minissl fill``."""

    def fill(self, text: str, count: int) -> list[list[Any]]:
        """For each [MASK] of a text the likeliest tokens: ``text`` and ``probability`` of each."""


@runtime_checkable
class Augments(Protocol):
    """A method that changes examples at random so that they stay what they are."""

    def augment(self, examples: Any, generator: np.random.Generator) -> Any:
        """The examples, each changed in its own way."""


@runtime_checkable
class HasVectors(Protocol):
    """A method that learns a vector for each word: ``minissl neighbors``, ``analogy``, ``wordsim``.

    ``minissl export`` writes them as a file. Its examples are lists of word ids: 0 is an unknown
    word, and i the one of row i − 1 of the vectors.
    """

    def vectors(self) -> WordVectors:
        """The words that it knows with their vectors, the most frequent first."""
