"""Operators that torch can see, at the price of a function call where nobody looks.

``torch.compile``, tracers and tensor subclasses must meet one operator, not what happens inside.
But an operator of ``torch.library`` takes about 0.1 ms of Python and dispatch a call, longer than
most kernels run. Everybody else gets the same function and the same backward through a plain
``torch.autograd.Function``.

A backward kernel has no backward of its own. Who asks for a graph of the gradient
(``create_graph=True``) gets the gradient from torch's operations where an operator names them, and
an error where it does not; forward mode and the transforms of ``torch.func`` are refused.
"""

from collections.abc import Callable, Iterable, Sequence
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


def refuse_transforms(name: str, inputs: Iterable[Any], vmap: bool = True) -> None:
    """Raise RuntimeError in forward mode and in torch.func's transforms, ``vmap`` if it has one.

    What a kernel gives there is a constant to torch: a derivative would be 0 without a word.
    """
    if forward_ad._current_level >= 0:
        tensors = [value for value in inputs if isinstance(value, Tensor)]
        if any(forward_ad.unpack_dual(tensor).tangent is not None for tensor in tensors):
            raise RuntimeError(
                f"{name} has no derivative in forward mode (torch.func.jvp, dual tensors): "
                "use torch.autograd.grad, or torch's own operations there"
            )
    if torch.compiler.is_compiling():
        return
    if torch._C._are_functorch_transforms_active():
        transform = torch._C._functorch.peek_interpreter_stack().key().name
        if transform in ("Grad", "Jvp") or (transform == "Vmap" and not vmap):
            raise RuntimeError(
                f"{name} cannot be transformed by torch.func ({transform.lower()}): use "
                "torch.autograd.grad, a loop, or torch's own operations there"
            )


def gradients_of(
    function: Callable, tensors: Sequence[Tensor | None], upstream: Tensor
) -> list[Tensor | None]:
    """The gradients of ``function(*tensors)`` by torch's operations, with a graph of their own.

    For tensors that need none, and for None, None. The tensors are the user's, not copies: so the
    gradients of the gradients arrive at what the user differentiates.
    """
    wanted = [tensor for tensor in tensors if tensor is not None and tensor.requires_grad]
    given = torch.autograd.grad(
        function(*tensors), wanted, upstream, create_graph=True, materialize_grads=True
    )
    found = iter(given)
    return [
        next(found) if tensor is not None and tensor.requires_grad else None for tensor in tensors
    ]


class _Once(torch.autograd.Function):
    """Gradients that depend on the inputs, though nobody has written how.

    Autograd would take them for constants: a second derivative would lack a part without a word.
    The first ``count`` tensors are what they depend on, so that autograd comes by on its way there.
    """

    @staticmethod
    def forward(ctx, name, count, *tensors):
        ctx.name = name
        return tuple(g if g is None else g.detach() for g in tensors[count:])

    @staticmethod
    def backward(ctx, *_):
        raise RuntimeError(
            f"{ctx.name}: torch.autograd was asked for a second derivative (create_graph=True), "
            "which this kernel does not have; use torch's own operations there"
        )


def refuse_batches(name: str, upstream: Iterable[Tensor | None]) -> None:
    """Raise RuntimeError where torch hands over many gradients as if they were one."""
    if any(g is not None and torch._C._functorch.is_legacy_batchedtensor(g) for g in upstream):
        raise RuntimeError(
            f"{name} takes one gradient at a time, not a batch (is_grads_batched=True, "
            "vectorize=True): call torch.autograd.grad in a loop"
        )


def once(name: str, backward: Callable, composed: Callable | None) -> Callable:
    """The backward; with a graph of its own it is ``composed``, or its derivative is an error."""

    def differentiate(ctx: Any, *upstream: Tensor) -> Any:
        if torch.is_grad_enabled() and composed is not None:
            return composed(ctx, *upstream)
        with torch.no_grad():
            gradients = backward(ctx, *upstream)
        if not torch.is_grad_enabled():
            return gradients
        tensors = (*ctx.saved_tensors, *upstream)
        origins = [tensor for tensor in tensors if tensor is not None and tensor.requires_grad]
        return _Once.apply(name, len(origins), *origins, *gradients)

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
        self,
        backward: Callable,
        *,
        setup_context: Callable,
        linear: bool = False,
        composed: Callable | None = None,
    ) -> None:
        """As torch.library's: ``backward(ctx, *gradients)`` and what the forward keeps for it.

        There is a second derivative where the function is ``linear`` (it is 0), and where
        ``composed(ctx, *gradients)`` gives the same gradients by torch's operations.
        """
        backward = backward if linear else once(self.name, backward, composed)
        self.operator.register_autograd(backward, setup_context=setup_context)
        function, name = self.function, self.name

        class Direct(torch.autograd.Function):
            @staticmethod
            def forward(ctx, *inputs):
                output = function(*inputs)
                setup_context(ctx, inputs, output)
                return output

            @staticmethod
            def backward(ctx, *gradients):
                refuse_batches(name, gradients)
                return backward(ctx, *gradients)

        self._differentiated = Direct.apply

    def __call__(self, *inputs: Any) -> Any:
        refuse_transforms(self.name, inputs)
        if watched(inputs):
            return self.operator(*inputs)
        if torch.is_grad_enabled() and self._differentiated is not None:
            return self._differentiated(*inputs)
        output = self.function(*inputs)
        for at in self._mutated:
            torch.autograd.graph.increment_version(inputs[at])
        return output


def operator(name: str, mutates: Iterable[str] = ()) -> Callable[[Callable], Operator]:
    """Decorate a function of tensors, numbers and None whose annotations tell torch its types."""
    return lambda function: Operator(name, function, mutates)
