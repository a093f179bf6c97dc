"""LSTM and GRU: networks that read a sequence step by step and carry a state along. Lecture 05."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from minissl.autograd import fused
from minissl.autograd import operations as ops
from minissl.autograd.arrays import namespace
from minissl.autograd.tensor import Tensor
from minissl.nn import init
from minissl.nn.module import Module, Parameter

State = tuple[Tensor, Tensor]  # hidden and cell state


class _Recurrent(Module):
    """What LSTM and GRU share: ``num_layers`` on top of each other, with torch's parameters."""

    gates: ClassVar[int]

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        generator: np.random.Generator,
    ):
        if min(input_size, hidden_size, num_layers) < 1:
            raise ValueError(
                "input_size, hidden_size and num_layers must be 1 or more, got "
                f"{input_size}, {hidden_size} and {num_layers}"
            )
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        for layer in range(num_layers):
            shapes = {
                "weight_ih": (self.gates * hidden_size, input_size if layer == 0 else hidden_size),
                "weight_hh": (self.gates * hidden_size, hidden_size),
                "bias_ih": (self.gates * hidden_size,),
                "bias_hh": (self.gates * hidden_size,),
            }
            for name, shape in shapes.items():
                values = init.uniform_fan_in(shape, hidden_size, generator)
                setattr(self, f"{name}_l{layer}", Parameter(values))

    def weights(self, layer: int) -> tuple[Parameter, Parameter, Parameter, Parameter]:
        """weight_ih, weight_hh, bias_ih and bias_hh of a layer."""
        ih, hh = (getattr(self, f"weight_{kind}_l{layer}") for kind in ("ih", "hh"))
        return ih, hh, getattr(self, f"bias_ih_l{layer}"), getattr(self, f"bias_hh_l{layer}")

    def _zeros(self, x: Tensor) -> Tensor:
        """The state of one layer before the first step: (batch, hidden_size)."""
        zeros = namespace(x.array).zeros_like(x.array[:, 0, :1])
        return ops.broadcast_to(Tensor(zeros), shape=(x.shape[0], self.hidden_size))

    def _check(self, x: Tensor, state: Any, *names: str) -> list[Any]:
        """The arrays by these names of which the initial state is made; none where it is None."""
        kind = type(self).__name__
        if x.ndim != 3 or x.shape[2] != self.input_size or x.shape[1] == 0:
            raise ValueError(
                f"{kind}: the input has shape {x.shape}, expected (batch, time, {self.input_size}) "
                "with at least one time step"
            )
        if state is None:
            return []
        several = tuple if len(names) == 1 else (tuple, list)
        parts = state if isinstance(state, several) else (state,)
        if len(parts) != len(names):
            raise ValueError(
                f"{kind}: the initial state has {len(parts)} parts, expected {' and '.join(names)}"
            )
        parts = [part if hasattr(part, "shape") else Tensor(part) for part in parts]
        expected = (self.num_layers, x.shape[0], self.hidden_size)
        for name, part in zip(names, parts):
            if tuple(part.shape) != expected:
                raise ValueError(
                    f"{kind}: the initial {name} has shape {tuple(part.shape)}, expected "
                    f"(num_layers, batch, hidden_size) = {expected}"
                )
        return parts


class LSTM(_Recurrent):
    """Long short-term memory, ``num_layers`` of them on top of each other.

        i, f, o = σ(gates)   g = tanh(gate)   with  gates = W_ih x + b_ih + W_hh h + b_hh
        c ← f c + i g        h ← o tanh(c)

    Shapes: x (batch, time, input_size) -> outputs (batch, time, hidden_size) of the last layer, and
    the final state (h, c), each (num_layers, batch, hidden_size). ``state`` is where it begins, in
    the same shapes; None is zeros. Weights have torch's names, shapes and gate order (i, f, g, o):
    ``weight_ih_l0`` (4 hidden_size, input_size), ``weight_hh_l0`` (4 hidden_size, hidden_size),
    ``bias_ih_l0`` and ``bias_hh_l0`` (4 hidden_size,), uniform in ±1/√hidden_size.

    ``forget_bias``: where the forget gate's bias starts (None: drawn like the others). At 1 an
    untrained LSTM already remembers, σ(1) ≈ 0.73 of it per step, and gradients reach back.

    Raises ValueError for inputs or states of other shapes, and for sequences without a step.
    Hochreiter and Schmidhuber (1997); the forget gate: Gers, Schmidhuber and Cummins (2000);
    its bias: Jozefowicz, Zaremba and Sutskever (2015).
    """

    gates = 4

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        forget_bias: float | None = 1.0,
        generator: np.random.Generator,
    ):
        super().__init__(input_size, hidden_size, num_layers, generator=generator)
        if forget_bias is None:
            return
        forget = slice(hidden_size, 2 * hidden_size)
        for layer in range(num_layers):  # the two biases add up
            _, _, bias_ih, bias_hh = self.weights(layer)
            bias_ih.array[forget], bias_hh.array[forget] = forget_bias, 0

    def forward(self, x: Any, state: State | None = None) -> tuple[Tensor, State]:
        x = x if isinstance(x, Tensor) else Tensor(x)
        first = self._check(x, state, "h", "c")
        hidden, cells = [], []
        for layer in range(self.num_layers):
            h, c = (part[layer] for part in first) if first else (self._zeros(x),) * 2
            x, c = fused.lstm(x, *self.weights(layer), h, c)
            hidden.append(x[:, -1])
            cells.append(c)
        return x, (ops.stack(hidden), ops.stack(cells))


class GRU(_Recurrent):
    """Gated recurrent units, ``num_layers`` of them on top of each other: an LSTM without a cell.

        r, z = σ(gates)   with  gates = W_ih x + b_ih + W_hh h + b_hh
        n = tanh(W_in x + b_in + r (W_hn h + b_hn))      h ← (1 − z) n + z h

    Shapes: x (batch, time, input_size) -> outputs (batch, time, hidden_size) of the last layer, and
    the final state h (num_layers, batch, hidden_size). ``state`` is where it begins, in the same
    shape; None is zeros. Weights have torch's names, shapes and gate order (r, z, n):
    ``weight_ih_l0`` (3 hidden_size, input_size), ``weight_hh_l0`` (3 hidden_size, hidden_size),
    ``bias_ih_l0`` and ``bias_hh_l0`` (3 hidden_size,), uniform in ±1/√hidden_size.

    Raises ValueError for inputs or states of other shapes, and for sequences without a step.
    Cho, van Merriënboer, Gulcehre, Bahdanau, Bougares, Schwenk and Bengio (2014), who multiply with
    r before W_hn; after it, as here and in torch, all products with h are one.
    """

    gates = 3

    def forward(self, x: Any, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x = x if isinstance(x, Tensor) else Tensor(x)
        first = self._check(x, state, "h")
        hidden = []
        for layer in range(self.num_layers):
            h = first[0][layer] if first else self._zeros(x)
            x = fused.gru(x, *self.weights(layer), h)
            hidden.append(x[:, -1])
        return x, ops.stack(hidden)
