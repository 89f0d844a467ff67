"""The cell of NAS-Bench-201 and of TransNAS-Bench-101 micro: four nodes, an op on every edge to a later node."""

import re
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from jaxtyping import Int8

NUM_NODES = 4  # node 0 is the input of the cell, node 3 its output
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))  # (source, target), in the order of the strings
NONE = 0  # the op whose output is 0, in all spaces of this cell
NASLIB_OPS = ("skip_connect", "none", "nor_conv_3x3", "nor_conv_1x1", "avg_pool_3x3")  # by the numbers of NASLib
NASLIB_EDGES = ((0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3))

Archs: TypeAlias = Int8[np.ndarray, "A 6"]


def parse_naslib(text: str, op_names: Sequence[str]) -> Int8[np.ndarray, "6"] | None:
    """Return the architecture [6] of six numbers as NASLib encodes it, such as '(4, 0, 3, 1, 4, 3)'; None if none are.

    The edges are in the order of their sources there, the ops in that of `NASLIB_OPS`.

    Args:
        text: The text without what surrounds it.
        op_names: The ops of the space.
    """
    plain = "".join(text.split())
    if not re.fullmatch(r"[(\[](?:\d,){5}\d,?[)\]]", plain, re.ASCII):
        return None
    known = [op for op in NASLIB_OPS if op in op_names]
    numbers = [int(digit) for digit in re.findall(r"\d", plain)]
    if max(numbers) >= len(known):
        return None
    op_of = {edge: op_names.index(known[number]) for edge, number in zip(NASLIB_EDGES, numbers, strict=True)}
    return np.array([op_of[edge] for edge in EDGES], np.int8)


def drop_dead_edges(archs: Archs) -> Archs:
    """Return `archs` [A 6] in which every dead edge is none: one on no path of non-none edges from input to output."""
    open_edge = archs != NONE
    fed = np.zeros((len(archs), NUM_NODES), bool)  # a path from the input arrives here
    fed[:, 0] = True
    for edge, (source, target) in enumerate(EDGES):
        fed[:, target] |= fed[:, source] & open_edge[:, edge]
    used = np.zeros_like(fed)  # a path to the output starts here
    used[:, -1] = True
    for edge, (source, target) in reversed(list(enumerate(EDGES))):
        used[:, source] |= used[:, target] & open_edge[:, edge]
    sources, targets = np.array(EDGES).T
    return np.where(fed[:, sources] & used[:, targets], archs, np.int8(NONE))
