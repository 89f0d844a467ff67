"""The space of AutoFormer-tiny: texts, sizes, and equal networks."""

import numpy as np

from jaxnas.spaces import AUTOFORMER_TINY, sample
from jaxnas.testing import check_space


def text(width, depth, block):
    return ":".join([str(width), str(depth), *[block] * 14])


def test_texts_and_sizes():
    check_space(AUTOFORMER_TINY)
    assert AUTOFORMER_TINY.size == 9 * 4**14
    assert AUTOFORMER_TINY.parse(text(216, 14, "h4:r3.5")).tolist() == [1, 2, *[1, 0] * 14]


def test_blocks_that_an_architecture_does_not_have_do_not_matter():
    archs = np.stack([AUTOFORMER_TINY.parse(text(192, depth, "h4:r4")) for depth in (12, 13, 14)])
    canonical = AUTOFORMER_TINY.canonicalize(archs)
    assert canonical[:, 2:].sum(1).tolist() == [24, 26, 28]
    assert canonical[0].tolist() == [0, 0, *[1] * 24, 0, 0, 0, 0]
    assert len(set(AUTOFORMER_TINY.network_class(archs).tolist())) == 3
    assert AUTOFORMER_TINY.network_class(canonical).tolist() == AUTOFORMER_TINY.network_class(archs).tolist()
    several = AUTOFORMER_TINY.canonicalize(sample(AUTOFORMER_TINY, 50, seed=0))
    np.testing.assert_array_equal(AUTOFORMER_TINY.canonicalize(several), several)
