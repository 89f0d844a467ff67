"""A space of MobileNetV3-like networks: five stages of two to four inverted residual blocks, 20 blocks at most.

Each stage has a decision for the size of its depthwise kernels, one for the expansion of its first block, one for the
number of blocks that follow, and one for the expansion of each of these three: 30 decisions with three options, 2.1e14
vectors. They are written stage by stage, such as "k5:e6:2:e3:e4:e3:..." for a stage of kernels 5x5 that begins with an
expansion by 6, followed by two blocks with expansions by 3 and 4; the last expansion belongs to a block that this
architecture does not have.

The options are those of Cai et al. 2020 (arXiv:1908.09791), where every block chooses its kernel size too: 2.2e19
networks, more than an index of 64 bits counts. The stages are those of MobileNetV3-Large, Howard et al. 2019
(arXiv:1905.02244).
"""

from dataclasses import replace

import numpy as np
from jaxtyping import Int8, Int64

from jaxnas.spaces.declared import choice_space
from jaxnas.spaces.space import SearchSpace, check_archs, to_index

NUM_STAGES = 5
SIZES = (3, 5, 7)
EXPANSIONS = (3, 4, 6)
FURTHER = (1, 2, 3)  # blocks of a stage after its first

_EXPANSION = tuple(f"e{expansion}" for expansion in EXPANSIONS)
_STAGE = (tuple(f"k{size}" for size in SIZES), _EXPANSION, FURTHER, *[_EXPANSION] * max(FURTHER))
_DEPTH = 2  # the decision of a stage for its depth; expansions follow


def _canonicalize(archs: Int8[np.ndarray, "A D"]) -> Int8[np.ndarray, "A D"]:
    """Return the architectures with the first option for the blocks that they do not have."""
    archs = check_archs(MOBILENET, archs)
    stages = archs.reshape(len(archs), NUM_STAGES, len(_STAGE)).copy()
    numbers = np.arange(len(_STAGE) - _DEPTH - 1)
    absent = numbers >= np.asarray(FURTHER)[stages[..., _DEPTH, None]]
    stages[..., _DEPTH + 1 :][absent] = 0
    return stages.reshape(archs.shape)


def _network_class(archs: Int8[np.ndarray, "A D"]) -> Int64[np.ndarray, " A"]:
    return to_index(MOBILENET, _canonicalize(archs))


MOBILENET: SearchSpace = replace(
    choice_space("mobilenet", _STAGE * NUM_STAGES), canonicalize=_canonicalize, network_class=_network_class
)
