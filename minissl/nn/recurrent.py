"""LSTM: a network that reads a sequence step by step and carries a memory along. Lecture 05."""

from __future__ import annotations

from typing import Any

import numpy as np

from minissl.autograd import operations as ops
from minissl.autograd.arrays import Array, namespace
from minissl.autograd.nodes import Node
from minissl.autograd.recording import is_recording
from minissl.autograd.tensor import Tensor
from minissl.nn import init
from minissl.nn.module import Module, Parameter

State = tuple[Tensor, Tensor]  # hidden and cell state


class LSTM(Module):
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

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        forget_bias: float | None = 1.0,
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
                "weight_ih": (4 * hidden_size, input_size if layer == 0 else hidden_size),
                "weight_hh": (4 * hidden_size, hidden_size),
                "bias_ih": (4 * hidden_size,),
                "bias_hh": (4 * hidden_size,),
            }
            for name, shape in shapes.items():
                values = init.uniform_fan_in(shape, hidden_size, generator)
                if name.startswith("bias") and forget_bias is not None:  # the two biases add up
                    forget = slice(hidden_size, 2 * hidden_size)
                    values[forget] = forget_bias if name == "bias_ih" else 0
                setattr(self, f"{name}_l{layer}", Parameter(values))

    def forward(self, x: Any, state: State | None = None) -> tuple[Tensor, State]:
        x = x if isinstance(x, Tensor) else Tensor(x)
        self._check(x, state)
        hidden, cells = [], []
        for layer in range(self.num_layers):
            weight_ih, weight_hh, bias_ih, bias_hh = (
                getattr(self, f"{name}_l{layer}")
                for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            )
            if state is None:
                zeros = namespace(x.array).zeros_like(x.array[:, 0, :1])
                h = c = ops.broadcast_to(Tensor(zeros), shape=(x.shape[0], self.hidden_size))
            else:
                h, c = state[0][layer], state[1][layer]
            # Everything that does not wait for h: one large product for all time steps.
            from_input = ops.linear(x, weight_ih, bias_ih + bias_hh)  # (batch, time, 4 hidden)
            outputs = []
            for step_input in unstack(from_input, axis=1):
                h, c = self._step(step_input + ops.linear(h, weight_hh), c)
                outputs.append(h)
            x = ops.stack(outputs, axis=1)  # (batch, time, hidden)
            hidden.append(h)
            cells.append(c)
        return x, (ops.stack(hidden), ops.stack(cells))

    def _step(self, gates: Tensor, c: Tensor) -> State:
        """One time step: gates (batch, 4 hidden), c (batch, hidden) -> the new h and c."""
        i, f, g, o = unstack(gates.reshape(gates.shape[0], 4, self.hidden_size), axis=1)
        c = ops.sigmoid(f) * c + ops.sigmoid(i) * ops.tanh(g)
        return ops.sigmoid(o) * ops.tanh(c), c

    def _check(self, x: Tensor, state: State | None) -> None:
        if x.ndim != 3 or x.shape[2] != self.input_size or x.shape[1] == 0:
            raise ValueError(
                f"LSTM: the input has shape {x.shape}, expected (batch, time, {self.input_size}) "
                "with at least one time step"
            )
        expected = (self.num_layers, x.shape[0], self.hidden_size)
        for name, tensor in zip(("h", "c"), state or ()):
            if tensor.shape != expected:
                raise ValueError(
                    f"LSTM: the initial {name} has shape {tuple(tensor.shape)}, expected "
                    f"(num_layers, batch, hidden_size) = {expected}"
                )


def unstack(tensor: Tensor, axis: int) -> list[Tensor]:
    """The slices along an axis, without it: the inverse of ``stack``.

    Indexing would do the same, but its gradient is an array of the full size for every slice, and T
    slices would cost T² time. Here all slices write their gradients into one array.
    """
    slices = [tensor.array[(slice(None),) * axis + (i,)] for i in range(tensor.shape[axis])]
    results = [Tensor(array) for array in slices]
    if not (tensor.requires_grad and is_recording()):
        return results

    xp, shape = namespace(tensor.array), tensor.shape
    like = {"dtype": tensor.dtype, "device": tensor.array.device}
    nothing = xp.zeros((), **like)  # what the engine adds up, beside the array that has it all
    collected: list[Array] = []  # the gradient of the whole tensor, once a slice has sent one

    def collect(i: int, g: Array) -> Array:
        if not collected:
            collected.append(xp.zeros(shape, **like))
        collected[0][(slice(None),) * axis + (i,)] = g
        return nothing

    whole = Node("unstack", (tensor.node or tensor,), (lambda _: collected[0],), nothing)
    for i, result in enumerate(results):
        result.requires_grad = True
        result.node = Node("slice", (whole,), (lambda g, i=i: collect(i, g),), result.array)
    return results
