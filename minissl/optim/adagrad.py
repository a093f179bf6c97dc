"""AdaGrad: a learning rate for every number, smaller the more it has moved already."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from minissl.autograd.arrays import namespace
from minissl.autograd.fused.chunks import for_each_chunk
from minissl.autograd.rows import Rows, stored
from minissl.nn.module import Parameter
from minissl.optim.optimizer import Optimizer, require_number

PIECE_BYTES = 1 << 18  # several arrays of it stay in a core's cache


class AdaGrad(Optimizer):
    """s ← s + g²,  p ← p − lr g / (√s + ε).

    s begins with ``initial_sum`` (GloVe's is 1): the larger, the shorter the first steps. A word
    that comes in every batch soon moves little, one that comes in one of a thousand goes on with
    long steps. Takes gradients that have some rows only
    (``Embedding(sparse=True)``): a row whose gradient is zero would not move. Raises ValueError for
    numbers that are negative or not finite, and when initial_sum and eps are both 0.

    Duchi, Hazan and Singer (2011), Adaptive Subgradient Methods. Lecture 04.
    """

    slots = ("sum_of_squares",)
    takes_rows = True

    def __init__(
        self,
        named_parameters: Iterable[tuple[str, Parameter]],
        lr: float = 1e-2,
        initial_sum: float = 0.0,
        eps: float = 1e-10,
    ):
        super().__init__(named_parameters, lr)
        self.initial_sum = require_number("initial_sum", initial_sum)
        self.eps = require_number("eps", eps)
        if not self.initial_sum + self.eps:
            raise ValueError("initial_sum and eps are both 0: the first step would divide by 0")

    def update(self, name: str, parameter: Parameter, lr: float) -> None:
        """One step for one parameter, in place: of all of it, or of the rows that ``Rows`` has.

        ``self.state["sum_of_squares"][name]``: the g² so far, zeros before the first step, without
        ``self.initial_sum``.
        """
        gradient, squares = parameter.grad, self.state["sum_of_squares"][name]
        p, g = parameter.array, stored(gradient)
        positions = gradient.positions if isinstance(gradient, Rows) else None

        def move(_: int, piece: Any) -> None:
            rows = piece if positions is None else positions[piece]
            s = g[piece] * g[piece]
            s += squares[rows]
            squares[rows] = s
            s += self.initial_sum  # kept apart: the sum of a new parameter begins with zeros
            root = namespace(s).sqrt(s)
            root += self.eps
            step = g[piece] / root
            step *= lr
            p[rows] -= step

        if p.ndim and isinstance(p, np.ndarray):
            for_each_chunk(move, g, PIECE_BYTES)
        else:
            move(0, ...)

    def settings(self) -> dict[str, Any]:
        """What this optimizer was told, in JSON types."""
        return {**super().settings(), "initial_sum": self.initial_sum, "eps": self.eps}
