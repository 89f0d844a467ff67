"""NAS-Bench-201: a cell of four nodes, one of five ops on each of its six edges, 15,625 architectures.

Source: Dong and Yang 2020 (arXiv:2001.00326). Two cells can be the same network in three senses: `functional_class`
has 4,930 classes. Two refinements of it are `isomorph_class` (6,466), the rule of the benchmark's authors, and
`network_class` (5,260), the only one that counts the parameters.
"""

import random
from collections.abc import Callable, Hashable, Iterable
from functools import cache
from typing import TypeAlias, TypeVar

import numpy as np
from jaxtyping import Int8, Int32, Int64

from jaxnas.errors import InputError, unknown_name
from jaxnas.spaces.cell import EDGES, NUM_NODES, Archs, drop_dead_edges, parse_naslib
from jaxnas.spaces.space import SearchSpace, check_archs, enumerate_archs, tidy, to_index

OP_NAMES = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
NONE, SKIP_CONNECT, NOR_CONV_1X1, NOR_CONV_3X3, AVG_POOL_3X3 = range(len(OP_NAMES))

_EXAMPLE = "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"

# A sorted multiset of terms; a term is an op and the `Terms` it is applied to.
Terms: TypeAlias = tuple[tuple[int, tuple[object, ...]], ...]
Value = TypeVar("Value")


def parse(text: object) -> Int8[np.ndarray, "6"]:
    """Return the architecture [6] of a text like '|nor_conv_3x3~0|+|none~0|skip_connect~1|+|none~0|none~1|none~2|'.

    The groups between '+' are nodes 1, 2, 3; each entry is op~source. White space is ignored. Six numbers in brackets,
    such as '(4, 0, 3, 1, 4, 3)', are an architecture as NASLib and NAS-Bench-Suite-Zero (arXiv:2210.03230) encode it.

    Raises:
        InputError: The number of nodes or of entries is wrong, a bar is missing, a source is out of order, or an op is
            unknown.
    """
    shown = f"architecture {text!r:.120}"
    plain = "".join(tidy(text).split())
    if (known := parse_naslib(plain, OP_NAMES)) is not None:
        return known
    nodes = plain.split("+")
    if len(nodes) != NUM_NODES - 1:
        raise InputError(f"{shown} must have {NUM_NODES - 1} nodes, like {_EXAMPLE!r}, got {len(nodes)}")
    arch = []
    for target, node in enumerate(nodes, start=1):
        entries = node[1:-1].split("|")
        if not (len(node) >= 2 and node[0] == node[-1] == "|" and len(entries) == target):
            raise InputError(f"{shown}: node {target} must be {target} x 'op~source' between bars, as in {_EXAMPLE!r}")
        for source, entry in enumerate(entries):
            op, _, given = entry.partition("~")
            if given != str(source):
                raise InputError(
                    f"{shown}: entry {entry!r:.40} of node {target} must end in '~{source}', its source node"
                )
            if op not in OP_NAMES:
                raise unknown_name("op", op, OP_NAMES)
            arch.append(OP_NAMES.index(op))
    return np.array(arch, np.int8)


def format_arch(arch: Int8[np.ndarray, "6"]) -> str:
    """Return the benchmark's text of one architecture [6]; the inverse of `parse`.

    Raises:
        InputError: See `check_archs`.
    """
    ops = check_archs(NASBENCH201, np.asarray(arch)[None])[0]
    nodes = [
        "|".join(f"{OP_NAMES[op]}~{source}" for op, (source, target) in zip(ops, EDGES, strict=True) if target == node)
        for node in range(1, NUM_NODES)
    ]
    return "+".join(f"|{node}|" for node in nodes)


def canonicalize(archs: Archs) -> Archs:
    """Return `archs` [A 6] in which every dead edge is none: one on no path of non-none edges from input to output.

    A cell without such a path becomes six times none. Idempotent; 9,445 architectures are fixed points.

    Raises:
        InputError: See `check_archs`.
    """
    return drop_dead_edges(check_archs(NASBENCH201, archs))


def functional_class(archs: Archs) -> Int32[np.ndarray, " A"]:
    """Return for each of `archs` [A 6] the lowest index of the cells that compute the same sum of terms; 4,930 classes.

    A node is a multiset of terms, the union of those of its edges: skip has the terms of its source, none has none, and
    a convolution or pool has the one term (op, multiset of its source), or none if the source is empty. Average pooling
    is linear and could be distributed over the sum (4,660 classes); it is a term like the others, so that the rule
    holds for any pooling. Two convolutions with separate parameters count as one used twice: 326 classes mix parameter
    counts, unlike those of `network_class`.

    Raises:
        InputError: See `check_archs`.
    """
    return np.take(_labels(_term_keys), to_index(NASBENCH201, archs))


def network_class(archs: Archs) -> Int32[np.ndarray, " A"]:
    """Return for each of `archs` [A 6] the lowest index of the cells that are the same network; 5,260 classes.

    Within a class the live kernels can be matched one to one so that the networks are the same function, and scores at
    initialisation differ by the random draw alone (flops also by repeated poolings). The classes are those of
    `functional_class`, split by the number of live convolutions of each kind, which is exact in this space.

    Raises:
        InputError: See `check_archs`.
    """
    return np.take(_labels(_network_keys), to_index(NASBENCH201, archs))


def isomorph_class(archs: Archs) -> Int32[np.ndarray, " A"]:
    """Return for each of `archs` [A 6] the lowest index of the cells of equal text by the authors' rule; 6,466 classes.

    A node is the sorted texts of its edges, joined by '+': '#' for none and for any op on '#', the text of the source
    for skip, '(source)@op' for other ops. Fewer cells merge than in `functional_class`, because the parts of a text
    that comes through a skip are not sorted again and '#' stays in a sum.

    Raises:
        InputError: See `check_archs`.
    """
    return np.take(_labels(_text_keys), to_index(NASBENCH201, archs))


@cache
def _labels(keys: Callable[[Archs], Iterable[Hashable]]) -> Int32[np.ndarray, " A"]:
    """Return for every index of the space the lowest index that has the same key."""
    first: dict[Hashable, int] = {}
    labels = [first.setdefault(key, index) for index, key in enumerate(keys(enumerate_archs(NASBENCH201)))]
    return np.array(labels, np.int32)


def _term_keys(archs: Archs) -> Iterable[Terms]:
    source: Terms = ((NONE, ()),)  # the one term that no op makes
    return (_output(ops, source, _join_terms) for ops in archs.tolist())


def _network_keys(archs: Archs) -> Iterable[tuple[Terms, int, int]]:
    live = canonicalize(archs)
    num_1x1, num_3x3 = ((live == op).sum(axis=1).tolist() for op in (NOR_CONV_1X1, NOR_CONV_3X3))
    return zip(_term_keys(archs), num_1x1, num_3x3, strict=True)


def _text_keys(archs: Archs) -> Iterable[str]:
    return (_output(ops, "0", _join_texts) for ops in archs.tolist())


def _output(ops: list[int], source: Value, join: Callable[[list[tuple[int, Value]]], Value]) -> Value:
    """Return the value of the last node; that of a node is `join` of the (op, value of the source) of its edges."""
    values = [source]
    for node in range(1, NUM_NODES):
        values.append(join([(ops[e], values[source]) for e, (source, target) in enumerate(EDGES) if target == node]))
    return values[-1]


def _join_terms(incoming: list[tuple[int, Terms]]) -> Terms:
    terms: list[tuple[int, tuple[object, ...]]] = []
    for op, source in incoming:
        if op == SKIP_CONNECT:
            terms.extend(source)
        elif op != NONE and source:
            terms.append((op, source))
    return tuple(sorted(terms))


def _join_texts(incoming: list[tuple[int, str]]) -> str:
    texts = []
    for op, source in incoming:
        if op == NONE or source == "#":
            texts.append("#")
        else:
            texts.append(source if op == SKIP_CONNECT else f"({source})@{OP_NAMES[op]}")
    return "+".join(sorted(texts))


@cache
def _published_order() -> Int64[np.ndarray, " A"]:
    """Return the mixed-radix number at each index: the benchmark shuffles its list with Python's generator, seed 88."""
    numbers = list(range(len(OP_NAMES) ** len(EDGES)))
    random.Random(88).shuffle(numbers)
    return np.array(numbers)


NASBENCH201 = SearchSpace(
    name="nasbench201",
    op_names=OP_NAMES,
    num_choices=(len(OP_NAMES),) * len(EDGES),
    parse=parse,
    format=format_arch,
    canonicalize=canonicalize,
    network_class=network_class,
    index_order=_published_order,
)
