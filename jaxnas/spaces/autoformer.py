"""The space of AutoFormer-tiny: vision transformers of 12 to 14 blocks.

The first decision is the width of all tokens and the second the number of blocks; each block has one for its heads and
one for the ratio of its hidden channels: 30 decisions, 2.4e9 vectors. They are written like "192:13:h3:r3.5:h4:r4:..."
for 13 blocks of width 192 whose first has three heads and 3.5 times as many hidden channels; heads and ratios of 14
blocks are written, of which this architecture does not have the last. Widths are those of the published size; smaller
networks have them in proportion.

Source: Chen et al. 2021 (arXiv:2107.00651), the search space of AutoFormer-tiny.
"""

from dataclasses import replace

import numpy as np
from jaxtyping import Int8, Int64

from jaxnas.spaces.declared import choice_space
from jaxnas.spaces.space import SearchSpace, check_archs, to_index

WIDTHS = (192, 216, 240)
DEPTHS = (12, 13, 14)
HEADS = (3, 4)
RATIOS = (3.5, 4)

_BLOCK = (tuple(f"h{heads}" for heads in HEADS), tuple(f"r{ratio}" for ratio in RATIOS))
_BEFORE = 2  # decisions before those of the blocks; the last is the depth


def _canonicalize(archs: Int8[np.ndarray, "A D"]) -> Int8[np.ndarray, "A D"]:
    """Return the architectures with the first option for the blocks that they do not have."""
    archs = check_archs(AUTOFORMER_TINY, archs).copy()
    block = np.arange(archs.shape[1] - _BEFORE) // len(_BLOCK)
    archs[:, _BEFORE:][block >= np.asarray(DEPTHS)[archs[:, _BEFORE - 1], None]] = 0
    return archs


def _network_class(archs: Int8[np.ndarray, "A D"]) -> Int64[np.ndarray, " A"]:
    return to_index(AUTOFORMER_TINY, _canonicalize(archs))


AUTOFORMER_TINY: SearchSpace = replace(
    choice_space("autoformer-tiny", (WIDTHS, DEPTHS, *_BLOCK * max(DEPTHS))),
    canonicalize=_canonicalize,
    network_class=_network_class,
)
