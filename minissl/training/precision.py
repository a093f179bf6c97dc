"""bfloat16 for the work, float32 for what is remembered. Lecture 07.

A matrix product in bfloat16 is several times as fast on a GPU and its arrays are half as large. But
a weight of 1 in bfloat16 has no neighbour nearer than 1.0078: an update smaller than half of that
would be lost, step after step. So the parameters stay in float32 (the master weights), each step
computes with a copy in bfloat16, and the gradients are added to the masters in float32
(Micikevicius et al., 2018, Mixed Precision Training). bfloat16 has float32's range, so that no
scaling of the loss is needed, as it would be for float16.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from minissl.autograd.arrays import Array, converted, dtype_name, namespace
from minissl.autograd.rows import merged, stored, with_values
from minissl.nn.module import Module

PRECISIONS = ("float32", "bfloat16")


def check_precision(precision: str, model: Module) -> None:
    """Raise ValueError for a precision that is none, or that the model's device does not have."""
    if precision not in PRECISIONS:
        raise ValueError(f"precision must be one of {PRECISIONS}, got {precision!r}")
    if precision == "bfloat16" and model.device == "cpu":
        raise ValueError(
            "precision 'bfloat16' needs a GPU (NumPy has no such numbers): "
            "model.to('cuda') first, or use 'float32'"
        )


def in_float32(loss: Array) -> Array:
    """A loss for the log: a mean over batches or processes needs more than bfloat16's digits."""
    xp = namespace(loss)
    return xp.astype(loss, xp.float32) if dtype_name(loss) == "bfloat16" else loss


@contextmanager
def computing_in(precision: str, model: Module) -> Iterator[None]:
    """Within this block the float32 parameters are bfloat16 copies; gradients come out in float32.

    The gradients are added to those that the parameters have already. Buffers stay in float32.
    """
    if precision == "float32":
        yield
        return
    masters = [(p, p.array, p.grad) for p in model.parameters() if dtype_name(p.array) == "float32"]
    copies = converted([array for _, array, _ in masters], "bfloat16")
    for (parameter, _, _), copy in zip(masters, copies):
        parameter.array, parameter.grad = copy, None
    try:
        yield
    finally:
        gradients = []
        for parameter, array, earlier in masters:
            if parameter.grad is not None:
                gradients.append((parameter, parameter.grad, earlier))
            parameter.array, parameter.grad = array, earlier
        exact = converted([stored(gradient) for _, gradient, _ in gradients], "float32")
        for (parameter, rounded, earlier), values in zip(gradients, exact):
            gradient = with_values(rounded, values)
            parameter.grad = merged([gradient] if earlier is None else [earlier, gradient])
