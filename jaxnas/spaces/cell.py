"""The cell of NAS-Bench-201 and of TransNAS-Bench-101 micro: four nodes, an op on every edge to a later node."""

from typing import TypeAlias

import numpy as np
from jaxtyping import Int8

NUM_NODES = 4  # node 0 is the input of the cell, node 3 its output
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))  # (source, target), in the order of the strings
NONE = 0  # the op whose output is 0, in all spaces of this cell

Archs: TypeAlias = Int8[np.ndarray, "A 6"]


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
