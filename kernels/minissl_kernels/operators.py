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
from torch.autograd import forward_ad

PLAIN = frozenset({Tensor, torch.nn.Parameter, type(None), bool, int, float, str, torch.dtype})


def watched(values: Iterable[Any]) -> bool:
    """Whether a compiler, a tracer or a tensor subclass has to see one operator."""
    return (
        not PLAIN.issuperset(map(type, values))
        or torch.compiler.is_compiling()
        or torch.jit.is_tracing()
        or torch._C._len_torch_dispatch_stack() > 0
        or torch._C._are_functorch_transforms_active()
    )


class _Once(torch.autograd.Function):
    """Gradients that depend on the inputs, though nobody has written how.

    Autograd would take them for constants: a second derivative would lack a part without a word.
    """

    @staticmethod
    def forward(ctx, name, _requires_grad, *gradients):
        ctx.name = name
        return tuple(g if g is None else g.detach() for g in gradients)

    @staticmethod
    def backward(ctx, *_):
        raise RuntimeError(
            f"{ctx.name}: torch.autograd was asked for a second derivative (create_graph=True), "
            "which this kernel does not have; use torch's own operations there"
        )


def once(name: str, backward: Callable) -> Callable:
    """The backward, such that a derivative of what it returns is an error."""

    def differentiate(ctx: Any, *upstream: Tensor) -> Any:
        with torch.no_grad():
            gradients = backward(ctx, *upstream)
        if not torch.is_grad_enabled():
            return gradients
        return _Once.apply(name, torch.empty(0, requires_grad=True), *gradients)

    return differentiate


class Operator:
    """``function``, and ``operator``: the same under its name ``minissl::...`` in torch."""

    def __init__(self, name: str, function: Callable, mutates: Iterable[str]) -> None:
        self.name, self.function = name, function
        self.operator = torch.library.custom_op(name, function, mutates_args=mutates)
        self.register_fake = self.operator.register_fake
        names = list(function.__annotations__)
        self._mutated = [names.index(argument) for argument in mutates]
        self._differentiated: Callable | None = None

    def register_autograd(
        self, backward: Callable, *, setup_context: Callable, linear: bool = False
    ) -> None:
        """As torch.library's: ``backward(ctx, *gradients)`` and what the forward keeps for it.

        Only where the function is ``linear`` is there a second derivative: it is 0.
        """
        backward = backward if linear else once(self.name, backward)
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
        if forward_ad._current_level >= 0:
            self._refuse_tangents(inputs)
        if watched(inputs):
            return self.operator(*inputs)
        if torch.is_grad_enabled() and self._differentiated is not None:
            return self._differentiated(*inputs)
        output = self.function(*inputs)
        for at in self._mutated:
            torch.autograd.graph.increment_version(inputs[at])
        return output

    def _refuse_tangents(self, inputs: Iterable[Any]) -> None:
        tensors = [value for value in inputs if isinstance(value, Tensor)]
        if any(forward_ad.unpack_dual(tensor).tangent is not None for tensor in tensors):
            raise RuntimeError(
                f"{self.name} has no derivative in forward mode (torch.func.jvp, dual tensors): "
                "use torch.autograd.grad, or torch's own operations there"
            )


def operator(name: str, mutates: Iterable[str] = ()) -> Callable[[Callable], Operator]:
    """Decorate a function of tensors, numbers and None whose annotations tell torch its types."""
    return lambda function: Operator(name, function, mutates)
