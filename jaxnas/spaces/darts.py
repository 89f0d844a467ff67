"""DARTS: a normal and a reduction cell of four nodes, each fed by two of those before it through one of seven ops.

A node is three decisions: which two of its predecessors feed it (the pairs in lexicographic order), and the op from
each. Twelve decisions make the normal cell, twelve the reduction cell: 1.0e18 architectures. An index counts them first
decision most significant; nobody published another order.

Source: Liu, Simonyan and Yang 2019 (arXiv:1806.09055). Its list of ops has "none" too, which no genotype contains.
"""

import ast
import re
from itertools import combinations
from typing import Any

import numpy as np
from jaxtyping import Int8, Int64

from jaxnas.errors import InputError, unknown_name
from jaxnas.spaces.space import SearchSpace, check_archs, to_index

OP_NAMES = (
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
)
CELLS = ("normal", "reduce")
NODES = (2, 3, 4, 5)  # 0 and 1 are the outputs of the two cells before
PAIRS = tuple(tuple(combinations(range(node), 2)) for node in NODES)  # of each node: possible inputs
CONCAT = list(NODES)  # what a cell gives: all its nodes

_CELL_CHOICES = tuple(choices for pairs in PAIRS for choices in (len(pairs), len(OP_NAMES), len(OP_NAMES)))
_EXAMPLE = "Genotype(normal=[('sep_conv_3x3', 0), ('skip_connect', 1), ...], normal_concat=range(2, 6), reduce=...)"


def parse(text: str) -> Int8[np.ndarray, "24"]:
    """The architecture of the usual text, Genotype(normal=[(op, node), ...], normal_concat=..., reduce=..., ...).

    Eight (op, node) of a cell, two for each node in turn. The concatenations may be left out.

    Raises:
        InputError: other text, an unknown op, inputs that are no two different nodes before, another concatenation.
    """
    fields = _read(text)
    arch = []
    for cell in CELLS:
        if cell not in fields:
            raise InputError(f"genotype {text!r:.80} has no {cell} cell: write it like {_EXAMPLE}")
        concat = fields.get(f"{cell}_concat", CONCAT)
        if concat != CONCAT:
            raise InputError(f"genotype {text!r:.80}: {cell}_concat is {concat}, in this space it is {CONCAT}")
        arch += _encode(fields[cell], cell, text)
    return np.array(arch, np.int8)


def _read(text: str) -> dict[str, list[Any]]:
    """The fields as lists."""
    try:
        call = ast.parse(re.sub(r"^\s*\w+\s*=\s*(?=Genotype)", "", text).strip(), mode="eval").body
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "Genotype"):
            raise ValueError("no Genotype")
        return {str(keyword.arg): _read_list(keyword.value) for keyword in call.keywords}
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        raise InputError(f"architecture {text!r:.80} is no DARTS genotype: write it like {_EXAMPLE}") from None


def _read_list(node: ast.expr) -> list[Any]:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "range":
        bounds = [ast.literal_eval(bound) for bound in node.args]
        if not all(isinstance(bound, int) and 0 <= bound <= 6 for bound in bounds):
            raise ValueError("range")
        return list(range(*bounds))
    return list(ast.literal_eval(node))


def _encode(edges: list[Any], cell: str, text: str) -> list[int]:
    shown = f"genotype {text!r:.60}, {cell} cell"
    if len(edges) != 2 * len(NODES) or not all(isinstance(edge, tuple) and len(edge) == 2 for edge in edges):
        raise InputError(f"{shown}: give {2 * len(NODES)} pairs (op, node), two for each node")
    decisions = []
    for number, node in enumerate(NODES):
        for op, _ in edges[2 * number :][:2]:
            if op not in OP_NAMES:
                raise unknown_name("op", str(op), OP_NAMES)
        (op_a, a), (op_b, b) = sorted(edges[2 * number :][:2], key=lambda edge: str(edge[1]))
        if (a, b) not in PAIRS[number]:
            raise InputError(f"{shown}: node {node} is fed by {a} and {b}: give two different nodes before it")
        decisions += [PAIRS[number].index((a, b)), OP_NAMES.index(op_a), OP_NAMES.index(op_b)]
    return decisions


def format_arch(arch: Int8[np.ndarray, "24"]) -> str:
    """The usual text of one architecture, inputs of a node in rising order; the inverse of `parse`.

    Raises:
        InputError: see `check_archs`.
    """
    decisions = check_archs(DARTS, np.asarray(arch)[None])[0].reshape(len(CELLS), len(NODES), 3).tolist()
    parts = []
    for cell, of_nodes in zip(CELLS, decisions, strict=True):
        edges = []
        for pairs, (pair, *ops) in zip(PAIRS, of_nodes, strict=True):
            edges += [(OP_NAMES[op], source) for op, source in zip(ops, pairs[pair], strict=True)]
        parts.append(f"{cell}={edges}, {cell}_concat={CONCAT}")
    return f"Genotype({', '.join(parts)})"


def _as_they_are(archs: Int8[np.ndarray, "A 24"]) -> Int8[np.ndarray, "A 24"]:
    """Every node is part of the output: nothing is without effect."""
    return check_archs(DARTS, archs)


def _own_class(archs: Int8[np.ndarray, "A 24"]) -> Int64[np.ndarray, " A"]:
    """Each stands for itself: nodes that could change places are not looked for."""
    return to_index(DARTS, archs)


DARTS = SearchSpace(
    name="darts",
    op_names=OP_NAMES,
    num_choices=len(CELLS) * _CELL_CHOICES,
    parse=parse,
    format=format_arch,
    canonicalize=_as_they_are,
    network_class=_own_class,
)
