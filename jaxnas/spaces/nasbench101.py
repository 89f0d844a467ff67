"""NAS-Bench-101: a cell that is a graph of at most seven vertices and nine edges, with three ops; 423,624 cells.

A vector has one decision for each pair of vertices (0, 1), (0, 2), ..., (5, 6), 1 for an edge, and then the op of each
of the vertices 1 to 5, 0 for one without edges; vertex 0 is the input, vertex 6 the output. Cells that differ in the
numbers of their vertices alone are one architecture, and one vector stands for them: that which the authors' program
meets first. `canonicalize` returns it, and `parse` of any of them. An index counts in the order of that program.

Source: Ying et al. 2019 (arXiv:1902.09635).
"""

import ast
import re
from functools import cache
from typing import TypeAlias

import numpy as np
from jaxtyping import Int8, Int64

from jaxnas.errors import InputError, unknown_name
from jaxnas.spaces.cell_graphs import (
    EDGES,
    INNER,
    INPUT,
    MAX_EDGES,
    MAX_VERTICES,
    NUM_OPS,
    OUTPUT,
    Archs,
    all_codes,
    decode,
    encode,
    neighbours,
)
from jaxnas.spaces.space import SearchSpace, check_archs, check_options, is_member, tidy, to_index

OP_NAMES = ("conv3x3-bn-relu", "conv1x1-bn-relu", "maxpool3x3")

_CHOICES = (2,) * len(EDGES) + (NUM_OPS,) * len(INNER)
_UPPER = np.triu_indices(MAX_VERTICES, 1)

Matrix: TypeAlias = list[list[int]]

_SUITE_ZERO = ("input", "output", "maxpool3x3", "conv1x1-bn-relu", "conv3x3-bn-relu")  # by their numbers there
_EXAMPLE = "conv3x3-bn-relu~0|conv1x1-bn-relu~0~1|output~1~2"


def parse(text: object) -> Int8[np.ndarray, "26"]:
    """Return the architecture of a text like 'conv3x3-bn-relu~0|conv1x1-bn-relu~0~1|output~1~2'.

    Each entry is a vertex from 1 on: its op and the vertices that feed it, 0 being the input. Two forms of others are
    read too: the matrix and the ops of the benchmark's authors, as '[[0, 1], [0, 0]], ["input", "output"]', and the
    numbers of both in one row, as NAS-Bench-Suite-Zero (arXiv:2210.03230) encodes them. Vertices that no path from
    input to output meets are dropped, as in the benchmark.

    Raises:
        InputError: The text has none of these forms, an op is unknown, the matrix is not upper triangular, no path
            leads from input to output, or there are more than seven vertices or nine edges.
    """
    plain = "".join(tidy(text).split())
    shown = f"architecture {text!r:.120}"
    matrix, ops = _read_literal(plain, shown) if plain[:1] in ("[", "(", "{") else _read_entries(plain, shown)
    return _to_arch(matrix, ops, shown)


def _read_entries(plain: str, shown: str) -> tuple[Matrix, list[str]]:
    """Return the matrix and the ops of the text that `format_arch` writes."""
    if re.fullmatch("[0-9a-f]{32}", plain):
        raise InputError(f"{shown} is a hash, of which the cell cannot be read: give its matrix and ops")
    entries = plain.split("|")
    if not all(re.fullmatch(r"[\w-]+(~\d)*", entry, re.ASCII) for entry in entries) or "~" not in plain:
        raise InputError(f"{shown} is not a NAS-Bench-101 cell; write it like {_EXAMPLE!r}")
    matrix = [[0] * (len(entries) + 1) for _ in range(len(entries) + 1)]
    ops = ["input"]
    for target, entry in enumerate(entries, start=1):
        op, *sources = entry.split("~")
        ops.append(op)
        for source in map(int, sources):
            if source >= target or matrix[source][target]:
                raise InputError(f"{shown}: vertex {target} must have different earlier vertices, got {entry!r}")
            matrix[source][target] = 1
    return matrix, ops


def _read_literal(plain: str, shown: str) -> tuple[Matrix, list[str]]:
    """Return the matrix and the ops of lists, or of the numbers of NAS-Bench-Suite-Zero."""
    try:
        value = ast.literal_eval(plain)
        matrix, ops = _split_row(list(value)) if all(isinstance(one, int) for one in value) else value
        matrix, ops = [[int(one) for one in row] for row in matrix], [str(op) for op in ops]
    except (ValueError, SyntaxError, TypeError, IndexError, RecursionError, MemoryError):
        raise InputError(f"{shown} must be a matrix and a list of ops, or be written like {_EXAMPLE!r}") from None
    return matrix, ops


def _split_row(row: list[int]) -> tuple[Matrix, list[str]]:
    """Return the matrix and the ops of V V + V numbers."""
    size = next(size for size in range(len(row) + 1) if size * (size + 1) >= len(row))
    if size * (size + 1) > len(row):
        raise ValueError("the numbers are no square and one row more")
    matrix = [row[start : start + size] for start in range(0, size * size, size)]
    return matrix, [_SUITE_ZERO[number] for number in row[size * size :]]


def _to_arch(matrix: Matrix, ops: list[str], shown: str) -> Int8[np.ndarray, "26"]:
    """Return the architecture of the published form: a square matrix and an op for each row."""
    size = len(ops)
    if not 2 <= size <= MAX_VERTICES:
        raise InputError(f"{shown} must have from 2 to {MAX_VERTICES} vertices, got {size}")
    above = all(edge in (0, 1) and edge <= (s < t) for s, row in enumerate(matrix) for t, edge in enumerate(row))
    if [len(row) for row in matrix] != [size] * size or not above:
        raise InputError(f"{shown} must have a matrix of {size} rows of 0 and 1, with 1 above the diagonal alone")
    if ops[0] != "input" or ops[-1] != "output":
        raise InputError(f"{shown} must begin with 'input' and end with 'output', got {ops[0]!r} and {ops[-1]!r}")
    for op in ops[1:-1]:
        if op not in OP_NAMES:
            raise unknown_name("op", op, OP_NAMES)
    places = [*range(size - 1), OUTPUT]
    chosen = {(places[s], places[t]) for s, row in enumerate(matrix) for t, edge in enumerate(row) if edge}
    labels = [OP_NAMES.index(op) for op in ops[1:-1]] + [0] * (MAX_VERTICES - size)
    arch = np.array([*(edge in chosen for edge in EDGES), *labels], np.int8)
    if is_member(NASBENCH101, arch):
        return arch
    codes, counts = encode(arch[None])
    if problem := _problem(int(counts[0])):
        raise InputError(f"{shown} {problem}")
    decoded: np.ndarray = decode(codes)[0]
    return decoded


def format_arch(arch: Int8[np.ndarray, "26"]) -> str:
    """Return the text of one architecture [26]; the inverse of `parse`.

    Raises:
        InputError: See `check_archs`.
    """
    matrix, ops = to_matrix(arch)
    columns = zip(*matrix.tolist(), strict=True)
    entries = [
        "~".join([op, *(str(source) for source, edge in enumerate(column) if edge)])
        for op, column in zip(ops, columns, strict=True)
    ]
    return "|".join(entries[1:])


def to_matrix(arch: Int8[np.ndarray, "26"]) -> tuple[Int8[np.ndarray, "V V"], list[str]]:
    """Return the published form of one architecture [26]: the matrix of its V vertices, and their ops.

    Raises:
        InputError: See `check_archs`.
    """
    arch = check_archs(NASBENCH101, np.asarray(arch)[None])[0]
    matrix = np.zeros((MAX_VERTICES, MAX_VERTICES), np.int8)
    matrix[_UPPER] = arch[: len(EDGES)]
    inner = [vertex for vertex in INNER if matrix[vertex].any()]
    kept = [INPUT, *inner, OUTPUT]
    ops = ["input", *(OP_NAMES[arch[len(EDGES) + vertex - 1]] for vertex in inner), "output"]
    return matrix[kept][:, kept], ops


def canonicalize(archs: Archs) -> Archs:
    """Return the vectors [A 26] that stand for any cells [A 26], which need not be members of the space.

    Vertices that no path from input to output meets are dropped, and the others are numbered without gaps.

    Raises:
        InputError: An option is out of range, or a cell has no path from input to output or more than nine edges.
    """
    archs = check_options(NASBENCH101, archs)
    codes, counts = encode(archs)
    wrong = np.flatnonzero((counts == 0) | (counts > MAX_EDGES))
    if len(wrong):
        shown = f"architecture {wrong[0]} of space 'nasbench101', {archs[wrong[0]].tolist()},"
        raise InputError(f"{shown} {_problem(int(counts[wrong[0]]))}")
    return decode(codes)


def network_class(archs: Archs) -> Int64[np.ndarray, " A"]:
    """Return the index of each of `archs` [A 26]: no two architectures of the space are the same graph.

    Raises:
        InputError: See `check_archs`.
    """
    return to_index(NASBENCH101, archs)


def _problem(num_edges: int) -> str:
    """Return what is wrong with a cell of so many edges on paths from its input to its output, or ""."""
    if num_edges == 0:
        return "must have a path from input to output, got none"
    return f"must have at most {MAX_EDGES} edges, got {num_edges}" if num_edges > MAX_EDGES else ""


@cache
def _published_order() -> Int64[np.ndarray, " A"]:
    """Return the mixed-radix number at each index: by vertices, then by edges, then by ops."""
    archs = decode(all_codes()).astype(np.int64)
    numbers: np.ndarray = np.ravel_multi_index(tuple(archs.T), _CHOICES)
    return numbers


NASBENCH101 = SearchSpace(
    name="nasbench101",
    op_names=OP_NAMES,
    num_choices=_CHOICES,
    parse=parse,
    format=format_arch,
    canonicalize=canonicalize,
    network_class=network_class,
    index_order=_published_order,
    neighbours=neighbours,
)
