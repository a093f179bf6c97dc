"""Wrong answers to homework 1: the order of the nodes, the walk back."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from minissl.autograd.nodes import Node, _conform, _parents_first
from minissl.autograd.tensor import Tensor
from tests.homework.planted import Collection

PLANTED = Collection()


# ---- 1.7 an order --------------------------------------------------------------------------------


def _nodes_of(node):
    return [p for p in node.parents if isinstance(p, Node)]


@PLANTED.add("1.7", "breadth first, turned round", shows="stands before it")
def order_breadth_first(root):
    found, seen = [], set()
    waiting = [root] if isinstance(root, Node) else []
    for node in waiting:
        if id(node) not in seen:
            seen.add(id(node))
            found.append(node)
            waiting.extend(_nodes_of(node))
    return found[::-1]


@PLANTED.add("1.7", "marked when pushed, not when opened", shows="stands before it")
def order_marked_early(root):
    found, stack = [], [root] if isinstance(root, Node) else []
    seen = {id(root)}
    while stack:
        node = stack.pop()
        found.append(node)
        for parent in _nodes_of(node):
            if id(parent) not in seen:
                seen.add(id(parent))
                stack.append(parent)
    return found[::-1]


@PLANTED.add("1.7", "recursive", shows="RecursionError")
def order_recursive(root):
    found, seen = [], set()

    def visit(node):
        if id(node) not in seen:
            seen.add(id(node))
            for parent in _nodes_of(node):
                visit(parent)
            found.append(node)

    if isinstance(root, Node):
        visit(root)
    return found


@PLANTED.add("1.7", "nothing is marked as seen", shows="more than once|every path")
def order_unmarked(root):
    found = []
    stack = [(root, False)] if isinstance(root, Node) else []
    while stack:
        node, closed = stack.pop()
        if closed:
            found.append(node)
        else:
            stack += [(node, True), *((p, False) for p in _nodes_of(node))]
    return found


@PLANTED.add("1.7", "seen is looked up only when a node is written", shows="every path")
def order_late(root):
    found, seen = [], set()
    stack = [(root, False)] if isinstance(root, Node) else []
    while stack:
        node, closed = stack.pop()
        if not closed:
            stack += [(node, True), *((p, False) for p in _nodes_of(node))]
        elif id(node) not in seen:
            seen.add(id(node))
            found.append(node)
    return found


@PLANTED.add("1.7", "children first", shows="wrong way round")
def order_children_first(root):
    return _parents_first(root)[::-1]


@PLANTED.add("1.7", "leaves are in the list", shows="leaves are no Nodes")
def order_with_leaves(root):
    order = _parents_first(root)
    return [p for node in order for p in node.parents if isinstance(p, Tensor)] + order


@PLANTED.add("1.7", "the root is missing", shows="nodes are missing")
def order_without_root(root):
    return _parents_first(root)[:-1]


@PLANTED.add("1.7", "a leaf as root is put in the list", shows="leaf has no nodes")
def order_of_a_leaf(root):
    return _parents_first(root) if isinstance(root, Node) else [root]


# ---- 1.8 the walk back ---------------------------------------------------------------------------


def _walk(root, seed, order, add):
    """The walk over ``order`` (from its end); ``add(gradients, parent, contribution)``."""
    gradients: dict[Any, Any] = {root: seed}
    for node in reversed(order):
        arrived = gradients.pop(node)
        for parent, contribution in node.contributions(arrived):
            add(gradients, parent, _conform(contribution, parent))
    for leaf, gradient in gradients.items():
        if isinstance(leaf, Tensor):
            yield leaf, np.array(gradient)


def _sum(gradients, parent, contribution):
    gradients[parent] = gradients.get(parent, 0) + contribution


@PLANTED.add("1.8", "a gradient replaces the one before", shows="do all its uses count")
def walk_overwriting(root, seed):
    def replace(gradients, parent, contribution):
        gradients[parent] = contribution

    return _walk(root, seed, _parents_first(root), replace)


@PLANTED.add(
    "1.8", "sums are made in place", shows="array changed that others hold|changed its input"
)
def walk_in_place(root, seed):
    def add(gradients, parent, contribution):
        if parent in gradients:
            gradients[parent] += contribution
        else:
            gradients[parent] = contribution

    return _walk(root, seed, _parents_first(root), add)


@PLANTED.add("1.8", "breadth first", shows="it raised|do all its uses count")
def walk_breadth_first(root, seed):
    return _walk(root, seed, order_breadth_first(root), _sum)


@PLANTED.add("1.8", "each use is sent on at once", shows="a second time|it raised")
def walk_each_use(root, seed):
    gradients: dict[Any, Any] = {}
    stack = [(root, seed)]
    while stack:
        node, gradient = stack.pop()
        if isinstance(node, Tensor):
            _sum(gradients, node, gradient)
        else:
            stack += [(p, _conform(c, p)) for p, c in node.contributions(gradient)]
    yield from ((leaf, np.array(gradient)) for leaf, gradient in gradients.items())


@PLANTED.add("1.8", "seed is ignored", shows="must start from seed")
def walk_from_ones(root, seed):
    return _walk(root, np.ones_like(seed), _parents_first(root), _sum)


@PLANTED.add("1.8", "a leaf comes with every use", shows="wait for its last use")
def walk_yielding_each_use(root, seed):
    gradients: dict[Any, Any] = {root: seed}
    if isinstance(root, Tensor):
        yield root, seed.copy()
    for node in reversed(_parents_first(root)):
        for parent, contribution in node.contributions(gradients.pop(node)):
            _sum(gradients, parent, _conform(contribution, parent))
            if isinstance(parent, Tensor):
                yield parent, gradients[parent].copy()


@PLANTED.add("1.8", "a root that is a leaf is forgotten", shows="x is not yielded")
def walk_without_leaf_root(root, seed):
    return _walk(root, seed, _parents_first(root), _sum) if isinstance(root, Node) else iter(())


@PLANTED.add("1.8", "gradients keep the shape of the output", shows="the shape is")
def walk_without_unbroadcast(root, seed):
    gradients: dict[Any, Any] = {root: seed}
    for node in reversed(_parents_first(root)):
        for parent, contribution in node.contributions(gradients.pop(node)):
            _sum(gradients, parent, contribution)
    yield from ((leaf, np.array(gradient)) for leaf, gradient in gradients.items())


@PLANTED.add("1.8", "leaves get the arrays as they are", shows="share memory")
def walk_sharing(root, seed):
    gradients: dict[Any, Any] = {root: seed}
    for node in reversed(_parents_first(root)):
        for parent, contribution in node.contributions(gradients.pop(node)):
            contribution = _conform(contribution, parent)
            known = parent in gradients
            gradients[parent] = gradients[parent] + contribution if known else contribution
    yield from gradients.items()


@PLANTED.add("1.8", "the last use is not waited for", shows="do all its uses count|yielded")
def walk_first_use(root, seed):
    done: Counter[Tensor] = Counter()
    for leaf, gradient in walk_yielding_each_use(root, seed):
        done[leaf] += 1
        if done[leaf] == 1:
            yield leaf, gradient


@PLANTED.add("1.8", "recursive", shows="RecursionError")
def walk_recursive(root, seed):
    return _walk(root, seed, order_recursive(root), _sum)
