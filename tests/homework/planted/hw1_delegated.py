"""Wrong answers to homework 1: the work is done by somebody else."""

from __future__ import annotations

from importlib import import_module

import numpy as np

from minissl.autograd import operations as ops
from minissl.autograd.nodes import Node
from minissl.autograd.tensor import Tensor, differentiable
from tests.homework.planted import Collection

PLANTED = Collection()
LIBRARY = "library's own|does not allow|rules of your own|one operation"


# ---- 1.1 divide ----------------------------------------------------------------------------------


@PLANTED.add("1.1", "no rule: the operator of Tensors divides", shows=LIBRARY)
def divide_by_operator(a, b, /):
    return a / b


@PLANTED.add("1.1", "times a power of −1", shows=LIBRARY)
def divide_by_power(a, b, /):
    return ops.multiply(a, ops.power(b, -1))


@PLANTED.add("1.1", "the library's function, found by its name", shows=LIBRARY)
def divide_by_name(a, b, /):
    return getattr(import_module("minissl.autograd.elementwise"), "div" + "ide")(a, b)


@PLANTED.add("1.1", "the library's rules, unwrapped", shows=LIBRARY)
@differentiable
def divide_unwrapped(a, b, /):
    return ops.divide.__wrapped__(a, b)


@PLANTED.add("1.1", "an engine inside of the rule", shows=LIBRARY)
@differentiable
def divide_with_an_engine(a, b, /):
    x, y = Tensor(a, requires_grad=True), Tensor(b, requires_grad=True)
    c = x / y

    def rules(g):
        c.backward(np.asarray(g))
        return x.grad, y.grad

    return c.array, rules


class _Hidden:
    """What makes a Tensor divide without a call that looks like it."""

    def __call__(self, a, b, /):
        return a.__truediv__(b)


PLANTED.add("1.1", "an object that divides Tensors", shows=LIBRARY)(_Hidden())


# ---- 1.3 the matrix product ----------------------------------------------------------------------


@PLANTED.add("1.3", "no rule: the operator of Tensors", shows=LIBRARY)
def matmul_by_operator(a, b, /):
    return a @ b


@PLANTED.add("1.3", "a sum of products of Tensors", shows=LIBRARY)
def matmul_composed(a, b, /):
    return ops.sum(ops.expand_dims(a, -1) * ops.expand_dims(b, -3), axis=-2)


@PLANTED.add("1.3", "the twin with a transposed second matrix", shows=LIBRARY)
def matmul_by_linear(a, b, /):
    from minissl.autograd.matrices import _linear

    return _linear(a, b.mT) if b.ndim == 2 else a @ b


# ---- 1.4 max -------------------------------------------------------------------------------------


@PLANTED.add("1.4", "no rule: the method of Tensors", shows=LIBRARY)
def max_by_method(a, /, axis=None, keepdims=False):
    return a.max(axis=axis, keepdims=keepdims)


@PLANTED.add("1.4", "the smallest of the negated", shows=LIBRARY)
def max_by_min(a, /, axis=None, keepdims=False):
    return -ops.min(-a, axis=axis, keepdims=keepdims)


@PLANTED.add("1.4", "what equals the maximum, added up", shows=LIBRARY)
def max_by_sum(a, /, axis=None, keepdims=False):
    values = a.numpy()
    winners = (values == values.max(axis=axis, keepdims=True)).astype(np.float64)
    winners /= winners.sum(axis=axis, keepdims=True)
    return ops.sum(a * winners, axis=axis, keepdims=keepdims)


# ---- 1.5 softmax ---------------------------------------------------------------------------------


@PLANTED.add("1.5", "no rule: the library's softmax", shows=LIBRARY)
def softmax_by_library(a, /, axis=-1):
    return ops.softmax(a, axis=axis)


@PLANTED.add("1.5", "the exponential of the library's log-softmax", shows=LIBRARY)
def softmax_by_logarithms(a, /, axis=-1):
    return ops.exp(ops.log_softmax(a, axis=axis))


@PLANTED.add("1.5", "composed of operations that have rules", shows=LIBRARY)
def softmax_composed(a, /, axis=-1):
    e = ops.exp(a - a.numpy().max(axis=axis, keepdims=True))
    return e / ops.sum(e, axis=axis, keepdims=True)


# ---- 1.2 and 1.6 ---------------------------------------------------------------------------------


@PLANTED.add("1.2", "the engine undoes the broadcasting", shows=LIBRARY)
def unbroadcast_by_engine(gradient, shape):
    x = Tensor(np.zeros(shape, gradient.dtype), requires_grad=True)
    (x + np.zeros_like(gradient)).backward(gradient)
    return x.grad


@PLANTED.add("1.2", "the helper of the walk back", shows=LIBRARY)
def unbroadcast_by_conform(gradient, shape):
    from minissl.autograd import nodes

    return getattr(nodes, "_conform")(gradient, Tensor(np.zeros(shape, gradient.dtype)))  # noqa: B009


@PLANTED.add("1.6", "the library's function, under another name", shows=LIBRARY)
def scatter_add_by_name(size, positions, values):
    arrays = import_module("minissl.autograd.arrays")
    return vars(arrays)["scatter_add"](size, positions, values)


@PLANTED.add("1.6", "the gradient of the engine's lookup", shows=LIBRARY)
def scatter_add_by_engine(size, positions, values):
    if values.dtype.kind != "f":
        result = np.zeros((size, *values.shape[1:]), values.dtype)
        np.add.at(result, positions, values)
        return result
    table = Tensor(np.zeros((size, *values.shape[1:]), values.dtype), requires_grad=True)
    ops.take(table, positions).backward(values)
    gradient = table.grad
    return gradient if isinstance(gradient, np.ndarray) else gradient.whole()


# ---- 1.7 and 1.8 ---------------------------------------------------------------------------------


@PLANTED.add("1.7", "the library's order", shows=LIBRARY)
def order_of_library(root):
    nodes = import_module("minissl.autograd.nodes")
    return list(nodes._parents_first(root))


@PLANTED.add("1.8", "the library's walk, wrapped", shows=LIBRARY)
def walk_of_library(root, seed):
    from minissl.autograd import nodes

    yield from nodes.walk_back(root, seed)


@PLANTED.add("1.8", "backward() of a Tensor on top of the graph", shows=LIBRARY)
def walk_by_backward(root, seed):
    if isinstance(root, Tensor):
        yield root, seed.copy()
        return
    leaves, stack, seen = [], [root], set()
    while stack:
        node = stack.pop()
        if node is None or id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, Node):
            stack.extend(node.parents)
        else:
            leaves.append(node)
    top = Tensor(seed)
    top.requires_grad, top.node = True, root
    top.backward(seed)
    for leaf in leaves:
        gradient, leaf.grad = leaf.grad, None
        yield leaf, gradient


# ---- 1.9 gradcheck -------------------------------------------------------------------------------


@PLANTED.add("1.9", "the library's gradcheck, wrapped", shows=LIBRARY)
def gradcheck_of_library(function, inputs, *, seed=0, tolerance=1e-6, directions=3, step=1e-3):
    check = import_module("minissl.autograd.gradcheck").gradcheck
    return check(function, inputs, seed=seed, tolerance=tolerance, directions=directions, step=step)


@PLANTED.add("1.9", "the library's differences of one input", shows=LIBRARY)
def gradcheck_of_pieces(function, inputs, *, seed=0, tolerance=1e-6, directions=3, step=1e-3):
    from minissl.autograd.gradcheck import _check_input

    arrays = [np.asarray(x) for x in inputs]
    floating = [i for i, a in enumerate(arrays) if a.dtype.kind == "f"]
    if not floating or any(arrays[i].dtype != np.float64 for i in floating):
        raise TypeError("float64")
    generator = np.random.default_rng(seed)
    for i in floating * directions:
        _check_input(function, arrays, i, generator, tolerance, step)
