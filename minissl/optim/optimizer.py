"""What every optimizer is: parameters by name, a learning rate, and a state that can be saved."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from minissl.autograd.arrays import Array, namespace
from minissl.autograd.rows import Rows
from minissl.autograd.tensor import Tensor
from minissl.nn.module import Parameter
from minissl.optim.clip import clip_grad_norm


class Optimizer:
    """The base of SGD, AdaGrad and AdamW; a subclass says what one parameter's update is.

    ``named_parameters``: (name, Parameter) pairs, i.e. ``model.named_parameters()``. A Parameter
    that comes twice (tied weights) is taken once, under its first name. ``lr`` is a plain attribute
    that a schedule may set before each step.

    Raises TypeError for bare parameters, ValueError for none, for two under one name, and for a
    learning rate that is negative or not finite.
    """

    slots: tuple[str, ...] = ()  # the names of the arrays kept per parameter: "first_moment", ...
    takes_rows = False  # whether an update can do with the rows of a gradient that are not zero

    def __init__(self, named_parameters: Iterable[tuple[str, Parameter]], lr: float):
        self.parameters: dict[str, Parameter] = _once_each(named_parameters)
        self.lr = require_number("lr", lr)
        # What is remembered of each parameter from its first gradient on, and how many it had.
        self.state: dict[str, dict[str, Array]] = {slot: {} for slot in self.slots}
        self.steps: dict[str, int] = {}

    def step(self) -> None:
        """Update every parameter that has a gradient, in place; the others stay as they are.

        In place: no graph that will still run ``backward()`` may hold the old values.
        """
        lr = require_number("lr", self.lr)
        for name, parameter in self._about_to_step().items():
            self.update(name, parameter, lr)

    def step_if_finite(self, loss: Array | float, max_norm: float = math.inf) -> Array | float:
        """Clip the gradients to the norm ``max_norm`` and ``step()``; returns the norm before.

        When the loss or the norm is not finite, no update is made: the caller is the one to stop.
        The norm is a number, or, where an optimizer can do without waiting for a GPU, an array.
        """
        norm = clip_grad_norm(self.parameters.values(), max_norm)
        if math.isfinite(float(loss) + norm):
            self.step()
        return norm

    def _about_to_step(self) -> dict[str, Parameter]:
        """The parameters that have a gradient, with their slots made and this step counted."""
        moving = {name: p for name, p in self.parameters.items() if p.grad is not None}
        sparse = [name for name, p in moving.items() if isinstance(p.grad, Rows)]
        self.require_rows_taken(sparse)
        for name, parameter in moving.items():
            for slot in self.slots:
                if name not in self.state[slot]:
                    self.state[slot][name] = namespace(parameter.array).zeros_like(parameter.array)
            self.steps[name] = self.steps.get(name, 0) + 1
        return moving

    def require_rows_taken(self, sparse: Sequence[str]) -> None:
        """Raise ValueError for gradients that have some rows only, unless these are enough."""
        if sparse and not self.takes_rows:
            raise ValueError(
                f"the gradient of {sparse[0]!r} has some rows only, and this {type(self).__name__} "
                "moves every row in every step: use AdaGrad, or SGD without momentum and weight "
                "decay, or make the Embedding without sparse=True"
            )

    def update(self, name: str, parameter: Parameter, lr: float) -> None:
        """Change ``parameter.array`` (and this parameter's state) in place by its gradient."""
        raise NotImplementedError(f"{type(self).__name__} has no update()")

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for parameter in self.parameters.values():
            parameter.grad = None

    def settings(self) -> dict[str, Any]:
        """What this optimizer was told (but the learning rate) in JSON types, to compare runs."""
        return {"name": type(self).__name__}

    def state_dict(self) -> dict[str, np.ndarray]:
        """A copy of the state, flat: ``"first_moment/blocks.0.weight"``, ``"step/..."``.

        ``step/<name>`` is how many updates the parameter has had: a parameter without a gradient is
        skipped, and its bias correction must not count the steps that it missed.
        """
        arrays = {f"step/{name}": np.asarray(count) for name, count in self.steps.items()}
        for slot in self.slots:
            for name, array in self.state[slot].items():
                arrays[f"{slot}/{name}"] = Tensor(array).numpy().copy()
        return arrays

    def load_state_dict(self, state: Mapping[str, np.ndarray]) -> None:
        """Replace the state by a saved one: the next step is then the step that would have come.

        Raises KeyError for entries that are unknown or incomplete, ValueError for a wrong shape; in
        both cases nothing has been changed.
        """
        stepped = [name.removeprefix("step/") for name in state if name.startswith("step/")]
        expected = {f"{slot}/{name}" for name in stepped for slot in ("step", *self.slots)}
        unknown = sorted({n for n in stepped if n not in self.parameters} | state.keys() - expected)
        missing = sorted(expected - state.keys())
        if unknown or missing:
            raise KeyError(
                f"the state does not fit this {type(self).__name__}: missing {missing or 'nothing'}"
                f", unknown {unknown or 'nothing'}. Was it saved by another optimizer or model?"
            )
        for entry, values in state.items():
            slot, name = entry.split("/", 1)
            shape = () if slot == "step" else self.parameters[name].shape
            if np.shape(values) != shape:
                raise ValueError(
                    f"'{entry}' has shape {np.shape(values)} in the state, expected {shape}: "
                    "was it saved by another model?"
                )
        self.steps = {name: int(state[f"step/{name}"]) for name in stepped}
        self.state = {
            slot: {n: _like(state[f"{slot}/{n}"], self.parameters[n].array) for n in stepped}
            for slot in self.slots
        }


def require_number(
    name: str, value: Any, low: float = 0.0, high: float = math.inf, below: bool = False
) -> float:
    """``value`` as a Python float (a NumPy number would turn float32 arrays into float64 ones).

    Raises ValueError unless it is finite and low ≤ value ≤ high (``below``: value < high).
    """
    number = float(value)
    if not (math.isfinite(number) and low <= number <= high) or (below and number == high):
        limit = f"{low:g} or more" + (f" and {'below' if below else 'up to'} {high:g}")
        raise ValueError(
            f"{name} must be a finite number"
            + (f", {limit}" if math.isfinite(high) else f" ≥ {low:g}")
            + f", got {value!r}"
        )
    return number


def _once_each(named_parameters: Iterable[tuple[str, Parameter]]) -> dict[str, Parameter]:
    found: dict[str, Parameter] = {}
    seen: set[int] = set()
    for pair in named_parameters:
        if not (isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[0], str)):
            raise TypeError(
                f"an optimizer takes (name, Parameter) pairs, got {type(pair).__name__}: "
                "pass model.named_parameters()"
            )
        name, parameter = pair
        if not isinstance(parameter, Parameter):
            raise TypeError(f"'{name}' is a {type(parameter).__name__}, expected a Parameter")
        if id(parameter) in seen:
            continue
        if name in found:
            raise ValueError(f"two parameters are named '{name}': give each part its own prefix")
        seen.add(id(parameter))
        found[name] = parameter
    if not found:
        raise ValueError(
            "there is no parameter to train: named_parameters is empty (was it a generator that "
            "had been used up?)"
        )
    return found


def _like(values: np.ndarray, array: Array) -> Array:
    """A copy of the values in the dtype, library and place of a parameter's array."""
    return namespace(array).asarray(
        np.ascontiguousarray(values).reshape(np.shape(values)),
        dtype=array.dtype,
        device=array.device,
        copy=True,
    )
