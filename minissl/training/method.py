"""What a pretraining method must answer, so that one loop can train all of them."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import numpy as np

from minissl.autograd.tensor import Tensor
from minissl.nn.module import Module


class Method(Protocol):
    """Three questions: how is a batch made, what is its loss, what is an example's representation?

    Everything that training changes lives in ``model`` (as Parameters, or as buffers: plain Tensor
    attributes), because that is what is saved. Everything random comes from ``generator``, which
    the loop makes anew for every batch: so a run has no hidden state, and can go on after any step.
    """

    @property
    def model(self) -> Module:
        """What is trained and saved: an attribute, in most methods."""

    def batch(self, generator: np.random.Generator) -> Any:
        """A batch made from raw data, without labels."""

    def loss(self, batch: Any, generator: np.random.Generator) -> Tensor:
        """The loss of a batch: a Tensor with one element. ``generator`` is for dropout."""

    def represent(self, examples: Any) -> np.ndarray:
        """What the model makes of the examples: (examples, width)."""


@runtime_checkable
class Evaluated(Protocol):
    """A method that can also be measured while it trains."""

    def evaluate(self) -> dict[str, float]:
        """Metrics on held-out data, the same for the same weights: ``{"held_out_loss": 3.2}``."""


@runtime_checkable
class Counted(Protocol):
    """A method whose batches are not all worth the same: masked tokens, ignored targets."""

    def count(self, batch: Any) -> float:
        """How many targets ``loss(batch)`` is the mean of."""


@runtime_checkable
class InPasses(Protocol):
    """A method that goes through its data in passes, everything once in each.

    Its ``batch`` takes a second argument, the ``number`` of the batch in the run, from 0; from it
    follows where in which pass it is, so that there is no place to save or to lose.
    """

    in_passes: bool

    def batch(self, generator: np.random.Generator, number: int | None = None) -> Any:
        """The batch of this number; of a random one, where none is given."""


@runtime_checkable
class Moving(Protocol):
    """A method of which something moves beside the optimizer: a slow copy, a queue, a schedule."""

    def after_step(self, done: int) -> None:
        """Called after every update with how many there have been; what moves is in ``model``."""


@runtime_checkable
class Partial(Protocol):
    """A method that changes a part of its model, and saves no more than that."""

    def saved(self) -> Module:
        """The part: what it does not hold, somebody else gives back when the run is opened."""
