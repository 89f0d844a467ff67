"""DARTS: a normal and a reduction cell of four nodes, each fed by two of those before it through one of seven ops.

A node is three decisions: which two of its predecessors feed it (the pairs in lexicographic order), and the op from
each. Twelve decisions make the normal cell, twelve the reduction cell: 1.0e18 architectures. An index counts them first
decision most significant, as no other order is published.

Source: Liu, Simonyan and Yang 2019 (arXiv:1806.09055). Its list of ops has "none" too, which no genotype contains.
"""

import ast
import re
from itertools import combinations

import numpy as np
from jaxtyping import Int8, Int64

from jaxnas.errors import InputError, unknown_name
from jaxnas.spaces.space import SearchSpace, check_archs, check_text, tidy, to_index

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


def parse(text: object) -> Int8[np.ndarray, "24"]:
    """Return the architecture of a text Genotype(normal=[(op, node), ...], normal_concat=..., reduce=..., ...).

    A cell has eight pairs (op, node), two for each node in turn. The concatenations may be left out. Three forms of
    files are read too: a genotype as an object, '{"normal": [["sep_conv_3x3", 0], ...], "reduce": ...}', as a list of
    its four fields, as JSON writes the named tuple, and as NAS-Bench-Suite-Zero (arXiv:2210.03230) encodes
    NAS-Bench-301, '[[(0, 3), ...], [...]]', the numbers of node and op of the normal and of the reduction cell.

    Raises:
        InputError: The text has another form, an op is unknown, the inputs of a node are not two different earlier
            nodes, or a concatenation is not that of the space.
    """
    text = check_text(text)
    fields = _read_literal(text) if tidy(text)[:1] in ("[", "(", "{") else _read(text)
    arch = []
    for cell in CELLS:
        if cell not in fields:
            raise InputError(f"genotype {text!r:.80} has no {cell} cell; write it like {_EXAMPLE}")
        concat = fields.get(f"{cell}_concat", CONCAT)
        if concat != CONCAT:
            raise InputError(f"genotype {text!r:.80}: {cell}_concat must be {CONCAT}, got {concat}")
        arch += _encode(fields[cell], cell, text)
    return np.array(arch, np.int8)


def _read_literal(text: str) -> dict[str, list[object]]:
    """Return the fields of a genotype in one of the forms of files."""
    try:
        value = ast.literal_eval(tidy(text))
        if isinstance(value, dict):
            fields = {str(name): list(field) for name, field in value.items()}
        elif len(value) == len(CELLS):
            fields = {
                cell: [(_op_name(op), node) for node, op in edges] for cell, edges in zip(CELLS, value, strict=True)
            }
        else:
            names = [f"{cell}{end}" for cell in CELLS for end in ("", "_concat")]
            fields = {name: list(field) for name, field in zip(names, value, strict=True)}
        return {name: [tuple(one) if isinstance(one, list) else one for one in field] for name, field in fields.items()}
    except (ValueError, SyntaxError, TypeError, IndexError, RecursionError, MemoryError):
        raise InputError(f"architecture {text!r:.80} is not a DARTS genotype; write it like {_EXAMPLE}") from None


def _op_name(number: object) -> str:
    """Return the op of a number from 0 on.

    Raises:
        ValueError: There is none.
    """
    if not isinstance(number, int) or not 0 <= number < len(OP_NAMES):
        raise ValueError("op")
    return OP_NAMES[number]


def _read(text: str) -> dict[str, list[object]]:
    """Return the fields of a genotype as lists."""
    try:
        call = ast.parse(re.sub(r"^\s*\w+\s*=\s*(?=Genotype)", "", tidy(text)).strip(), mode="eval").body
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "Genotype"):
            raise ValueError("no Genotype")
        return {str(keyword.arg): _read_list(keyword.value) for keyword in call.keywords}
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        raise InputError(f"architecture {text!r:.80} is not a DARTS genotype; write it like {_EXAMPLE}") from None


def _read_list(node: ast.expr) -> list[object]:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "range":
        bounds = [ast.literal_eval(bound) for bound in node.args]
        if not all(isinstance(bound, int) and 0 <= bound <= 6 for bound in bounds):
            raise ValueError("range")
        return list(range(*bounds))
    return list(ast.literal_eval(node))


def _encode(edges: list[object], cell: str, text: str) -> list[int]:
    """Return the decisions of one cell."""
    shown = f"genotype {text!r:.60}, {cell} cell"
    pairs = [edge for edge in edges if isinstance(edge, tuple) and len(edge) == 2]
    if not len(pairs) == len(edges) == 2 * len(NODES):
        raise InputError(f"{shown}: there must be {2 * len(NODES)} pairs (op, node), two for each node")
    decisions = []
    for number, node in enumerate(NODES):
        for op, _ in pairs[2 * number :][:2]:
            if op not in OP_NAMES:
                raise unknown_name("op", str(op), OP_NAMES)
        (op_a, a), (op_b, b) = sorted(pairs[2 * number :][:2], key=lambda pair: str(pair[1]))
        if (a, b) not in PAIRS[number]:
            raise InputError(f"{shown}: the inputs of node {node} must be two different earlier nodes, got {a} and {b}")
        decisions += [PAIRS[number].index((a, b)), OP_NAMES.index(op_a), OP_NAMES.index(op_b)]
    return decisions


def format_arch(arch: Int8[np.ndarray, "24"]) -> str:
    """Return the text of one architecture [24], with the inputs of a node in rising order; the inverse of `parse`.

    Raises:
        InputError: See `check_archs`.
    """
    decisions = check_archs(DARTS, np.asarray(arch)[None])[0].reshape(len(CELLS), len(NODES), 3).tolist()
    parts = []
    for cell, nodes in zip(CELLS, decisions, strict=True):
        edges = []
        for pairs, (pair, *ops) in zip(PAIRS, nodes, strict=True):
            edges += [(OP_NAMES[op], source) for op, source in zip(ops, pairs[pair], strict=True)]
        parts.append(f"{cell}={edges}, {cell}_concat={CONCAT}")
    return f"Genotype({', '.join(parts)})"


def _check_only(archs: Int8[np.ndarray, "A 24"]) -> Int8[np.ndarray, "A 24"]:
    """Return `archs` unchanged: every node is part of the output, so that every decision has an effect."""
    return check_archs(DARTS, archs)


def _index_class(archs: Int8[np.ndarray, "A 24"]) -> Int64[np.ndarray, " A"]:
    """Return the index of each architecture: nodes that could change places are not searched for."""
    return to_index(DARTS, archs)


DARTS = SearchSpace(
    name="darts",
    op_names=OP_NAMES,
    num_choices=len(CELLS) * _CELL_CHOICES,
    parse=parse,
    format=format_arch,
    canonicalize=_check_only,
    network_class=_index_class,
)
