"""Homework 1, the graph: an order in which to walk it, judged by the definition of an order."""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from minissl.autograd.nodes import Node
from minissl.autograd.tensor import Tensor
from minissl.homework.task import Draw, Task, Wrong, call, expect

HERE = "lecture 02, section 5"
DEEP, DOUBLINGS, READS = 10_000, 60, 50
LIMIT = sys.getrecursionlimit()  # before any student's file was loaded

parents_first = Task(
    "1.7", "minissl.autograd.nodes:_parents_first", "an order for the walk back", HERE
)


class _Counted(Node):
    """A node that notices when its parents are read far too often, or by deep recursion."""

    __slots__ = ("_parents", "reads")

    @property
    def parents(self) -> Any:
        self.reads += 1
        if sys.getrecursionlimit() > LIMIT:
            sentence = (
                "it raises Python's limit for nested calls, which is there because deep recursion "
                "ends the process: keep a list of your own of what is still to be done"
            )
            raise Wrong(sentence, {}, sys.getrecursionlimit(), LIMIT)
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
    """Nodes by name: ``{"y": "x", "u": "y y"}`` says which parents each has.

    Every name without parents of its own is a leaf; "-" is an input that needs no gradient. The
    last node is made first, and all are of one operation: neither memory nor names give an order.
    """
    made: dict[str, Any] = {"-": None}
    for name in reversed([*edges]):
        made[name] = node("op", (), (), np.zeros(()))
    for name, parents in edges.items():
        found = [made.setdefault(p, Tensor(0.0, requires_grad=True)) for p in parents.split()]
        made[name].parents = tuple(found)
    return {name: made[name] for name in edges}


def _judge(subject: Any, nodes: dict[str, Node], shown: Any) -> None:
    """Raise Wrong unless the order of the graph below the last node is a right one."""
    root = list(nodes.values())[-1]
    names = {id(node): name for name, node in nodes.items()}
    before = {name: node.parents for name, node in nodes.items()}
    got = call(subject, root)
    given = {"parents of each node": shown, "root": names[id(root)]}
    if changed := [name for name, node in nodes.items() if node.parents is not before[name]]:
        sentence = "it changed the graph, which others still need: leave parents as they are"
        raise Wrong(sentence, given, nodes[changed[0]].parents, before[changed[0]])
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


@parents_first.check(3)
def order(subject: Any, draw: Draw) -> None:
    """Every node stands after all its parents; leaves and None are no nodes."""
    fixed = [
        {"a": "x"},
        {"a": "x", "b": "a"},
        {"a": "x w", "b": "a -", "c": "b w"},
        {"a": "x", "b": "- a", "c": "- b x"},
        {"a": "x", "b": "x", "c": "w", "d": "a b c"},
        {"a": "x", "b": "a", "c": "b a"},
        {"a": "x", "b": "a", "c": "a b"},
        {"a": "x", "b": "a", "c": "b", "d": "a c"},
        {"a": "x", "b": "a", "c": "b", "d": "c a b"},
    ]
    for edges in draw.cases(*fixed, more=_random_graph):
        _judge(subject, graph(edges), edges)


def _expect_the_same_again(subject: Any, draw: Draw) -> None:
    """Two calls for one graph give two equal lists."""
    kept = []  # so that the next graph lies elsewhere: what was seen before may be known by id
    for _ in range(20):
        edges = _random_graph(draw.generator)
        kept.append(nodes := graph(edges))
        root = list(nodes.values())[-1]
        if first := list(call(subject, root)):
            break
    again = call(subject, root)
    if [id(node) for node in again] != [id(node) for node in first]:
        sentence = (
            "the second call for the same graph gives another list: is something kept between "
            "calls (a default argument, a global)?"
        )
        names = {id(node): name for name, node in nodes.items()}
        shown = [[names.get(id(node)) for node in found] for found in (again, first)]
        raise Wrong(sentence, {"parents of each node": edges}, shown[0], shown[1])


@parents_first.check(2)
def every_node_once(subject: Any, draw: Draw) -> None:
    """A node that was used twice stands in the list once, in each call; a leaf gives no node."""
    _expect_the_same_again(subject, draw)
    for edges in ({"a": "x", "b": "a a"}, {"a": "x", "b": "a", "c": "a", "d": "b c"}):
        _judge(subject, graph(edges), edges)
    got = call(subject, Tensor(1.0, requires_grad=True))
    expect(got, [], given={"root": "a leaf"}, otherwise="a leaf has no nodes: an empty list")


def _chain(length: int) -> dict[str, str]:
    return {"n0": "x"} | {f"n{i}": f"n{i - 1}" for i in range(1, length)}


@parents_first.check(2)
def many_paths(subject: Any, draw: Draw) -> None:
    """y = y + y, sixty times: 2⁶⁰ paths, and sixty nodes."""
    edges = {"n0": "x"} | {f"n{i}": f"n{i - 1} n{i - 1}" for i in range(1, DOUBLINGS)}
    _judge(subject, graph(edges, _Counted), f"two paths from each of {DOUBLINGS} nodes to the next")


@parents_first.check(3)
def deep_graphs(subject: Any, draw: Draw) -> None:
    """Ten thousand operations in a row: more than Python allows nested calls, and at once."""
    lengths = (DEEP // 4 + int(draw.generator.integers(100)), DEEP)
    for length in lengths:
        _judge(subject, graph(_chain(length), _Counted), f"a chain of {length} nodes")
    for _ in range(4):  # a computer that is busy slows one try down
        short, long = (_seconds(subject, length) for length in lengths)
        if long < max(0.25, 6.5 * short):
            return
    sentence = (
        "four times the nodes take more than six times as long: to look whether a node was seen, "
        "keep a set (of id(node)), not a list that is searched"
    )
    given = {"program": f"a chain of {lengths[0]}, and of {DEEP} nodes"}
    raise Wrong(sentence, given, f"{long / short:.0f} times", "four times")


def _seconds(subject: Any, length: int) -> float:
    """Processor time for a chain of so many nodes."""
    root = list(graph(_chain(length)).values())[-1]
    collecting = gc.isenabled()
    gc.disable()  # it looks at all objects of the process, in the longer call more often
    begin = time.process_time()
    subject(root)
    seconds = time.process_time() - begin
    if collecting:
        gc.enable()
    return seconds
