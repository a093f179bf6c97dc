"""Homework 1, written in other styles."""

from __future__ import annotations

from collections import Counter, deque

import numpy as np

from minissl.autograd.nodes import Node, _conform
from minissl.autograd.recording import no_grad
from minissl.autograd.tensor import Tensor, differentiable
from tests.homework.planted import hw1_experiment
from tests.homework.planted.hw1_gradcheck_details import checker
from tests.homework.planted.hw1_graphs_details import _sum, _walk, search

# ---- 1.1 divide ----------------------------------------------------------------------------------


@differentiable
def divide_by_reciprocal(a, b, /):
    r = 1 / b
    c = a * r

    def of_b(g):
        return -c * r * g

    return c, (lambda g: r * g, of_b)


@differentiable
def divide_one_rule(a, b, /):
    """One function gives all gradients."""
    c = np.true_divide(a, b)
    return c, lambda g: (np.divide(g, b), -(g * c) / b)


# ---- 1.2 unbroadcast -----------------------------------------------------------------------------


def unbroadcast_in_a_loop(gradient, shape):
    total = np.zeros(shape, gradient.dtype)
    extra = gradient.ndim - len(shape)
    for place, value in np.ndenumerate(gradient):
        total[tuple(0 if n == 1 else i for i, n in zip(place[extra:], shape))] += value
    return total


def unbroadcast_by_einsum(gradient, shape):
    letters = "abcdefgh"[: gradient.ndim]
    own = letters[gradient.ndim - len(shape) :]
    kept = "".join(letter for letter, n in zip(own, shape) if n != 1)
    return np.einsum(f"{letters}->{kept}", gradient).reshape(shape)


def unbroadcast_axis_by_axis(gradient, shape):
    while gradient.ndim > len(shape):
        gradient = np.add.reduce(gradient)
    for axis, size in enumerate(shape):
        if size == 1:
            gradient = gradient.sum(axis, keepdims=True)
    return gradient


# ---- 1.3 the matrix product ----------------------------------------------------------------------


@differentiable
def matmul_by_einsum(a, b, /):
    return np.einsum("...ik,...kj->...ij", a, b), (
        lambda g: np.einsum("...ij,...kj->...ik", g, b),
        lambda g: np.einsum("...ik,...ij->...kj", a, g),
    )


@differentiable
def matmul_in_a_loop(a, b, /):
    """A sum of outer products; the way back swaps axes."""

    def product(x, y):
        outer = [x[..., :, k, None] * y[..., None, k, :] for k in range(x.shape[-1])]
        return sum(outer) if outer else np.zeros((x.shape[-2], y.shape[-1]), x.dtype)

    return product(a, b), (
        lambda g: product(g, np.swapaxes(b, -1, -2)),
        lambda g: product(np.swapaxes(a, -1, -2), g),
    )


# ---- 1.4 max -------------------------------------------------------------------------------------


@differentiable
def max_with_keepdims(a, /, axis=None, keepdims=False):
    best = np.max(a, axis=axis, keepdims=True)
    share = (a == best) / np.sum(a == best, axis=axis, keepdims=True)

    def back(g):
        return share * (g if keepdims else np.reshape(g, best.shape))

    return np.max(a, axis=axis, keepdims=keepdims), (back,)


@differentiable
def max_in_a_loop(a, /, axis=None, keepdims=False):
    """Group by group: axes that go are moved to the end."""
    axes = range(a.ndim) if axis is None else (axis,) if isinstance(axis, int) else axis
    axes = sorted(i % a.ndim for i in axes)
    kept = [i for i in range(a.ndim) if i not in axes]
    rows = a.transpose(kept + axes).reshape(*(a.shape[i] for i in kept), -1)
    best = np.empty(rows.shape[:-1], a.dtype)
    for place in np.ndindex(best.shape):
        row = rows[place]
        best[place] = np.sort(row)[-1]  # NaN is sorted to the end
    shape = tuple(1 if i in axes else n for i, n in enumerate(a.shape))

    def back(g):
        shares = np.empty(rows.shape, g.dtype)
        for place in np.ndindex(best.shape):
            wins = np.flatnonzero(rows[place] == best[place])
            shares[place] = 0
            shares[place][wins] = g.reshape(best.shape)[place] / max(1, len(wins))
        wide = shares.reshape([a.shape[i] for i in kept] + [a.shape[i] for i in axes])
        return wide.transpose(np.argsort(kept + axes))

    return best.reshape(shape) if keepdims else best, (back,)


# ---- 1.5 softmax ---------------------------------------------------------------------------------


@differentiable
def softmax_by_jacobian(a, /, axis=-1):
    rows = np.moveaxis(a, axis, -1)
    e = np.exp(rows - np.max(rows, axis=-1, keepdims=True))
    c = e / np.sum(e, axis=-1, keepdims=True)

    def back(g):
        jacobian = c[..., :, None] * (np.eye(c.shape[-1], dtype=c.dtype) - c[..., None, :])
        return np.moveaxis(
            np.einsum("...i,...ij->...j", np.moveaxis(g, axis, -1), jacobian), -1, axis
        )

    return np.moveaxis(c, -1, axis), (back,)


@differentiable
def softmax_by_logarithm(a, /, axis=-1):
    """e to the power of a minus its log-sum-exp."""
    m = a.max(axis=axis, keepdims=True)
    c = np.exp(a - m - np.log(np.exp(a - m).sum(axis=axis, keepdims=True)))
    return c, lambda g: (g * c - c * np.sum(g * c, axis=axis, keepdims=True),)


# ---- 1.6 scatter_add -----------------------------------------------------------------------------


def scatter_add_in_a_loop(size, positions, values):
    result = np.zeros((size, *values.shape[1:]), values.dtype)
    for position, value in zip(positions, values):
        result[position] += value
    return result


def scatter_add_by_sorting(size, positions, values):
    result = np.zeros((size, *values.shape[1:]), values.dtype)
    order = np.argsort(positions, kind="stable")
    rows, starts = np.unique(positions[order], return_index=True)
    if len(rows):
        result[rows] = np.add.reduceat(values[order], starts, axis=0)
    return result


def scatter_add_at(size, positions, values):
    result = np.zeros((size, *values.shape[1:]), dtype=values.dtype)
    np.add.at(result, positions, values)
    return result


# ---- 1.7 an order --------------------------------------------------------------------------------


def order_by_uses(root):
    """Kahn: a node is next when all that used it are written; turned round at the end."""
    if not isinstance(root, Node):
        return []
    uses, reached, queue = Counter(), {root}, deque([root])
    while queue:
        for parent in queue.popleft().parents:
            if isinstance(parent, Node):
                uses[parent] += 1
                if parent not in reached:
                    reached.add(parent)
                    queue.append(parent)
    order, ready = [], [root]
    while ready:
        node = ready.pop()
        order.append(node)
        for parent in node.parents:
            if isinstance(parent, Node):
                uses[parent] -= 1
                if not uses[parent]:
                    ready.append(parent)
    return order[::-1]


def order_by_iterators(root):
    """A stack of iterators over parents, as a recursion would keep it."""
    if isinstance(root, Tensor):
        return []
    order, seen, stack = [], {id(root)}, [(root, iter(root.parents))]
    while stack:
        node, parents = stack[-1]
        parent = next((p for p in parents if isinstance(p, Node) and id(p) not in seen), None)
        if parent is None:
            order.append(node)
            stack.pop()
        else:
            seen.add(id(parent))
            stack.append((parent, iter(parent.parents)))
    return order


# ---- 1.8 the walk back ---------------------------------------------------------------------------


def walk_in_lists(root, seed):
    """All contributions are collected, and added up when they are needed."""
    parts = {id(root): [seed]}
    leaves = {} if isinstance(root, Node) else {id(root): root}
    for node in order_by_iterators(root)[::-1]:
        for parent, contribution in node.contributions(sum(parts.pop(id(node)))):
            parts.setdefault(id(parent), []).append(_conform(contribution, parent))
            if isinstance(parent, Tensor):
                leaves[id(parent)] = parent
    return [(leaf, np.array(sum(parts[key]), leaf.dtype)) for key, leaf in leaves.items()]


def walk_by_uses(root, seed):
    """Without a list of nodes: whoever has heard from all its uses is next."""
    if isinstance(root, Tensor):
        yield root, np.array(seed)
        return
    waits = Counter(p for node in order_by_uses(root) for p in node.parents if p is not None)
    sums, ready = {root: seed}, [root]
    while ready:
        node = ready.pop()
        for parent, contribution in node.contributions(sums.pop(node)):
            contribution = np.copy(_conform(contribution, parent))
            sums[parent] = sums[parent] + contribution if parent in sums else contribution
            waits[parent] -= 1
            if waits[parent]:
                continue
            if isinstance(parent, Node):
                ready.append(parent)
            else:
                yield parent, sums.pop(parent)


# ---- 1.9 gradcheck -------------------------------------------------------------------------------


def gradcheck_of_all_inputs(function, inputs, *, seed=0, tolerance=1e-6, directions=3, step=1e-3):
    """One direction through all inputs at once; Richardson's formula for the differences."""
    arrays = [x.detach().numpy() if isinstance(x, Tensor) else np.asarray(x) for x in inputs]
    moving = [i for i, a in enumerate(arrays) if np.issubdtype(a.dtype, np.floating)]
    if not moving or {arrays[i].dtype for i in moving} != {np.dtype(np.float64)}:
        raise TypeError("all floating inputs have to be float64, and there has to be one")
    rng = np.random.default_rng(seed)
    for _ in range(directions):
        for only in (*([i] for i in moving), moving):
            _one_direction(function, arrays, only, rng, tolerance, step)


def _one_direction(function, arrays, moving, rng, tolerance, h):
    v = {i: rng.normal(size=arrays[i].shape) for i in moving}
    leaves = [Tensor(a, requires_grad=i in v) for i, a in enumerate(arrays)]
    output = function(*leaves)
    c = np.asarray(rng.normal(size=output.shape))

    def f(t):
        with no_grad():
            return function(*(Tensor(a + t * v[i]) if i in v else a for i, a in enumerate(arrays)))

    if not output.requires_grad:
        raise AssertionError("the output does not depend on an input")
    output.backward(c)
    said, terms = 0.0, 0.0
    for i in moving:
        if leaves[i].grad is None:
            raise AssertionError(f"input {i} gets no gradient")
        products = np.asarray(leaves[i].grad) * v[i]
        said, terms = said + products.sum(), terms + np.abs(products).sum()
    central = [np.sum(c * (f(k * h).numpy() - f(-k * h).numpy())) / (2 * k * h) for k in (1, 2)]
    found = (4 * central[0] - central[1]) / 3
    rounding = 1e-15 / h * np.sum(np.abs(c) * (np.abs(output.numpy())))
    if not np.abs(said - found) <= tolerance * np.maximum(terms, np.abs(found)) + rounding:
        raise AssertionError(f"backward says {said}, differences say {found}")


RIGHT = {
    "1.1 by the reciprocal": divide_by_reciprocal,
    "1.1 with one rule": divide_one_rule,
    "1.2 in a loop": unbroadcast_in_a_loop,
    "1.2 by einsum": unbroadcast_by_einsum,
    "1.2 axis by axis": unbroadcast_axis_by_axis,
    "1.3 by einsum": matmul_by_einsum,
    "1.3 in a loop": matmul_in_a_loop,
    "1.4 with keepdims": max_with_keepdims,
    "1.4 in a loop": max_in_a_loop,
    "1.5 by its Jacobian": softmax_by_jacobian,
    "1.5 by logarithms": softmax_by_logarithm,
    "1.6 in a loop": scatter_add_in_a_loop,
    "1.6 by sorting": scatter_add_by_sorting,
    "1.6 with add.at": scatter_add_at,
    "1.7 by uses": order_by_uses,
    "1.7 by iterators": order_by_iterators,
    "1.7": search(),
    "1.8 in lists": walk_in_lists,
    "1.8 by uses": walk_by_uses,
    "1.8": lambda root, seed: _walk(root, seed, _sum),
    "1.9": checker(),
    "1.9 of all inputs": gradcheck_of_all_inputs,
    "1.10": hw1_experiment.handed(
        difference=hw1_experiment.differences(),
        errors=hw1_experiment.tables(),
        summary=hw1_experiment.numbers(),
        measure=hw1_experiment.measured(),
    ),
    "1.10 at once": hw1_experiment.handed(
        difference=hw1_experiment.differences_by_rows,
        errors=hw1_experiment.errors_at_once,
        summary=hw1_experiment.summary_by_sorting,
    ),
}
