"""The graph behind a Tensor: one ``Node`` per operation, and the walk back. Lecture 02."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from minissl.autograd.arrays import Array, is_repeated, memory, namespace, unbroadcast

if TYPE_CHECKING:
    from minissl.autograd.tensor import Tensor


class Node:
    """One operation of the graph: its name, its parents, and the way back to them.

    ``parents`` holds, for every input that needs a gradient, the Node that made it, or the Tensor
    itself if it is a leaf. Arrays are held only by the closures in ``vjps`` that need them, so that
    an intermediate result that no rule needs is freed as soon as the forward pass drops it.
    """

    __slots__ = ("dtype", "operation", "parents", "shape", "vjps")

    def __init__(
        self, operation: str, parents: tuple[Node | Tensor | None, ...], vjps: Any, output: Array
    ):
        self.operation = operation
        self.parents = parents
        self.vjps = vjps
        self.shape = tuple(output.shape)
        self.dtype = output.dtype

    def contributions(self, gradient: Array) -> Iterator[tuple[Node | Tensor, Array]]:
        """Yield (parent, gradient for that parent), and forget every array on the way."""
        parents, vjps = self.parents, self.vjps
        if vjps is None:
            raise RuntimeError(
                f"backward() reached '{self.operation}' a second time, but its graph was freed by "
                "the first backward(). Compute the loss again, or add the losses and call "
                "backward() once."
            )
        self.vjps = None
        if callable(vjps):  # one rule for all inputs together
            results = vjps(gradient)
            yield from ((p, r) for p, r in zip(parents, results) if p is not None)
        else:
            yield from ((p, vjp(gradient)) for p, vjp in zip(parents, vjps) if p is not None)


def walk_back(root: Node | Tensor, seed: Array) -> Iterator[tuple[Tensor, Array]]:
    """Yield every leaf below ``root`` with its gradient, where ``seed`` is the gradient of root.

    Each node's gradient is complete when the walk reaches it, and is dropped when it was sent on;
    a leaf is yielded as soon as its last use has sent its part. The arrays that are yielded share
    no memory with each other, with ``seed``, or with what is still to be sent: a rule may hand on
    its g (c = a + b gives both the same array) or a view of it.
    """
    order = _parents_first(root)
    if not order:  # the root is itself a leaf
        yield root, namespace(seed).asarray(seed, copy=True)  # type: ignore[misc]
    uses = Counter(p for node in order for p in node.parents if not isinstance(p, Node))
    gradients: dict[Any, Array] = {root: seed}
    owned: set[Any] = set()  # whose running sum is an array made here: add in place
    taken = {memory(seed)}  # by leaves that have been yielded
    while order:
        node = order.pop()
        arrived = gradients.pop(node)
        owned.discard(node)
        for parent, contribution in node.contributions(arrived):
            contribution = _conform(contribution, parent)
            if parent not in gradients:
                gradients[parent] = contribution
            elif parent not in owned:
                gradients[parent] = gradients[parent] + contribution
                owned.add(parent)
            else:
                gradients[parent] += contribution
            if isinstance(parent, Node):
                continue
            uses[parent] -= 1
            if not uses[parent]:
                total = gradients.pop(parent)
                shared = {memory(array) for array in (arrived, *gradients.values())} | taken
                if memory(total) in shared or is_repeated(total):
                    total = namespace(total).asarray(total, copy=True)
                taken.add(memory(total))
                yield parent, total


def _conform(contribution: Array, parent: Node | Tensor) -> Array:
    """A contribution in its parent's shape and dtype: broadcasting is undone here, once."""
    if isinstance(contribution, np.generic):
        contribution = np.asarray(contribution)
    if tuple(contribution.shape) != parent.shape:
        contribution = unbroadcast(contribution, parent.shape)
    if contribution.dtype != parent.dtype:
        contribution = namespace(contribution).astype(contribution, parent.dtype)
    return contribution


def _parents_first(root: Node | Tensor) -> list[Node]:
    """Every node of the graph, each before all the nodes that used it; without recursion.

    A node may be visited on the way back only when all its uses have sent their gradient, so the
    walk takes this list from its end, a depth-first post-order. Leaves are no nodes: a root that is
    a leaf gives an empty list.
    """
    order: list[Node] = []
    seen: set[int] = set()
    stack: list[tuple[Node, bool]] = [(root, False)] if isinstance(root, Node) else []
    while stack:
        node, parents_done = stack.pop()
        if parents_done:
            order.append(node)
        elif id(node) not in seen:
            seen.add(id(node))
            stack.append((node, True))
            stack.extend((p, False) for p in node.parents if isinstance(p, Node))
    return order
