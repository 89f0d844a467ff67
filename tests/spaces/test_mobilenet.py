"""The space of MobileNet-like networks: texts, sizes, and equal networks."""

import numpy as np

from jaxnas.spaces import MOBILENET, sample
from jaxnas.testing import check_space

STAGE = "k5:e6:2:e3:e4:e6"


def test_texts_and_sizes():
    check_space(MOBILENET)
    assert MOBILENET.size == 3**30
    arch = MOBILENET.parse(":".join([STAGE] * 5))
    assert arch.tolist() == [1, 2, 1, 0, 1, 2] * 5


def test_blocks_that_an_architecture_does_not_have_do_not_matter():
    short, long = (MOBILENET.parse(":".join([STAGE.replace(":2:", depth)] * 5)) for depth in (":1:", ":3:"))
    archs = np.stack([MOBILENET.parse(":".join([STAGE] * 5)), short, long])
    assert MOBILENET.canonicalize(archs)[:, :6].tolist() == [[1, 2, 1, 0, 1, 0], [1, 2, 0, 0, 0, 0], [1, 2, 2, 0, 1, 2]]
    other = archs[:1].copy()
    other[0, 5] = 1
    assert MOBILENET.network_class(other) == MOBILENET.network_class(archs[:1])
    assert len(set(MOBILENET.network_class(archs).tolist())) == 3
    several = sample(MOBILENET, 50, seed=0)
    canonical = MOBILENET.canonicalize(several)
    np.testing.assert_array_equal(MOBILENET.canonicalize(canonical), canonical)
