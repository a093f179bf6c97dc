"""Any loss of this library inside a PyTorch training loop. Lecture 12."""

from collections.abc import Callable
from functools import partial
from typing import Any

try:
    import torch
except ImportError as error:
    raise ImportError(
        "minissl.interop joins minissl and torch, which is not installed: "
        'pip install "minissl[torch]"'
    ) from error

from minissl.autograd.recording import recording
from minissl.autograd.tensor import Tensor


def torch_loss(loss: Callable[..., Tensor], **settings: Any) -> Callable[..., torch.Tensor]:
    """``loss`` as a function of torch tensors, with its gradient in torch's autograd.

        nt_xent = torch_loss(minissl.losses.contrastive.nt_xent, temperature=0.1)
        nt_xent(model(first), model(second)).backward()

    ``loss``: a function of Tensors that gives one Tensor, of any shapes; ``settings``: keyword
    arguments that every call gets. Floating tensors arrive in it as Tensors in the same memory, on
    whatever device, and get a gradient where they require one (a learned temperature, too); labels,
    masks, numbers and everything else arrive as they are. Under autocast the loss computes in the
    dtypes that it is given. A second backward (``retain_graph=True``) computes the loss again.

    Raises TypeError unless the result is one Tensor made of torch tensors; RuntimeError for a
    second derivative, which this library's gradients do not have, and for a second backward through
    a loss that gives another value then.
    """

    @torch.compiler.disable
    def apply(*arguments: Any, **options: Any) -> torch.Tensor:
        named = {**settings, **options}
        if torch._C._are_functorch_transforms_active():
            raise RuntimeError(
                "torch_loss: torch.func cannot look into minissl; call .backward() or "
                "torch.autograd.grad on the result, outside of its transforms"
            )

        def call(values: list[Any]) -> Tensor:
            return loss(*values[: len(arguments)], **dict(zip(named, values[len(arguments) :])))

        return _Loss.apply(call, torch.is_grad_enabled(), *arguments, *named.values())

    return apply


class _Loss(torch.autograd.Function):
    """The loss is computed and recorded by this library; torch sees one step, with its gradient."""

    @staticmethod
    def forward(ctx, call, grad_enabled, *values):
        ctx.save_for_backward(*(v for v in values if isinstance(v, torch.Tensor)))
        ctx.again = partial(_compute, call, values, ctx.needs_input_grad[2:], grad_enabled)
        ctx.inputs, ctx.result = ctx.again()
        ctx.value = ctx.result.array
        output = ctx.value.detach()  # what is returned holds this ctx, which must not hold it
        if not ctx.result.requires_grad:
            ctx.mark_non_differentiable(output)
        return output

    @staticmethod
    def backward(ctx, gradient):
        if torch.is_grad_enabled():
            raise RuntimeError(
                "torch_loss: create_graph=True asks for a second derivative, which minissl's "
                "gradients do not have; write this loss in torch's operations for that"
            )
        _ = ctx.saved_tensors  # torch raises if the graph was freed, or a tensor written to since
        if ctx.result is None:
            ctx.inputs, ctx.result = ctx.again()
            if not torch.allclose(ctx.result.array, ctx.value, rtol=0, atol=0, equal_nan=True):
                raise RuntimeError(
                    "torch_loss: a second backward through one graph computes the loss again, and "
                    "this one, which draws random numbers, gives another value: call it twice"
                )
        result, ctx.result = ctx.result, None
        result.backward(gradient)
        return None, None, *(getattr(x, "grad", None) for x in ctx.inputs)


def _compute(call, values, needs, grad_enabled):
    """The loss's arguments as this library takes them, and its result."""
    inputs = [_as_ours(value, needed) for value, needed in zip(values, needs)]
    device = next((v.device.type for v in values if isinstance(v, torch.Tensor)), "cpu")
    with recording(grad_enabled), torch.autocast(device, enabled=False):
        result = call(inputs)
    if not isinstance(result, Tensor) or not isinstance(result.array, torch.Tensor):
        got = result if isinstance(result, Tensor) else type(result).__name__
        raise TypeError(f"torch_loss: the loss must give one Tensor of torch's, got {got}")
    return inputs, result


def _as_ours(value: Any, needs_gradient: bool) -> Any:
    """A floating torch tensor as a Tensor in the same memory; everything else as it is."""
    if not isinstance(value, torch.Tensor):
        return value
    array = value.detach()
    return Tensor(array, requires_grad=needs_gradient) if value.is_floating_point() else array
