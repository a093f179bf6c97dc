"""The graph as a picture: SVG for a notebook, DOT text for Graphviz. Lecture 02."""

from html import escape

from minissl.autograd.nodes import Node
from minissl.autograd.tensor import Tensor
from minissl.palette import BLUE_TINT, DARK, GREY, INK, OCHRE_TINT

# A notebook may put a picture into its page, so the rules for the dark name no more than ours.
_DARK = "@media (prefers-color-scheme:dark){" + "".join(
    f'.minissl-graph [fill="{light}"]{{fill:{DARK[light]}}}'
    for light in (OCHRE_TINT, BLUE_TINT, INK)
) + "}"  # fmt: skip
_WIDTH, _HEIGHT, _GAP_X, _GAP_Y = 118, 40, 18, 34  # of a box, and between boxes, in pixels


def parts(tensor: Tensor, most: int = 200) -> tuple[list[Node | Tensor], list[tuple[int, int]]]:
    """The nodes and leaves below a tensor, and the edges (parent, child) between them by number.

    Inputs that need no gradient are not part of the graph. Raises ValueError for a tensor without
    a graph and for one with more than ``most`` nodes, which no picture would show.
    """
    if tensor.node is None:
        raise ValueError("this tensor has no graph: it is a leaf, or was computed under no_grad()")
    numbers: dict[Node | Tensor, int] = {tensor.node: 0}
    nodes: list[Node | Tensor] = [tensor.node]
    edges = []
    for node in nodes:  # grows while we walk
        for parent in node.parents if isinstance(node, Node) else ():
            if parent is None:
                continue
            if parent not in numbers:
                numbers[parent] = len(nodes)
                nodes.append(parent)
            edges.append((numbers[parent], numbers[node]))
        if len(nodes) > most:
            raise ValueError(f"the graph has more than {most} nodes: draw a smaller part of it")
    return nodes, edges


def _label(node: Node | Tensor) -> tuple[str, str]:
    """What it is, and its shape."""
    name = node.operation if isinstance(node, Node) else "leaf"
    return name, str(tuple(node.shape)) if node.shape else "number"


def to_dot(tensor: Tensor) -> str:
    """The graph in Graphviz's language: ``dot -Tpng``."""
    nodes, edges = parts(tensor)
    lines = ["digraph {", "  node [shape=box, fontname=monospace];"]
    for i, node in enumerate(nodes):
        name, shape = _label(node)
        style = ", style=filled, fillcolor=lightyellow" if isinstance(node, Tensor) else ""
        name = name.replace("\\", "\\\\").replace('"', '\\"')
        lines.append(f'  n{i} [label="{name}\\n{shape}"{style}];')
    lines += [f"  n{parent} -> n{child};" for parent, child in edges]
    return "\n".join([*lines, "}"])


def to_svg(tensor: Tensor) -> str:
    """The graph as layered boxes: leaves (yellow) above, the result below, arrows forward."""
    nodes, edges = parts(tensor)
    layer = _layers(len(nodes), edges)
    columns: dict[int, int] = {}
    centers = []
    for i in range(len(nodes)):
        column = columns.get(layer[i], 0)
        columns[layer[i]] = column + 1
        centers.append((column, layer[i]))
    widest = max(columns.values())
    width = widest * (_WIDTH + _GAP_X) + _GAP_X
    height = (max(layer) + 1) * (_HEIGHT + _GAP_Y) + _GAP_Y

    def place(i: int) -> tuple[float, float]:
        """The upper middle of box i; each layer is centered, the deepest layer on top."""
        column, depth = centers[i]
        x = width / 2 + (column - (columns[depth] - 1) / 2) * (_WIDTH + _GAP_X)
        return x, height - (depth + 1) * (_HEIGHT + _GAP_Y)

    drawn = [_arrow(place(p), place(c)) for p, c in edges]
    drawn += [_box(place(i), node) for i, node in enumerate(nodes)]
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" class="minissl-graph" '
        f'width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        'font-family="monospace" font-size="12" text-anchor="middle">'
        f"<style>{_DARK}</style>{''.join(drawn)}</svg>"
    )


def _layers(count: int, edges: list[tuple[int, int]]) -> list[int]:
    """Each node's longest distance to the result: a parent always stands above its children."""
    layer = [0] * count
    parents: dict[int, list[int]] = {}
    waiting = [0] * count
    for parent, child in edges:
        parents.setdefault(child, []).append(parent)
        waiting[parent] += 1
    ready = [0]
    while ready:
        child = ready.pop()
        for parent in parents.get(child, []):
            layer[parent] = max(layer[parent], layer[child] + 1)
            waiting[parent] -= 1
            if waiting[parent] == 0:
                ready.append(parent)
    return layer


def _arrow(parent: tuple[float, float], child: tuple[float, float]) -> str:
    (x1, y1), (x2, y2) = (parent[0], parent[1] + _HEIGHT), child
    head = f"M{x2 - 4:.0f} {y2 - 7:.0f}L{x2:.0f} {y2:.0f}L{x2 + 4:.0f} {y2 - 7:.0f}"
    return f'<path d="M{x1:.0f} {y1:.0f}L{x2:.0f} {y2:.0f}{head}" stroke="{GREY}" fill="none"/>'


def _box(place: tuple[float, float], node: Node | Tensor) -> str:
    (x, y), (name, shape) = place, _label(node)
    color = OCHRE_TINT if isinstance(node, Tensor) else BLUE_TINT
    return (
        f'<rect x="{x - _WIDTH / 2:.0f}" y="{y:.0f}" width="{_WIDTH}" height="{_HEIGHT}" rx="6" '
        f'fill="{color}" stroke="{GREY}"/>'
        f'<text x="{x:.0f}" y="{y + 16:.0f}" fill="{INK}">{escape(name)}</text>'
        f'<text x="{x:.0f}" y="{y + 32:.0f}" fill="{INK}" font-size="11">{escape(shape)}</text>'
    )
