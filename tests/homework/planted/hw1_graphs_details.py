"""Wrong answers to homework 1: graphs at their edges."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from minissl.autograd.nodes import Node, _conform
from minissl.autograd.tensor import Tensor
from tests.homework.planted import Collection
from tests.homework.planted.hw1_graphs import _nodes_of

PLANTED = Collection()


# ---- 1.7 an order --------------------------------------------------------------------------------


def search(key=id, parents=_nodes_of, seen=None, listed=False):
    """A right search, which the arguments make wrong."""

    def order(root):
        known = set() if seen is None else seen
        known = [] if listed else known
        found, stack = [], [(root, False)] if isinstance(root, Node) else []
        while stack:
            node, closed = stack.pop()
            if closed:
                found.append(node)
            elif key(node) not in known:
                known.append(key(node)) if listed else known.add(key(node))
                stack.append((node, True))
                stack.extend((p, False) for p in parents(node))
        return found

    return order


def _until_none(node):
    found = []
    for parent in node.parents:
        if parent is None:
            break
        if isinstance(parent, Node):
            found.append(parent)
    return found


PLANTED.add("1.7", "nodes are told apart by their operation", shows="nodes are missing")(
    search(key=lambda node: node.operation)
)
PLANTED.add("1.7", "what was seen is kept for the next call", shows="second call")(
    search(seen=set())
)
PLANTED.add("1.7", "it stops at an input without gradient", shows="nodes are missing")(
    search(parents=_until_none)
)
PLANTED.add("1.7", "two parents are enough for it", shows="nodes are missing")(
    search(parents=lambda node: [p for p in node.parents[:2] if isinstance(p, Node)])
)
PLANTED.add("1.7", "it searches a list for every node", shows="keep a set")(search(listed=True))


def _forget(node):
    found = _nodes_of(node)
    node.parents = tuple(p for p in node.parents if not isinstance(p, Node))
    return found


PLANTED.add("1.7", "it takes the graph apart", shows="changed the graph")(search(parents=_forget))


@PLANTED.add(
    "1.7", "sorted by where the nodes lie in memory", shows="stands before it|wrong way round"
)
def order_by_memory(root):
    return sorted(search()(root), key=id)


@PLANTED.add("1.7", "recursive, with a higher limit", shows="limit for nested calls")
def order_with_limit(root):
    found, seen = [], set()
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(100_000)

    def visit(node):
        if id(node) not in seen:
            seen.add(id(node))
            for parent in _nodes_of(node):
                visit(parent)
            found.append(node)

    try:
        if isinstance(root, Node):
            visit(root)
    finally:
        sys.setrecursionlimit(before)
    return found


@PLANTED.add("1.7", "a set of nodes, without order", shows="must be a list")
def order_of_a_set(root):
    return set(search()(root))


# ---- 1.8 the walk back ---------------------------------------------------------------------------


def _walk(root, seed, add, order=None, key=lambda parent: parent, start=None):
    """A right walk, which the arguments make wrong."""
    gradients: dict[Any, Any] = {} if start is None else start
    names = {key(root): root}
    gradients[key(root)] = seed
    for node in reversed(order or search()(root)):
        for parent, contribution in node.contributions(gradients.pop(key(node))):
            names[key(parent)] = parent
            add(gradients, key(parent), _conform(contribution, parent))
    for name, gradient in gradients.items():
        if isinstance(names.get(name, name), Tensor):
            yield names.get(name, name), np.array(gradient)


def _sum(gradients, parent, contribution):
    gradients[parent] = gradients.get(parent, 0) + contribution


@PLANTED.add("1.8", "it sets grad as well", shows="it sets x.grad")
def walk_setting_grad(root, seed):
    for leaf, gradient in _walk(root, seed, _sum):
        leaf.grad = gradient if leaf.grad is None else leaf.grad + gradient
        yield leaf, gradient


@PLANTED.add("1.8", "gradients of zero are left out", shows="x is not yielded")
def walk_without_zeros(root, seed):
    for leaf, gradient in _walk(root, seed, _sum):
        if gradient.any():
            yield leaf, gradient


OLD: dict[Any, Any] = {}


@PLANTED.add("1.8", "gradients of the last walk are still there", shows="earlier walk")
def walk_continuing(root, seed):
    return _walk(root, seed, _sum, start=OLD)


@PLANTED.add("1.8", "the mean of all uses", shows="a mean is not meant")
def walk_of_means(root, seed):
    times: dict[Any, int] = {}

    def add(gradients, parent, contribution):
        times[parent] = n = times.get(parent, 0) + 1
        gradients[parent] = gradients.get(parent, 0) * ((n - 1) / n) + contribution / n

    return _walk(root, seed, add)


@PLANTED.add("1.8", "leaves may be views of one number", shows="one place in memory")
def walk_of_views(root, seed):
    gradients: dict[Any, Any] = {root: seed}
    shared = set()
    for node in reversed(search()(root)):
        for parent, contribution in node.contributions(gradients.pop(node)):
            contribution = _conform(contribution, parent)
            if parent in gradients:
                gradients[parent] = gradients[parent] + contribution
            else:
                gradients[parent] = contribution
                shared.add(parent)
    for leaf, gradient in gradients.items():
        strided = 0 in gradient.strides
        yield leaf, gradient if strided and gradient.size > 1 else gradient.copy()


@PLANTED.add("1.8", "a root that is a leaf gets the seed itself", shows="share memory")
def walk_sharing_seed(root, seed):
    if isinstance(root, Tensor):
        yield root, seed
    else:
        yield from _walk(root, seed, _sum)


@PLANTED.add("1.8", "sums in float32", shows="sum made in float32")
def walk_in_single(root, seed):
    for leaf, gradient in _walk(root, seed, _sum):
        yield leaf, gradient.astype(np.float32).astype(leaf.dtype)


@PLANTED.add("1.8", "leaves are told apart by their values", shows="x is not yielded")
def walk_by_value(root, seed):
    def key(parent):
        return parent if isinstance(parent, Node) else parent.array.tobytes()

    return _walk(root, seed, _sum, key=key)


@PLANTED.add("1.8", "nodes are yielded as well", shows="this is no leaf")
def walk_yielding_nodes(root, seed):
    if isinstance(root, Node):
        yield root, seed
    yield from _walk(root, seed, _sum)


@PLANTED.add("1.8", "slices are refused", shows="it raised|the shape is")
def walk_without_slices(root, seed):
    gradients: dict[Any, Any] = {root: seed}
    for node in reversed(search()(root)):
        for parent, contribution in node.contributions(gradients.pop(node)):
            if np.shape(contribution) != parent.shape:
                contribution = np.sum(contribution, axis=0)
            contribution = np.asarray(contribution, parent.dtype)
            _sum(gradients, parent, contribution)
    for leaf, gradient in gradients.items():
        yield leaf, np.array(gradient)
