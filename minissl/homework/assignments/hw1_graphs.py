"""Homework 1, the graph: an order in which to walk it, and the walk back.

Orders are judged by their definition, gradients by closed forms.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.autograd.nodes import Node
from minissl.autograd.tensor import Tensor
from minissl.homework.task import Draw, Task, Wrong, call, expect

HERE = "lectures/02, section 5"
DEEP, DOUBLINGS, READS = 10_000, 60, 50

parents_first = Task(
    "1.7", "minissl.autograd.nodes:_parents_first", "an order for the walk back", HERE
)
walk_back = Task("1.8", "minissl.autograd.nodes:walk_back", "the walk back", HERE)


# ---- 1.7 an order --------------------------------------------------------------------------------


class _Counted(Node):
    """A node that notices when its parents are read far too often."""

    __slots__ = ("_parents", "reads")

    @property
    def parents(self) -> Any:
        self.reads += 1
        if self.reads > READS:
            sentence = (
                "it walks every path instead of every node: their number doubles with every step"
            )
            program = f"y = y + y, {DOUBLINGS} times"
            raise Wrong(sentence, {"program": program}, f"more than {READS} visits of a node", "1")
        return self._parents

    @parents.setter
    def parents(self, parents: Any) -> None:
        self._parents, self.reads = parents, 0


def graph(edges: Mapping[str, str], node: Callable[..., Node] = Node) -> dict[str, Node]:
    """Nodes by name: ``{"u": "y y", "y": "x"}`` says which parents each has.

    Every name without parents of its own is a leaf; "-" is an input that needs no gradient.
    """
    made: dict[str, Any] = {"-": None}
    for name, parents in edges.items():
        found = [made.setdefault(p, Tensor(0.0, requires_grad=True)) for p in parents.split()]
        made[name] = node(name, tuple(found), (), np.zeros(()))
    return {name: made[name] for name in edges}


def _judge(subject: Any, nodes: dict[str, Node], shown: Any) -> None:
    """Raise Wrong unless the order of the graph below the last node is a right one."""
    root = list(nodes.values())[-1]
    names = {id(node): name for name, node in nodes.items()}
    got = call(subject, root)
    given = {"parents of each node": shown, "root": names[id(root)]}
    if not isinstance(got, list) or not all(isinstance(node, Node) for node in got):
        leaf = isinstance(got, list) and any(isinstance(node, Tensor) for node in got)
        sentence = "leaves are no Nodes, and do not belong in the list" if leaf else ""
        raise Wrong(sentence or "the answer must be a list of Nodes", given, got, list(names))
    order = [names[id(node)] for node in got]
    expected = list(names.values())  # they were made in a right order
    if len(set(order)) < len(order):
        raise Wrong("a node stands in the list more than once", given, order, expected)
    if missing := set(expected) - set(order):
        some = ", ".join(sorted(missing)[:3])
        raise Wrong(f"nodes are missing: {some}", given, order, expected)
    place = {id(node): i for i, node in enumerate(got)}
    pairs = [
        (names[id(p)], names[id(node)], place[id(p)] < place[id(node)])
        for node in got
        for p in node.parents
        if isinstance(p, Node)
    ]
    wrong = [pair for pair in pairs if not pair[2]]
    if wrong and len(wrong) == len(pairs):
        sentence = "the list is the wrong way round: parents stand before what was made from them"
        raise Wrong(sentence, given, order, expected)
    if wrong:
        parent, node, _ = wrong[0]
        raise Wrong(f"{node} was made from {parent}, but stands before it", given, order, expected)


def _random_graph(generator: np.random.Generator) -> dict[str, str]:
    names = [f"n{i}" for i in range(int(generator.integers(3, 9)))]
    edges = {}
    for i, name in enumerate(names):
        before = [*names[:i], "x", "-"]
        chosen = generator.choice(before, size=min(len(before), int(generator.integers(1, 4))))
        edges[name] = " ".join([*chosen, *names[max(0, i - 1) : i]])  # all lie below the last
    return edges


@parents_first.check(4)
def order(subject: Any, draw: Draw) -> None:
    """Every node stands after all its parents; leaves and None are no nodes."""
    fixed = [
        {"a": "x"},
        {"a": "x", "b": "a"},
        {"a": "x w", "b": "a -", "c": "b w"},
        {"a": "x", "b": "a", "c": "b a"},
        {"a": "x", "b": "a", "c": "a b"},
        {"a": "x", "b": "a", "c": "b", "d": "a c"},
        {"a": "x", "b": "a", "c": "b", "d": "c a b"},
    ]
    for edges in draw.cases(*fixed, more=_random_graph):
        _judge(subject, graph(edges), edges)


@parents_first.check(2)
def every_node_once(subject: Any, draw: Draw) -> None:
    """A node that was used twice stands in the list once; a leaf alone gives an empty list."""
    for edges in ({"a": "x", "b": "a a"}, {"a": "x", "b": "a", "c": "a", "d": "b c"}):
        _judge(subject, graph(edges), edges)
    got = call(subject, Tensor(1.0, requires_grad=True))
    expect(got, [], given={"root": "a leaf"}, otherwise="a leaf has no nodes: an empty list")


@parents_first.check(3)
def deep_graphs(subject: Any, draw: Draw) -> None:
    """Ten thousand operations in a row: more than Python allows nested calls."""
    edges = {"n0": "x"} | {f"n{i}": f"n{i - 1}" for i in range(1, DEEP)}
    _judge(subject, graph(edges), f"a chain of {DEEP} nodes")


@parents_first.check(3)
def many_paths(subject: Any, draw: Draw) -> None:
    """y = y + y, sixty times: 2⁶⁰ paths, and sixty nodes."""
    edges = {"n0": "x"} | {f"n{i}": f"n{i - 1} n{i - 1}" for i in range(1, DOUBLINGS)}
    _judge(subject, graph(edges, _Counted), f"two paths from each of {DOUBLINGS} nodes to the next")


# ---- 1.8 the walk back ---------------------------------------------------------------------------


def _walk(subject: Any, program: str, root: Tensor, g: NDArray, leaves: dict[str, Tensor]) -> Any:
    """The gradients that the walk yields, by the name of their leaf."""
    given = {"program": program, **{name: leaf.array for name, leaf in leaves.items()}, "seed": g}
    pairs = call(lambda root, seed: list(subject(root, seed)), root.node or root, seed=g)
    names = {id(leaf): name for name, leaf in leaves.items()}
    try:
        got = [(names[id(leaf)], gradient) for leaf, gradient in pairs]
    except (TypeError, ValueError, KeyError):
        raise Wrong("it must yield pairs (leaf, gradient)", given, pairs, list(leaves)) from None
    found = [name for name, _ in got]
    for name in leaves:
        if found.count(name) > 1:
            sentence = f"{name} is yielded {found.count(name)} times: wait for its last use"
            raise Wrong(sentence, given, found, list(leaves))
        if name not in found:
            raise Wrong(f"{name} is not yielded", given, found, list(leaves))
    return dict(got)


def _expect_gradients(
    subject: Any, program: str, leaves: dict[str, NDArray], run: Any, slopes: Any, draw: Draw
) -> None:
    """Walk back from ``run(**leaves)``; ``slopes(g, **leaves)`` is the closed form."""
    tensors = {name: Tensor(array, requires_grad=True) for name, array in leaves.items()}
    root = run(**tensors)
    g = draw.normal(*root.shape)
    got = _walk(subject, program, root, g, tensors)
    expected = dict(zip(leaves, slopes(g, **leaves), strict=True))
    ones = dict(zip(leaves, slopes(np.ones_like(g), **leaves), strict=True))
    for name in leaves:
        given = {"program": program, **leaves, "seed": g, "leaf": name}
        symptoms = {"the walk starts from ones: it must start from seed": ones[name]}
        sentence = f"the gradient of {name} is wrong: do all its uses count, each once?"
        expect(
            got[name],
            np.asarray(expected[name]),
            given=given,
            symptoms=symptoms,
            otherwise=sentence,
        )


@walk_back.check(3)
def one_path(subject: Any, draw: Draw) -> None:
    """Every leaf is used once: slopes are multiplied along the path."""
    x, y = draw.normal(3), draw.normal(3)
    _expect_gradients(subject, "L = 3 x", {"x": x}, lambda x: 3 * x, lambda g, x: [3 * g], draw)
    _expect_gradients(
        subject, "L = (3 x)²", {"x": x}, lambda x: (3 * x) ** 2, lambda g, x: [18 * g * x], draw
    )
    _expect_gradients(
        subject,
        "L = (2 x) y",
        {"x": x, "y": y},
        lambda x, y: (2 * x) * y,
        lambda g, x, y: [2 * g * y, 2 * g * x],
        draw,
    )
    leaf, g = Tensor(draw.normal(2), requires_grad=True), draw.normal(2)
    got = _walk(subject, "L = x: the root is a leaf", leaf, g, {"x": leaf})
    expect(got["x"], g, given={"program": "L = x", "seed": g})


@walk_back.check(4)
def several_uses(subject: Any, draw: Draw) -> None:
    """What was used several times gets the sum, and sends it on when all has arrived."""
    x, y = draw.normal(3), draw.normal(3)
    programs: list[tuple[str, Any, Any]] = [
        ("L = x x", lambda x: x * x, lambda g, x: [2 * g * x]),
        ("y = 3x, L = (2y) y²", lambda x: _diamond(3 * x), lambda g, x: [162 * g * x**2]),
        ("y = 3x, L = y + (y + y)", lambda x: _nested(3 * x), lambda g, x: [9 * g]),
        ("y = 3x, L = (y + y) + y", lambda x: _nested(3 * x, True), lambda g, x: [9 * g]),
    ]
    for program, run, slopes in programs:
        _expect_gradients(subject, program, {"x": x}, run, slopes, draw)
    _expect_gradients(
        subject,
        "L = (x y + x) x",
        {"x": x, "y": y},
        lambda x, y: (x * y + x) * x,
        lambda g, x, y: [g * (2 * x * y + 2 * x), g * x * x],
        draw,
    )


def _diamond(y: Tensor) -> Tensor:
    return (2 * y) * y**2


def _nested(y: Tensor, left: bool = False) -> Tensor:
    return (y * 1.0 + y) + y if left else y + (y * 1.0 + y)


@walk_back.check(2)
def shapes(subject: Any, draw: Draw) -> None:
    """A gradient has its leaf's shape and dtype, whatever was broadcast."""
    fixed: list[tuple[tuple[int, ...], tuple[int, ...]]]
    fixed = [((2, 3), (3,)), ((2, 3), (2, 1)), ((2, 3), ())]
    for left, right in draw.cases(*fixed, more=_pair):
        leaves = {"x": draw.normal(*left), "b": draw.normal(*right)}
        times = math.prod(left) / math.prod(right)
        tensors = {name: Tensor(array, requires_grad=True) for name, array in leaves.items()}
        g = np.ones(left)
        got = _walk(subject, "L = x + b", tensors["x"] + tensors["b"], g, tensors)
        given = {"program": "L = x + b", **leaves, "seed": g}
        expect(got["b"], np.full(right, times), given=given)
    x = Tensor(draw.normal(2, dtype=np.float32), requires_grad=True)
    got = _walk(subject, "L = x as float64", x.astype(np.float64), np.ones(2), {"x": x})
    expect(got["x"], np.ones(2, np.float32), given={"program": "L = x.astype(float64)"})


def _pair(generator: np.random.Generator) -> tuple[tuple[int, ...], tuple[int, ...]]:
    rows, columns = (int(n) for n in generator.integers(1, 4, size=2))
    return (rows, columns), [(columns,), (rows, 1), (1, columns), ()][generator.integers(4)]


@walk_back.check(2)
def no_shared_memory(subject: Any, draw: Draw) -> None:
    """A sum into one gradient must not change another: c = a + b hands the same g to both."""
    for program, run, times in (
        ("L = (a + b) + a", lambda a, b: (a + b) + a, (2, 1)),
        ("L = a + (a + b)", lambda a, b: a + (a + b), (2, 1)),
        ("L = (b + a) + (a + a)", lambda a, b: (b + a) + (a + a), (3, 1)),
        ("L = a + b", lambda a, b: a + b, (1, 1)),
    ):
        leaves = {name: Tensor(draw.normal(2), requires_grad=True) for name in "ab"}
        g = draw.normal(2)
        got = _walk(subject, program, run(**leaves), g, leaves)
        given = {"program": program, "seed": g}
        for name, factor in zip("ab", times):
            sentence = f"the gradient of {name} is wrong: was an array changed that others hold?"
            expect(got[name], factor * g, given={**given, "leaf": name}, otherwise=sentence)
        if any(
            np.shares_memory(got[name], other)
            for name, other in (("a", got["b"]), ("a", g), ("b", g))
        ):
            sentence = "gradients share memory: whoever changes one in place changes the other"
            raise Wrong(sentence, given, got, "an array of its own for each leaf")


@walk_back.check(3)
def deep_and_wide(subject: Any, draw: Draw) -> None:
    """Ten thousand additions in a row, and y = y + y sixty times, at once."""
    x = Tensor(np.ones(1), requires_grad=True)
    y = x
    for _ in range(DOUBLINGS):
        y = y + y
    got = _walk(subject, "y = y + y, sixty times", y, np.ones(1), {"x": x})
    expect(got["x"], np.array([2.0**DOUBLINGS]), given={"program": "y = y + y, sixty times"})
    y = x
    for _ in range(DEEP):
        y = y + 1.0
    got = _walk(subject, f"y = y + 1, {DEEP} times", y, np.ones(1), {"x": x})
    expect(got["x"], np.ones(1), given={"program": f"y = y + 1, {DEEP} times"})
