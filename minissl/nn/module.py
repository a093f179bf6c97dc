"""``Module``: a function with parameters, and ``Parameter``: a tensor that training changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from minissl.autograd.arrays import Array, dtype_name, is_floating, namespace
from minissl.autograd.devices import device_of, move, resolve_device
from minissl.autograd.tensor import Tensor


class Parameter(Tensor):
    """A Tensor that an optimizer changes. As an attribute of a Module it is found by its name."""

    __slots__ = ()

    def __init__(self, data: Any):
        super().__init__(data, requires_grad=True)


class Module:
    """A part of a network: subclasses write ``__init__`` (the parts) and ``forward`` (the formula).

    Attributes that are Parameters are trained; plain Tensors are buffers (saved, not trained: the
    running mean of a BatchNorm); Modules, and lists of Modules, are sub-modules. Names are paths,
    as in torch: ``blocks.0.attention.query.weight``. A Parameter reached by two paths (tied
    weights) is listed once, under the first.
    """

    training = True

    def forward(self, *inputs: Any, **settings: Any) -> Any:
        """What the module computes."""
        raise NotImplementedError(f"{type(self).__name__} has no forward()")

    def __call__(self, *inputs: Any, **settings: Any) -> Any:
        return self.forward(*inputs, **settings)

    # ---- finding the parts ------------------------------------------------------------------

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """This module and all below it, with their paths ("" for this one)."""
        yield prefix, self
        for name, value in vars(self).items():
            children = enumerate(value) if isinstance(value, list | tuple) else [(None, value)]
            for number, child in children:
                if isinstance(child, Module):
                    path = name if number is None else f"{name}.{number}"
                    yield from child.named_modules(f"{prefix}.{path}" if prefix else path)

    def named_tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Every Parameter and every buffer once, with its path."""
        seen: set[int] = set()
        for path, module in self.named_modules():
            for name, value in vars(module).items():
                if isinstance(value, Tensor) and id(value) not in seen:
                    seen.add(id(value))
                    yield (f"{path}.{name}" if path else name), value

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """Every Parameter once, with its path."""
        return ((n, t) for n, t in self.named_tensors() if isinstance(t, Parameter))

    def parameters(self) -> list[Parameter]:
        """Every Parameter once, in the order of the attributes."""
        return [parameter for _, parameter in self.named_parameters()]

    def num_parameters(self) -> int:
        """How many numbers training changes."""
        return sum(parameter.size for parameter in self.parameters())

    # ---- switches ---------------------------------------------------------------------------

    def train(self, mode: bool = True) -> Module:
        """Training mode: Dropout drops, BatchNorm uses the batch. Returns self."""
        for _, module in self.named_modules():
            module.training = mode
        return self

    def eval(self) -> Module:
        """Evaluation mode: the same input gives the same output. Returns self."""
        return self.train(False)

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for parameter in self.parameters():
            parameter.grad = None

    def freeze(self) -> Module:
        """No gradient for any parameter here, as for a pretrained encoder under a probe."""
        for parameter in self.parameters():
            parameter.requires_grad = False
        return self

    def astype(self, dtype: Any) -> Module:
        """All floating parameters and buffers in another dtype (float64 for gradient checks)."""
        for _, tensor in self.named_tensors():
            if is_floating(tensor.array):
                tensor.array = namespace(tensor.array).astype(tensor.array, dtype)
        return self

    def to(self, device: str) -> Module:
        """All parameters and buffers on another device: "cpu", "cuda", "cuda:1" or "auto".

        Gradients are forgotten. Make the optimizer afterwards: it works where the parameters are.
        """
        target = resolve_device(device)
        return self.map_arrays(lambda array: move(array, target))

    @property
    def device(self) -> str:
        """Where the first parameter lives: "cpu", "cuda:0", ..."""
        return next((device_of(tensor.array) for _, tensor in self.named_tensors()), "cpu")

    def map_arrays(self, function: Callable[[Array], Array]) -> Module:
        """Replace every parameter's and buffer's array: ``map_arrays(torch.from_numpy)``."""
        for _, tensor in self.named_tensors():
            tensor.array, tensor.grad = function(tensor.array), None
        return self

    # ---- saving and loading -----------------------------------------------------------------

    def state_dict(self) -> dict[str, np.ndarray]:
        """A copy of every parameter and buffer as a NumPy array, by path."""
        return {name: tensor.numpy().copy() for name, tensor in self.named_tensors()}

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> None:
        """Copy arrays into the parameters and buffers of the same paths.

        ``strict``: every path must be there and none may be left over; otherwise both are ignored.
        Raises KeyError for missing or unexpected paths and ValueError for a shape that differs;
        in both cases nothing has been changed.
        """
        own = dict(self.named_tensors())
        missing, unexpected = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
        if strict and (missing or unexpected):
            raise KeyError(
                f"the state does not fit {type(self).__name__}: missing {missing or 'nothing'}, "
                f"unexpected {unexpected or 'nothing'}. Was it saved by another configuration?"
            )
        arrays = {name: np.asarray(state[name]) for name in own.keys() & state.keys()}
        for name, array in sorted(arrays.items()):
            if array.shape != own[name].shape:
                raise ValueError(
                    f"'{name}' has shape {array.shape} in the state and {own[name].shape} in the "
                    "module: was it saved by another configuration?"
                )
        for name, array in arrays.items():
            own[name].array = _like(array, own[name].array)


def _like(values: np.ndarray, array: Array) -> Array:
    """A copy of the values in the dtype and library of the array they replace."""
    if isinstance(array, np.ndarray):
        return np.array(values, dtype=array.dtype)
    import torch

    return torch.from_numpy(np.array(values)).to(dtype=array.dtype, device=array.device)


def describe(module: Module) -> str:
    """One line per parameter: path, shape, dtype; and the total. For a look before training."""
    lines = [f"{n:<48} {t.shape!s:<20} {dtype_name(t.array)}" for n, t in module.named_parameters()]
    return "\n".join([*lines, f"{module.num_parameters():,} parameters"])
