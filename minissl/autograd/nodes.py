"""The graph behind a Tensor: one ``Node`` per operation, and the walk back. Lecture 02."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from minissl.autograd.arrays import (
    Array,
    dtype_name,
    is_half,
    is_repeated,
    memory,
    namespace,
    single,
    unbroadcast,
)
from minissl.autograd.checked import Watched

if TYPE_CHECKING:
    from minissl.autograd.tensor import Tensor


MANY = 64  # gradients of one array: from there on they are added up in float64


class Node:
    """One operation of the graph: its name, its parents, and the way back to them.

    ``parents`` holds, for every input that needs a gradient, the Node that made it, or the Tensor
    itself if it is a leaf. Arrays are held only by the closures in ``vjps`` that need them, so that
    an intermediate result that no rule needs is freed as soon as the forward pass drops it.
    """

    __slots__ = ("dtype", "operation", "parents", "shape", "vjps", "watched")

    def __init__(
        self, operation: str, parents: tuple[Node | Tensor | None, ...], vjps: Any, output: Array
    ):
        self.operation = operation
        self.parents = parents
        self.vjps = vjps
        self.shape = tuple(output.shape)
        self.dtype = output.dtype
        self.watched: Watched | None = None  # inside of ``checked()``

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
        if self.watched is not None:
            self.watched.require_unchanged(self.operation)
        if callable(vjps):  # one rule for all inputs together
            results = vjps(gradient)
            if not isinstance(results, tuple | list) or len(results) != len(parents):
                raise wrong_rules(self.operation)
            sent: Iterator[Any] = ((p, r) for p, r in zip(parents, results) if p is not None)
        else:
            sent = ((p, vjp(gradient)) for p, vjp in zip(parents, vjps) if p is not None)
        if self.watched is not None:
            sent = self.watched.finite_ones(self.operation, gradient, sent)
        yield from sent


def output_and_rules(operation: str, returned: Any, inputs: int) -> tuple[Array, Any]:
    """What a function for ``differentiable`` returned, if it is what that asks for."""
    if type(returned) is not tuple or len(returned) != 2:
        raise wrong_rules(operation)
    rules = returned[1]
    if not callable(rules) and (type(rules) is not tuple or len(rules) != inputs):
        raise wrong_rules(operation)
    return returned


def wrong_rules(operation: str) -> TypeError:
    """The error for an operation whose function does not return what ``differentiable`` asks."""
    return TypeError(
        f"{operation} must return (output, rules), one rule for each input; "
        "a tuple of one needs a comma: return c, (lambda g: g,)"
    )


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
    uses = Counter(p for node in order for p in node.parents if p is not None)
    gradients: dict[Any, Array] = {root: seed}
    owned: set[Any] = set()  # whose running sum is an array made here: add in place
    taken = {memory(seed)}  # by leaves that have been yielded
    while order:
        node = order.pop()
        arrived = gradients.pop(node)
        if node in owned:
            owned.remove(node)
            arrived = _conform(arrived, node)
        for parent, contribution in node.contributions(arrived):
            contribution = _conform(contribution, parent)
            if parent not in gradients:
                gradients[parent] = contribution
            elif parent not in owned:
                gradients[parent] = running_sum(gradients[parent], uses[parent]) + contribution
                owned.add(parent)
            else:
                gradients[parent] += contribution
            uses[parent] -= 1
            if isinstance(parent, Node) or uses[parent]:
                continue
            total = _conform(gradients.pop(parent), parent)
            shared = {memory(array) for array in (arrived, *gradients.values())} | taken
            if memory(total) in shared or is_repeated(total):
                total = namespace(total).asarray(total, copy=True)
            taken.add(memory(total))
            yield parent, total


def _conform(contribution: Array, parent: Node | Tensor) -> Array:
    """A contribution in its parent's shape and dtype: broadcasting is undone here, once.

    Raises ValueError for a shape that broadcasting could not have made of the parent's.
    """
    if isinstance(contribution, np.generic):
        contribution = np.asarray(contribution)
    if (shape := tuple(contribution.shape)) != parent.shape:
        fits = all(n in (1, m) for n, m in zip(reversed(parent.shape), reversed(shape)))
        if math.prod(shape) != 1 and (len(shape) < len(parent.shape) or not fits):
            raise ValueError(
                f"a rule answered with a gradient of shape {shape} for an input of shape "
                f"{parent.shape}: a gradient has the shape of its input, or one that broadcasting "
                "makes of it"
            )
        contribution = unbroadcast(contribution, parent.shape)
    if contribution.dtype != parent.dtype:
        contribution = namespace(contribution).astype(contribution, parent.dtype)
    return contribution


def running_sum(first: Array, more: int) -> Array:
    """The first of several gradients, in a dtype in which ``more`` can be added one by one.

    Two make one rounding, whatever the dtype. Of many, half precision and then float32 lose digits.
    """
    if more > 1 and is_half(first):
        return single(first)
    if more > MANY and dtype_name(first) != "float64":
        return namespace(first).astype(first, namespace(first).float64)
    return first


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
