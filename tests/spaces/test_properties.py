"""Properties of every space, on architectures that hypothesis chooses."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxnas.errors import InputError
from jaxnas.spaces import SPACES, SearchSpace, check_archs, from_index, mutate, to_index
from jaxnas.spaces.declared import choice_space

DECLARED = choice_space("declared", ((8, 16, 32), ("conv", "pool"), ("only",), (1, 2, 3, 4, 5)))
every_space = pytest.mark.parametrize("space", [*SPACES.values(), DECLARED], ids=lambda space: space.name)
few = settings(max_examples=50, deadline=None)


def draw_archs(data: st.DataObject, space: SearchSpace) -> np.ndarray:
    """Draw one to five architectures [A, D] by their indices."""
    indices = data.draw(st.lists(st.integers(0, space.size - 1), min_size=1, max_size=5))
    return from_index(space, np.array(indices))


@every_space
@few
@given(data=st.data())
def test_parse_is_the_inverse_of_format(space, data):
    for arch in draw_archs(data, space):
        np.testing.assert_array_equal(space.parse(space.format(arch)), arch)


@every_space
@few
@given(data=st.data())
def test_an_index_names_one_architecture(space, data):
    index = data.draw(st.integers(0, space.size - 1))
    arch = from_index(space, index)
    assert to_index(space, arch[None]).tolist() == [index]


@every_space
@few
@given(data=st.data())
def test_canonicalize_is_idempotent_and_keeps_the_class(space, data):
    archs = draw_archs(data, space)
    canonical = check_archs(space, space.canonicalize(archs))
    np.testing.assert_array_equal(space.canonicalize(canonical), canonical)
    np.testing.assert_array_equal(space.network_class(canonical), space.network_class(archs))


@every_space
@few
@given(data=st.data())
def test_mutate_changes_exactly_one_decision(space, data):
    arch = draw_archs(data, space)[0]
    mutant = np.asarray(mutate(space, jax.random.key(data.draw(st.integers(0, 2**31 - 1))), arch))
    check_archs(space, mutant[None])
    assert (mutant != arch).sum() == 1


@st.composite
def choices(draw):
    """Draw choices of a declared space: integers and texts that can be parsed."""
    characters = st.characters(blacklist_characters=":", blacklist_categories=("Cs",))
    text = st.text(characters, min_size=1, max_size=3).filter(lambda text: text == text.strip())
    option = st.integers(-99, 99) | text
    options = st.lists(option, min_size=1, max_size=4, unique_by=str).map(tuple)
    return tuple(draw(st.lists(options, min_size=1, max_size=4)))


@settings(max_examples=100, deadline=None)
@given(choices=choices(), data=st.data())
def test_a_declared_space_reads_what_it_writes(choices, data):
    space = choice_space("any", choices)
    for arch in draw_archs(data, space):
        np.testing.assert_array_equal(space.parse(space.format(arch)), arch)


@pytest.mark.parametrize("option", ["", " ", "a ", "\ta", "a\n", "a:b"])
def test_an_option_that_could_not_be_read_back_is_refused(option):
    with pytest.raises(InputError, match="must differ, without ':' or white space at the ends"):
        choice_space("bad", ((option, "b"),))
