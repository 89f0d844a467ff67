"""An architecture as a picture: the graph of its cells as SVG."""

from html import escape
from typing import NamedTuple

import numpy as np
from jaxtyping import Int8

from jaxnas.spaces import DARTS, NASBENCH201, TRANSNAS101_MACRO, TRANSNAS101_MICRO, SearchSpace
from jaxnas.spaces.cell import EDGES, NONE, NUM_NODES
from jaxnas.spaces.darts import CELLS, NODES, PAIRS
from jaxnas.spaces.transnas101 import DOUBLES, HALVES

STEP, RISE, RADIUS, LINE = 128, 40, 17, 18  # pixels: between nodes, of an arc by its span, of a node, of text
COLOURS = {
    "skip": "#8a8a8a",
    "avg_pool": "#4c9f70",
    "max_pool": "#2f7d6d",
    "sep_conv": "#3f78c9",
    "dil_conv": "#8d5fc0",
}


class Edge(NamedTuple):
    """An arrow between two nodes.

    Attributes:
      source: node where it starts.
      target: node where it ends.
      op: its label.
      used: whether anything that flows along it reaches the output.
    """

    source: int
    target: int
    op: str
    used: bool = True


class Graph(NamedTuple):
    """Nodes on a line, in the order in which they are computed, and the arrows between them."""

    title: str
    nodes: tuple[str, ...]
    edges: tuple[Edge, ...]


def draw_arch(space: SearchSpace, arch: Int8[np.ndarray, " D"]) -> list[tuple[str, str]]:
    """Return title and SVG of each cell of an architecture; empty for a custom space."""
    return [(graph.title, to_svg(graph)) for graph in graphs_of(space, arch)]


def graphs_of(space: SearchSpace, arch: Int8[np.ndarray, " D"]) -> list[Graph]:
    """Return the cells of NAS-Bench-201, TransNAS-Bench-101 and DARTS as graphs; an op "none" makes no edge."""
    if space in (NASBENCH201, TRANSNAS101_MICRO):
        (live,) = space.canonicalize(arch[None])
        ops = zip(EDGES, arch, live, strict=True)
        edges = (Edge(*edge, space.op_names[op], bool(kept != NONE)) for edge, op, kept in ops if op != NONE)
        nodes = ("in", *(str(node) for node in range(1, NUM_NODES - 1)), "out")
        return [Graph("cell", nodes, tuple(edges))]
    if space is TRANSNAS101_MACRO:
        return [_skeleton(arch)]
    return _genotype(arch) if space is DARTS else []


def _skeleton(arch: Int8[np.ndarray, " D"]) -> Graph:
    """Return modules in a row, with channels and the share of height and width after each."""
    channels, stride, nodes, edges = 64, 1, ["stem 64"], []
    for module in filter(None, arch.tolist()):
        channels, stride = channels * (2 if module in DOUBLES else 1), stride * (2 if module in HALVES else 1)
        nodes.append(f"{channels}, 1/{stride}" if stride > 1 else f"{channels}")
        changes = ["C x 2"] * (module in DOUBLES) + ["stride 2"] * (module in HALVES)
        edges.append(Edge(len(nodes) - 2, len(nodes) - 1, ", ".join(changes) or "as it is"))
    return Graph("skeleton: channels C, height and width", tuple(nodes), tuple(edges))


def _genotype(arch: Int8[np.ndarray, " D"]) -> list[Graph]:
    """Return the normal and the reduction cell; all their nodes are concatenated to the output."""
    graphs = []
    for cell, decisions in zip(CELLS, arch.reshape(len(CELLS), len(NODES), 3).tolist(), strict=True):
        edges = [
            Edge(source, node, DARTS.op_names[op])
            for node, pairs, (pair, *ops) in zip(NODES, PAIRS, decisions, strict=True)
            for source, op in zip(pairs[pair], ops, strict=True)
        ]
        nodes = ("k-2", "k-1", *(str(number) for number, _ in enumerate(NODES)))
        graphs.append(Graph(f"{cell} cell, whose nodes 0 to 3 are concatenated", nodes, tuple(edges)))
    return graphs


def to_svg(graph: Graph) -> str:
    """Draw nodes in a row and an arc over them for each edge, higher the more nodes it spans: no two labels meet.

    Text has the colour of the page around it. Unused edges are dashed.
    """
    widest = max((edge.target - edge.source for edge in graph.edges), default=0)
    width, base = STEP * (len(graph.nodes) - 1) + 2 * STEP // 2, RISE * widest + LINE + RADIUS
    centres = [STEP // 2 + STEP * number for number in range(len(graph.nodes))]
    arcs = "".join(draw(edge, centres, base) for draw in (_arc, _label) for edge in graph.edges)
    nodes = "".join(_node(label, x, base) for label, x in zip(graph.nodes, centres, strict=True))
    edges = [
        f"{graph.nodes[edge.source]} to {graph.nodes[edge.target]} {edge.op}{'' if edge.used else ' (unused)'}"
        for edge in graph.edges
    ]
    description = escape(f"{graph.title}: {'; '.join(edges) or 'no edge'}")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {base + RADIUS + 4}" width="{width}" role="img" '
        f'aria-label="{description}" font-family="inherit" font-size="13">'
        f"{arcs}{nodes}</svg>"
    )


def _arc(edge: Edge, centres: list[int], base: int) -> str:
    start, end = centres[edge.source] + RADIUS * 0.7, centres[edge.target] - RADIUS * 0.7
    top = base - RISE * (edge.target - edge.source)
    control = (4 * top - base + RADIUS * 0.7) / 3  # of a cubic that touches `top` in its middle
    colour = next((colour for name, colour in COLOURS.items() if edge.op.startswith(name)), "#d0762f")
    y, lean = base - RADIUS * 0.7, (end - start) / 5
    path = f"M{start:.0f} {y:.0f} C{start + lean:.0f} {control:.0f} {end - lean:.0f} {control:.0f} {end:.0f} {y:.0f}"
    dash = "" if edge.used else ' stroke-dasharray="5 5" opacity="0.55"'
    return (
        f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="2.5"{dash}/>'
        f'<path d="M{end - 7:.0f} {y - 9:.0f} L{end:.0f} {y:.0f} L{end - 12:.0f} {y - 3:.0f}" fill="{colour}"/>'
    )


def _label(edge: Edge, centres: list[int], base: int) -> str:
    """Write the op where its arc is highest; a halo of the page's colour separates it from arcs that cross."""
    x, y = (centres[edge.source] + centres[edge.target]) / 2, base - RISE * (edge.target - edge.source) - 5
    halo = 'style="stroke: var(--page, Canvas); stroke-width: 5px; paint-order: stroke"'
    return f'<text x="{x:.0f}" y="{y}" text-anchor="middle" fill="currentColor" {halo}>{escape(edge.op)}</text>'


def _node(label: str, x: int, y: int) -> str:
    half = max(RADIUS, 4 * len(label) + 8)
    return (
        f'<rect x="{x - half}" y="{y - RADIUS}" width="{2 * half}" height="{2 * RADIUS}" rx="{RADIUS}" '
        f'fill="#7f7f7f22" stroke="currentColor"/>'
        f'<text x="{x}" y="{y + 5}" text-anchor="middle" fill="currentColor">{escape(label)}</text>'
    )
