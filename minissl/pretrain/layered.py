"""Methods whose network gives a state to each piece of a text, in several layers. Lecture 05."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.autograd import operations as ops
from minissl.autograd.tensor import Tensor
from minissl.pretrain.method import Represents

BATCH = 32  # examples that are read together
LONGEST = 1024  # pieces of an example that a network reads which could read any number
VECTORS = ("mean", "first", "last")


class Layered(Represents):
    """A text is represented by the mean of the states of its pieces (tokens, or words).

    ``collate`` gives a tuple whose last part are the weights of that mean, (batch, time): 0 at what
    is padding, or stands before the text. A subclass says what the ``states`` of a batch are.
    ``vector``: "mean", or the state of the "first" piece (BERT's [CLS]) or of the "last" alone (all
    that a GPT has read).
    """

    vector: str = "mean"

    @property
    @abstractmethod
    def longest(self) -> int:
        """How many tokens or words of a text are read."""

    @property
    @abstractmethod
    def num_states(self) -> int:
        """How many layers ``states`` gives."""

    @abstractmethod
    def states(self, batch: Any, generator: np.random.Generator | None = None) -> list[Tensor]:
        """Of each layer (batch, time, width), the first that of the pieces by themselves."""

    def cut(self, example: Sequence[Any]) -> Sequence[Any]:
        """What is read of a text: of its tokens, or of what they are called; its beginning."""
        return example[: self.longest]

    def collate(self, examples: Sequence[Sequence[Any]]) -> Any:
        """What is read of some texts, as the arrays that ``encode`` takes."""
        return self.padded([self.cut(example) for example in examples])

    @abstractmethod
    def padded(self, examples: Sequence[Sequence[Any]]) -> Any:
        """Texts that were cut as arrays, of which the last are the weights of the mean."""

    def each(self, batch: Any, generator: np.random.Generator | None = None) -> Tensor:
        """What represents each piece: (batch, time, width), the last layer's state."""
        return self.states(batch, generator)[-1]

    def encode(self, batch: Any, generator: np.random.Generator | None = None) -> Tensor:
        """The mean over the pieces of a text, or the ``vector`` of one: (batch, width)."""
        return self.read(self.each(batch, generator), batch[-1])

    def represent(self, examples: Any, *, batch_size: int = BATCH, progress: str = "") -> NDArray:
        """See ``Represents``; in small batches, since every piece of a text has its states."""
        return super().represent(examples, batch_size=batch_size, progress=progress)

    def represent_layers(self, examples: Any, *, progress: str = "") -> NDArray:
        """By each layer's states: (examples, layers, width), in evaluation mode."""
        if not len(examples):
            return np.repeat(self.represent(examples)[:, None], self.num_states, axis=1)

        def means(batch: Any) -> Tensor:
            read = [self.read(states, batch[-1]) for states in self.states(batch)]
            return ops.stack(read, axis=1)

        return self.by_batches(means, examples, BATCH, progress)

    def read(self, states: Tensor, weights: Any) -> Tensor:
        """The vector of each text: (batch, time, width) -> (batch, width)."""
        if self.vector == "mean":
            return ops.squeeze(ops.matmul(weights[:, None], states), axis=1)
        inside = Tensor(weights > 0).numpy()
        if self.vector == "last":
            places = inside.shape[1] - 1 - np.argmax(inside[:, ::-1], axis=1)
        else:
            places = np.argmax(inside, axis=1)
        return states[np.arange(len(places)), places]

    def represent_each(self, examples: Any, *, progress: str = "") -> list[NDArray]:
        """Of each example the states of its pieces, (pieces, width), in evaluation mode."""
        found = {}
        for chosen, batch in self.collated(examples, BATCH, progress):
            inside = Tensor(batch[-1] > 0).numpy()
            for i, states, row in zip(chosen, self.each(batch).numpy(), inside):
                found[int(i)] = states[row]
        return [found[i] for i in range(len(examples))]
