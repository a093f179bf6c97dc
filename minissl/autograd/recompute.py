"""``recompute``: trade time for memory by forgetting what the backward pass will compute again.

The activations of a deep network are far larger than its parameters, and all of them wait for the
backward pass. A part of the network under ``recompute`` keeps only its inputs: when the gradient
arrives, the part is run once more, its graph lives for that moment, and is gone. One more forward
pass for a stack of blocks buys the memory of all but one of them. (Chen, Xu, Zhang and Guestrin,
2016, Training Deep Nets with Sublinear Memory Cost.) Lecture 07.
"""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np

from minissl.autograd.arrays import namespace
from minissl.autograd.checked import checksum, is_checked
from minissl.autograd.nodes import Node
from minissl.autograd.recording import is_recording, no_grad, recording
from minissl.autograd.tensor import Tensor


def recompute(
    function: Callable[..., Tensor],
    *inputs: Tensor,
    generator: np.random.Generator | None = None,
) -> Tensor:
    """``function(*inputs, generator=generator)``, whose graph is made only when it is walked back.

    ``function`` may use Parameters, which get their gradients as always. What it draws must come
    from ``generator``, which is rewound for the second time; it must have no other side effect.
    The gradients are the same, bit for bit, as without ``recompute`` (to rounding, where an input
    is used by several parts, whose gradients are then added in another order).
    """
    rewound = copy.deepcopy(generator)
    with no_grad():
        output = function(*inputs, generator=generator)
    if not is_recording():
        return output

    before = checksum(output.array) if is_checked() else None

    def vjp(g: Any) -> tuple[Any, ...]:
        leaves = [Tensor(x.array, requires_grad=x.requires_grad) for x in inputs]
        with recording():
            again = function(*leaves, generator=rewound)
            if before is not None and checksum(again.array) != before:
                raise RuntimeError(
                    "recompute: the second pass gave other values than the first: an array that it "
                    "reads was written in between, or it draws from another generator"
                )
            if again.requires_grad:  # else all of it is frozen, and nothing here asks for g
                again.backward(g)
        return tuple(
            namespace(leaf.array).zeros_like(leaf.array) if leaf.grad is None else leaf.grad
            for leaf in leaves
        )

    result = Tensor(output.array)
    result.requires_grad = True
    parents = tuple((x.node or x) if x.requires_grad else None for x in inputs)
    result.node = Node("recompute", parents, vjp, output.array)
    return result
