"""Stochastic gradient descent: a step against the gradient, with momentum if wanted."""

from collections.abc import Iterable
from typing import Any

from minissl.autograd.rows import Rows
from minissl.nn.module import Parameter
from minissl.optim.optimizer import Optimizer, require_number


class SGD(Optimizer):
    """p ← p − lr u  with velocity b ← μ b + g and u = b, or u = g + μ b for Nesterov's variant.

    g is the gradient plus ``weight_decay`` · p (an L2 penalty, as in torch). μ is ``momentum``;
    without momentum u = g. Where the gradient has some rows only (``Embedding(sparse=True)``), the
    others stay as they are, which is the same unless there is momentum or weight decay. Raises
    ValueError for numbers out of range, and for ``nesterov`` without momentum.

    Polyak (1964); Nesterov (1983); Sutskever et al. (2013), On the importance of initialization and
    momentum in deep learning. Lecture 01.
    """

    def __init__(
        self,
        named_parameters: Iterable[tuple[str, Parameter]],
        lr: float,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ):
        self.momentum = require_number("momentum", momentum, high=1, below=True)
        self.weight_decay = require_number("weight_decay", weight_decay)
        self.nesterov = nesterov
        if nesterov and not momentum:
            raise ValueError("nesterov=True looks ahead along the velocity: set momentum, e.g. 0.9")
        self.slots = ("velocity",) if momentum else ()
        self.takes_rows = not (momentum or weight_decay)
        super().__init__(named_parameters, lr)

    def update(self, name: str, parameter: Parameter, lr: float) -> None:
        """One step for one parameter, in place."""
        gradient = parameter.grad
        if isinstance(gradient, Rows):
            parameter.array[gradient.positions] -= lr * gradient.values
            return
        assert gradient is not None
        if self.weight_decay:
            gradient = gradient + self.weight_decay * parameter.array
        if self.momentum:
            velocity = self.state["velocity"][name]
            velocity *= self.momentum
            velocity += gradient
            gradient = gradient + self.momentum * velocity if self.nesterov else velocity
        parameter.array -= lr * gradient

    def settings(self) -> dict[str, Any]:
        """What this optimizer was told, in JSON types."""
        return {
            **super().settings(),
            "momentum": self.momentum,
            "nesterov": self.nesterov,
            "weight_decay": self.weight_decay,
        }
