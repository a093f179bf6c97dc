"""The graph behind a Tensor: one ``Node`` per operation, and the walk back. Lecture 02."""

from __future__ import annotations

import functools
import math
import operator
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from minissl.autograd.arrays import (
    Array,
    Placed,
    filled,
    is_repeated,
    memory,
    namespace,
    single,
    unbroadcast,
)
from minissl.autograd.checked import Watched
from minissl.autograd.rows import Rows, merged
from minissl.autograd.threads import plus

if TYPE_CHECKING:
    from minissl.autograd.tensor import Tensor


MANY = 64  # gradients of one array are added one by one; more of them in groups of so many


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
    sums = Sums()
    sums.add(root, seed, 0)
    taken = {memory(seed)}  # by leaves that have been yielded
    while order:
        node = order.pop()
        arrived = sums.pop(node)
        for parent, contribution in node.contributions(arrived):
            uses[parent] -= 1
            sums.add(parent, contribution, uses[parent])
            if isinstance(parent, Node) or uses[parent]:
                continue
            total = sums.pop(parent)
            if isinstance(total, Rows):  # written for this leaf alone
                yield parent, total
                continue
            place = memory(total)
            shared = place in sums.places or place in taken or place == memory(arrived)
            if shared or is_repeated(total):
                total = namespace(total).asarray(total, copy=True)
            taken.add(memory(total))
            yield parent, total


class Sums:
    """Gradients that are being added up, for every Node or leaf that has not got all of them.

    One by one in groups of ``MANY``, and these in float64: float32 loses digits over thousands of
    steps, and float64 for every step would take a recurrent layer twice the time. Slices go into an
    array of their own, in float64 where they are many.
    """

    def __init__(self) -> None:
        self.arrays: dict[Any, Array] = {}
        self.places: Counter[int] = Counter()  # how many of the arrays lie in one memory
        self.owned: set[Any] = set()  # whose array was made here: add in place
        self.groups: dict[Any, Array] = {}  # the sum of the groups that are complete
        self.slices: dict[Any, Array] = {}  # the sum of what came as Placed
        self.rows: dict[Any, list[Rows]] = {}  # what came to a leaf as Rows

    def add(self, parent: Node | Tensor, contribution: Array | Placed | Rows, more: int) -> None:
        """One gradient of ``parent``, which ``more`` will follow."""
        if isinstance(contribution, Rows):
            if not isinstance(parent, Node):
                self.rows.setdefault(parent, []).append(contribution)
                return
            contribution = contribution.whole()  # the rules of an operation know arrays
        if isinstance(contribution, Placed):
            self._place(parent, contribution, more)
            return
        contribution = _conform(contribution, parent)
        if parent not in self.arrays:
            self._keep(parent, contribution)
        elif parent not in self.owned:
            first = self._release(parent)  # two make one rounding; of more, half precision loses
            self._keep(parent, plus(single(first) if more else first, contribution))
            self.owned.add(parent)
        else:
            self.arrays[parent] += contribution
        if more and more % MANY == 0:
            group, xp = self._release(parent), namespace(contribution)
            wide = xp.astype(xp.asarray(group), xp.float64)
            self.groups[parent] = self.groups.get(parent, 0) + wide
            self.owned.discard(parent)

    def _place(self, parent: Node | Tensor, part: Placed, more: int) -> None:
        if parent not in self.slices:
            empty = filled(part.values, parent.shape, 0)
            xp = namespace(empty)
            self.slices[parent] = xp.astype(empty, xp.float64) if more >= MANY else single(empty)
        part.added_to(self.slices[parent])

    def _keep(self, parent: Node | Tensor, array: Array) -> None:
        self.arrays[parent] = array
        self.places[memory(array)] += 1

    def _release(self, parent: Node | Tensor) -> Array:
        array = self.arrays.pop(parent)
        place = memory(array)
        self.places[place] -= 1
        if not self.places[place]:
            del self.places[place]
        return array

    def pop(self, parent: Node | Tensor) -> Array | Rows:
        """What was added up, in the dtype of ``parent``; Rows where nothing else came."""
        parts = [d.pop(parent) for d in (self.groups, self.slices) if parent in d]
        if parent in self.arrays:
            parts.append(self._release(parent))
        self.owned.discard(parent)
        rows = self.rows.pop(parent, [])
        if rows and not parts:
            return merged(rows)
        if rows:  # first among themselves: one table is written out, and no digits are lost
            parts.append(merged(rows).whole())
        return _conform(functools.reduce(operator.add, parts), parent)


def _conform(contribution: Array | Placed, parent: Node | Tensor) -> Array:
    """A contribution in its parent's shape and dtype: broadcasting is undone here, once.

    Raises ValueError for a shape that broadcasting could not have made of the parent's.
    """
    if isinstance(contribution, Placed):
        contribution = contribution.added_to(filled(contribution.values, parent.shape, 0))
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
