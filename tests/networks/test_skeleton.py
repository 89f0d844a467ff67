"""Features in a buffer, and the forms of blocks; `test_transnas101` compares whole networks with a plain loop."""

import numpy as np
import pytest

from jaxnas.networks.skeleton import FORMS, NUMBER_OF_FORM, WIDTHS, Frame, pack, unpack
from jaxnas.spaces.transnas101 import NUM_DOUBLINGS, NUM_STRIDES


@pytest.mark.parametrize(("width", "strides"), [(0, 0), (1, 2), (max(NUM_DOUBLINGS), max(NUM_STRIDES))])
def test_a_buffer_holds_features_of_every_shape(width, strides):
    frame = Frame(5, 6, 2)
    x = np.random.default_rng(0).normal(size=(3, *frame.shape(width, strides))).astype(np.float32)
    buffer = pack(x, frame.size)
    assert buffer.shape == (3, frame.size)
    np.testing.assert_array_equal(unpack(buffer, frame.shape(width, strides)), x)


def test_forms_are_numbered_and_stay_within_the_skeletons():
    assert len(set(FORMS)) == len(FORMS)
    for number, form in enumerate(FORMS[1:], start=1):
        assert NUMBER_OF_FORM[form] == number
        assert form.width_after in WIDTHS
