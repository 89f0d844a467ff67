"""A space of ids: any texts, any number of them, read back by position."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxnas.errors import InputError
from jaxnas.spaces import check_archs, enumerate_archs, to_index
from jaxnas.spaces.ids import id_space
from jaxnas.testing import check_space


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text(max_size=4), min_size=1, max_size=140, unique=True))
def test_every_id_is_read_back(ids):
    space = id_space(ids)
    archs = enumerate_archs(space)
    assert space.size == len(ids)
    assert [space.format(arch) for arch in archs] == ids
    np.testing.assert_array_equal([space.parse(text) for text in ids], archs)
    np.testing.assert_array_equal(to_index(space, archs), np.arange(len(ids)))


@pytest.mark.parametrize("size", [1, 128, 129, 128**2 + 1])
def test_sizes_at_the_edges_of_digits(size):
    space = id_space([str(number) for number in range(size)])
    assert space.size == size
    assert to_index(space, space.parse(str(size - 1))[None]).tolist() == [size - 1]
    check_archs(space, enumerate_archs(space))


def test_the_contract_of_spaces():
    check_space(id_space([f"model {number}" for number in range(200)]))


@pytest.mark.parametrize(("ids", "message"), [([], "got none"), (["a", "b", "a"], "'a' occurs more than once")])
def test_lists_that_are_refused(ids, message):
    with pytest.raises(InputError, match=message):
        id_space(ids)
    with pytest.raises(InputError, match="the id 'z' is unknown"):
        id_space(["a"]).parse("z")
