"""Operators that torch can see, at the price of a function call where nobody looks.

``torch.compile``, tracers and tensor subclasses must meet one operator, not what happens inside.
But an operator of ``torch.library`` takes about 0.1 ms of Python and dispatch a call, longer than
most kernels run. Everybody else gets the same function and the same backward through a plain
``torch.autograd.Function``.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

PLAIN = frozenset({Tensor, torch.nn.Parameter, type(None), bool, int, float, str, torch.dtype})


def watched(values: Iterable[Any]) -> bool:
    """Whether a compiler, a tracer or a tensor subclass has to see one operator."""
    return (
        not PLAIN.issuperset(map(type, values))
        or torch.compiler.is_compiling()
        or torch._C._len_torch_dispatch_stack() > 0
        or torch._C._are_functorch_transforms_active()
    )


class Operator:
    """``function``, and ``operator``: the same under its name ``minissl::...`` in torch."""

    def __init__(self, name: str, function: Callable, mutates: Iterable[str]) -> None:
        self.function = function
        self.operator = torch.library.custom_op(name, function, mutates_args=mutates)
        self.register_fake = self.operator.register_fake
        names = list(function.__annotations__)
        self._mutated = [names.index(argument) for argument in mutates]
        self._differentiated: Callable | None = None

    def register_autograd(self, backward: Callable, *, setup_context: Callable) -> None:
        """As torch.library's: ``backward(ctx, *gradients)`` and what the forward keeps for it."""
        self.operator.register_autograd(backward, setup_context=setup_context)
        function = self.function

        class Direct(torch.autograd.Function):
            @staticmethod
            def forward(ctx, *inputs):
                output = function(*inputs)
                setup_context(ctx, inputs, output)
                return output

            @staticmethod
            def backward(ctx, *gradients):
                return backward(ctx, *gradients)

        self._differentiated = Direct.apply

    def __call__(self, *inputs: Any) -> Any:
        if watched(inputs):
            return self.operator(*inputs)
        if torch.is_grad_enabled():
            if self._differentiated is not None:
                return self._differentiated(*inputs)
            if any(isinstance(value, Tensor) and value.requires_grad for value in inputs):
                return self.operator(*inputs)  # says that it has no derivative, when one is asked
        output = self.function(*inputs)
        for at in self._mutated:
            torch.autograd.graph.increment_version(inputs[at])
        return output


def operator(name: str, mutates: Iterable[str] = ()) -> Callable[[Callable], Operator]:
    """Decorate a function of tensors, numbers and None whose annotations tell torch its types."""
    return lambda function: Operator(name, function, mutates)
