"""The graph as a picture: well-formed, complete, and nothing on top of something else."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from minissl.autograd import Tensor, no_grad
from minissl.autograd.graph import parts, to_dot, to_svg
from minissl.autograd.nodes import Node
from minissl.autograd.tensor import differentiable

SVG = "{http://www.w3.org/2000/svg}"


def network():
    x = Tensor(np.ones((4, 3)), requires_grad=False)
    w, b = (Tensor(np.ones(s), requires_grad=True) for s in ((3, 5), (5,)))
    hidden = (x @ w + b) * 2.0
    return (hidden * hidden + b).sum()


def test_nodes_and_edges():
    nodes, edges = parts(network())
    names = [n.operation if isinstance(n, Node) else "leaf" for n in nodes]
    assert sorted(names) == sorted(
        ["sum", "add", "multiply", "multiply", "add", "matmul", "leaf", "leaf"]
    )
    assert len(edges) == 9  # b and hidden are used twice; x and 2.0 are not part of it
    assert len(set(edges)) == 8


def boxes(svg):
    root = ElementTree.fromstring(svg)
    found = [
        tuple(float(r.get(k)) for k in ("x", "y", "width", "height"))
        for r in root.iter(f"{SVG}rect")
    ]
    return root, found


@pytest.mark.parametrize("make", ["network", "chain", "wide", "one"])
def test_svg(make):
    if make == "network":
        loss = network()
    else:
        x = Tensor(np.ones(3), requires_grad=True)
        loss = x * 2.0
        if make == "chain":
            for _ in range(40):
                loss = loss + x
        if make == "wide":
            for i in range(20):
                loss = loss + Tensor(np.full(3, i), requires_grad=False) * (x + float(i))
    nodes, edges = parts(loss)
    root, rectangles = boxes(to_svg(loss))
    assert len(rectangles) == len(nodes)
    assert len(list(root.iter(f"{SVG}path"))) == len(edges)
    assert len(list(root.iter(f"{SVG}text"))) == 2 * len(nodes)
    width, height = float(root.get("width")), float(root.get("height"))
    for i, (x, y, w, h) in enumerate(rectangles):
        assert 0 <= x <= x + w <= width
        assert 0 <= y <= y + h <= height
        for other_x, other_y, other_w, other_h in rectangles[:i]:
            apart = x >= other_x + other_w or other_x >= x + w
            assert apart or y >= other_y + other_h or other_y >= y + h
    for parent, child in edges:  # arrows point down
        assert rectangles[parent][1] + rectangles[parent][3] <= rectangles[child][1]


def test_arrows_end_at_their_boxes():
    loss = network()
    root, rectangles = boxes(to_svg(loss))
    _, edges = parts(loss)
    for path, (parent, child) in zip(root.iter(f"{SVG}path"), edges):
        x1, y1, x2, y2 = map(
            float, re.match(r"M(\S+) (\S+?)L(\S+) (\S+?)M", path.get("d")).groups()
        )
        for x, y, box, edge in ((x1, y1, parent, "bottom"), (x2, y2, child, "top")):
            left, top, width, height = rectangles[box]
            assert x == pytest.approx(left + width / 2, abs=1)
            assert y == pytest.approx(top + (height if edge == "bottom" else 0), abs=1)


def test_names_are_escaped():
    def function(a, /):
        return a * 1.0, (lambda g: g,)

    function.__name__ = "<script>&\"'"
    loss = differentiable(function)(Tensor([1.0], requires_grad=True))
    texts = [t.text for t in boxes(to_svg(loss))[0].iter(f"{SVG}text")]
    assert "<script>&\"'" in texts
    assert '\\"' in to_dot(loss), "a quote inside a DOT label needs a backslash"


def test_dot():
    loss = network()
    nodes, edges = parts(loss)
    text = to_dot(loss)
    assert text.startswith("digraph {\n")
    assert text.endswith("\n}")
    assert text.count("{") == text.count("}") == 1
    declared = re.findall(r"^  (n\d+) \[label=\"([^\"]*)\"", text, flags=re.M)
    assert len(declared) == len(nodes)
    arrows = re.findall(r"^  (n\d+) -> (n\d+);", text, flags=re.M)
    assert arrows == [(f"n{p}", f"n{c}") for p, c in edges]
    assert {name for arrow in arrows for name in arrow} == {name for name, _ in declared}
    assert ("n0", "sum\\nnumber") in declared
    assert any(label == "leaf\\n(3, 5)" for _, label in declared)
    assert text.count("lightyellow") == 2


def test_no_graph_and_too_large_a_graph():
    x = Tensor([1.0], requires_grad=True)
    with no_grad():
        quiet = x * 2.0
    for tensor in (x, Tensor([1.0]), quiet):
        with pytest.raises(ValueError, match=r"no graph.*leaf.*no_grad"):
            to_svg(tensor)
        assert tensor._repr_svg_() is None, "a notebook falls back on the text"
    long = x
    for _ in range(201):
        long = long + 1.0
    for draw in (to_svg, to_dot):
        with pytest.raises(ValueError, match="more than 200 nodes"):
            draw(long)
    assert long._repr_svg_() is None
    assert len(parts(long, most=300)[0]) == 202
    assert (x * 2.0)._repr_svg_().startswith("<svg")


def test_a_used_graph_can_still_be_drawn():
    loss = network()
    before = to_svg(loss)
    loss.backward()
    assert to_svg(loss) == before


def test_every_color_has_one_for_the_dark():
    """Whatever is filled has another color there, and letters stand out from their box in both."""
    svg = to_svg(network())
    rules = dict(re.findall(r'\.minissl-graph \[fill="(#\w+)"\]\{fill:(#\w+)\}', svg))
    root, _ = boxes(svg)
    assert root.get("class") == "minissl-graph"
    drawn = [shape for kind in ("rect", "text") for shape in root.iter(f"{SVG}{kind}")]
    used = {shape.get("fill") for shape in drawn}
    assert set(rules) == used
    for box in {r.get("fill") for r in root.iter(f"{SVG}rect")}:
        for ink in {t.get("fill") for t in root.iter(f"{SVG}text")}:
            assert contrast(box, ink) > 4.5
            assert contrast(rules[box], rules[ink]) > 4.5


def contrast(one, other):
    """The ratio of two colors as WCAG 2 defines it."""
    bright = []
    for color in (one, other):
        channels = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
        linear = np.where(
            channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4
        )
        bright.append(linear @ [0.2126, 0.7152, 0.0722] + 0.05)
    return max(bright) / min(bright)
