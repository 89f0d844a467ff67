"""Graphs of at most seven vertices, with ops on the inner ones, up to the numbers of their vertices.

A graph that can be numbered in several ways has one number here, the smallest of those that its numberings have. They
come from the bits of its edges, in the order of their targets and then of their sources, and from its ops. This is the
graph that the program of the authors of NAS-Bench-101 meets first, and these numbers rise in the order of its list.

Source: Ying et al. 2019 (arXiv:1902.09635), github.com/google-research/nasbench.
"""

from functools import cache
from itertools import combinations, permutations
from typing import TypeAlias

import numpy as np
from jaxtyping import Bool, Int8, Int32, Int64

from jaxnas.spaces.space import Traceable

NUM_OPS = 3
MAX_VERTICES, MAX_EDGES = 7, 9
INPUT, OUTPUT = 0, MAX_VERTICES - 1
INNER = tuple(range(1, OUTPUT))  # the vertices that have an op
EDGES = tuple(combinations(range(MAX_VERTICES), 2))  # (source, target), in the order of the decisions

PAIRS = tuple((source, target) for source in range(OUTPUT) for target in range(1, MAX_VERTICES) if source != target)

Archs: TypeAlias = Int8[np.ndarray, "A 26"]  # 1 for an edge of each pair, then the op of each inner vertex

_PLACES = tuple(source + target * (target - 1) // 2 for source, target in EDGES)  # of the bits of edges
_FORWARD = [PAIRS.index(edge) for edge in EDGES]
_LABELINGS = NUM_OPS ** len(INNER)
_NEVER = 2 ** len(EDGES)  # above the bits of all graphs
_ROWS = 20_000  # numbered at once: their numbers under all permutations take 20 MB


def _prune(edges: Bool[np.ndarray, "A 21"]) -> Bool[np.ndarray, "A 21"]:
    """Return the edges that are on a path from the input to the output."""
    fed, used = np.zeros((2, MAX_VERTICES, len(edges)), bool)
    fed[INPUT] = used[OUTPUT] = True
    for edge, (source, target) in enumerate(EDGES):  # a source comes before all edges that leave it
        fed[target] |= fed[source] & edges[:, edge]
    for edge, (source, target) in reversed(list(enumerate(EDGES))):
        used[source] |= used[target] & edges[:, edge]
    sources, targets = np.array(EDGES).T
    pruned: np.ndarray = edges & (fed[sources] & used[targets]).T
    return pruned


@cache
def _weights() -> tuple[Int32[np.ndarray, "31 P"], Int32[np.ndarray, "5 P"]]:
    """Return what edges and ops add to the number of a graph under each permutation of the inner vertices.

    An edge that a permutation turns backwards adds more than the number of any graph. The numbers of ops are those of
    labelings in their lexicographic order.
    """
    orders = [(INPUT, *order, OUTPUT) for order in permutations(INNER)]
    place_of = dict(zip(EDGES, _PLACES, strict=True))
    edges = [[_weight(place_of, order[source], order[target]) for order in orders] for source, target in PAIRS]
    ops = [[NUM_OPS ** (len(INNER) - order[vertex]) for order in orders] for vertex in INNER]
    return np.array(edges, np.int32), np.array(ops, np.int32)


def _weight(place_of: dict[tuple[int, int], int], source: int, target: int) -> int:
    return 1 << place_of[source, target] if source < target else _NEVER


def encode(archs: Archs) -> tuple[Int64[np.ndarray, " A"], Int64[np.ndarray, " A"]]:
    """Return the number of the graph that stands for each cell [A 26], and how many edges that graph has.

    A graph without edges, or with too many, is none of the space, and its number has no meaning.
    """
    edges = _prune(archs[:, : len(EDGES)] == 1)
    ops = np.where(_has_edges(edges), archs[:, len(EDGES) :], 0)
    codes = np.empty(len(archs), np.int64)
    of_edges, of_ops = _weights()
    of_edges = of_edges[_FORWARD]
    for start in range(0, len(archs), _ROWS):
        rows = slice(start, start + _ROWS)
        numbers = (edges[rows] * 1.0) @ of_edges  # of floats, as NumPy has no fast product of integers
        codes[rows] = (np.minimum(numbers, _NEVER) * _LABELINGS + (ops[rows] * 1.0) @ of_ops).min(axis=1)
    return codes, edges.sum(axis=1)


def _has_edges(edges: Bool[np.ndarray, "A 21"]) -> Bool[np.ndarray, "A 5"]:
    """Return which of the inner vertices of pruned graphs have edges."""
    leaving = [[edge for edge, (source, _) in enumerate(EDGES) if source == vertex] for vertex in INNER]
    return np.stack([edges[:, of].any(axis=1) for of in leaving], axis=1)


def decode(codes: Int64[np.ndarray, " A"]) -> Archs:
    """Return the vectors of numbers that `encode` returns."""
    bits, labels = np.divmod(codes, _LABELINGS)
    ops = np.unravel_index(labels, (NUM_OPS,) * len(INNER))
    return np.stack([*((bits >> place) & 1 for place in _PLACES), *ops], axis=1).astype(np.int8)


def all_codes() -> Int64[np.ndarray, " A"]:
    """Return the numbers of all architectures, rising.

    The smallest number of a graph under all permutations is that of its edges alone first; of the permutations that
    keep the edges, the smallest number of the ops counts.
    """
    edges = _all_graphs()
    of_edges, of_ops = _weights()
    numbers = (edges * 1.0) @ of_edges[_FORWARD]
    own = edges @ (2 ** np.array(_PLACES))
    first = numbers.min(axis=1) == own
    edges, own, same = edges[first], own[first], numbers[first] == own[first, None]
    labelings = np.stack(np.unravel_index(np.arange(_LABELINGS), (NUM_OPS,) * len(INNER)), axis=1)
    moved = labelings @ of_ops  # [labelings, permutations]
    chosen = ~((labelings[None] > 0) & ~_has_edges(edges)[:, None]).any(axis=2)  # no op where there is no vertex
    for permutation in range(moved.shape[1]):
        chosen &= ~same[:, permutation, None] | (moved[:, permutation] >= np.arange(_LABELINGS))
    graphs, labels = np.nonzero(chosen)
    codes: np.ndarray = np.sort(own[graphs] * _LABELINGS + labels)
    return codes


def _all_graphs() -> Bool[np.ndarray, "G 21"]:
    """Return all sets of at most nine edges that are on paths from input to output; the last vertices may have none."""
    numbers = np.arange(1, 2 ** len(EDGES), dtype=np.int32)
    count = sum((numbers >> place) & 1 for place in range(len(EDGES)))
    numbers = numbers[count <= MAX_EDGES]
    edges = np.stack([(numbers >> place) & 1 == 1 for place in _PLACES], axis=1)
    whole: np.ndarray = edges[(_prune(edges) == edges).all(axis=1)]
    return whole


Changes: TypeAlias = tuple[Int32[np.ndarray, "M 31"], Int32[np.ndarray, "M 5"]]  # added to edges and to ops


@cache
def _changes() -> Changes:
    """Return all changes of a cell whose last inner vertex has no edges if it has fewer than seven vertices.

    They are an edge more or less between two vertices, in either direction; another op of a vertex; and a new vertex
    with an edge from one vertex and one to another.
    """
    edges = [[number] for number in range(len(PAIRS))]
    new = INNER[-1]
    ends = [(source, target) for source, target in PAIRS if new not in (source, target)]
    added = [[PAIRS.index((source, new)), PAIRS.index((new, target))] for source, target in ends]
    rows = [(pairs, 0, 0) for pairs in edges]
    rows += [([], vertex, shift) for vertex in range(len(INNER)) for shift in range(1, NUM_OPS)]
    rows += [(pairs, len(INNER) - 1, op) for pairs in added for op in range(NUM_OPS)]
    of_edges, of_ops = np.zeros((len(rows), len(PAIRS)), np.int32), np.zeros((len(rows), len(INNER)), np.int32)
    for row, (pairs, vertex, shift) in enumerate(rows):
        of_edges[row, pairs], of_ops[row, vertex] = 1, shift
    return of_edges, of_ops


def neighbours(arch: Traceable) -> tuple[Traceable, Traceable]:
    """Return the cells [M 26] that one change makes of a member [26], and which of them [M] are other members.

    A change adds or removes an edge or exchanges an op; or it adds a vertex with an edge from one vertex and an edge to
    another, without which no cell of fewer than seven vertices could grow. Vertices without a path are dropped and the
    others numbered without gaps, as everywhere.

    Only operators are used, so that the vector may be traced by JAX.
    """
    (of_edges, of_ops), (weights, op_weights) = _changes(), _weights()
    own_edges, own_ops = arch[: len(EDGES)].astype(np.int32), arch[len(EDGES) :].astype(np.int32)
    edges = ((own_edges @ np.eye(len(PAIRS), dtype=np.int32)[_FORWARD])[None] + of_edges) % 2
    ops = (own_ops[None] + of_ops) % NUM_OPS
    sources, targets = np.array(PAIRS).T
    vertices = np.arange(MAX_VERTICES)[None]
    leaves, enters = (np.int32(ends[:, None] == vertices) for ends in (sources, targets))  # [pairs, vertices]
    fed, used = (np.repeat(np.int32(vertices == end), len(of_edges), axis=0) for end in (INPUT, OUTPUT))
    for _ in range(OUTPUT):  # as many steps as the longest path has
        fed = 1 * (fed + (edges * fed[:, sources]) @ enters > 0)
        used = 1 * (used + (edges * used[:, targets]) @ leaves > 0)
    edges = edges * fed[:, sources] * used[:, targets]
    ops = ops * ((edges @ leaves)[:, INNER] > 0)
    numbers = edges @ weights
    possible = numbers < _NEVER
    codes = ((numbers * possible + _NEVER * ~possible) * _LABELINGS + ops @ op_weights).min(axis=1)
    own = own_edges @ (2 ** np.array(_PLACES, np.int32)) * _LABELINGS + own_ops @ op_weights[:, 0]
    count = edges.sum(axis=1)
    valid = (codes < _NEVER * _LABELINGS) & (codes != own) & (count > 0) & (count <= MAX_EDGES)
    digits = (codes // _LABELINGS)[:, None] >> np.array(_PLACES, np.int32)[None] & 1
    labels = codes[:, None] // op_weights[:, 0][None] % NUM_OPS
    to_archs = np.eye(len(EDGES) + len(INNER), dtype=np.int32)
    return digits @ to_archs[: len(EDGES)] + labels @ to_archs[len(EDGES) :], valid
