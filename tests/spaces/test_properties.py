"""Properties of every space, on architectures that hypothesis chooses."""

import re

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxnas.errors import InputError
from jaxnas.spaces import DARTS, NASBENCH201, SPACES, SearchSpace, check_archs, from_index, mutate, to_index
from jaxnas.spaces.declared import choice_space
from jaxnas.spaces.ids import id_space

DECLARED = choice_space("declared", ((8, 16, 32), ("conv", "pool"), ("only",), (1, 2, 3, 4, 5)))


def name_of(space: SearchSpace) -> str:
    return space.name


every_space = pytest.mark.parametrize("space", [*SPACES.values(), DECLARED], ids=name_of)
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


@pytest.mark.parametrize(
    "space", [*(space for space in SPACES.values() if not space.neighbours), DECLARED], ids=name_of
)
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


@every_space
@few
@given(data=st.data())
def test_what_surrounds_a_text_is_ignored(space, data):
    """As files begin with a byte order mark, tables have spaces, and programs print quotes and types of NumPy."""
    (arch, *_) = draw_archs(data, space)
    text = space.format(arch)
    shape = data.draw(st.sampled_from(["\ufeff{}", " {}\r\n", "'{}'", '"{}"', "np.str_('{}')"]))
    if "'" in text:
        shape = shape.replace("'", '"')
    np.testing.assert_array_equal(space.parse(shape.format(text)), arch)


@few
@given(data=st.data())
def test_a_genotype_that_numpy_2_prints_is_read(data):
    (arch, *_) = draw_archs(data, DARTS)
    text = re.sub(r"\d+(?=\))", lambda digit: f"np.int64({digit[0]})", DARTS.format(arch))
    assert "np.int64(" in text
    np.testing.assert_array_equal(DARTS.parse(text), arch)


@few
@given(data=st.data())
def test_spaces_inside_a_text_of_nasbench201_are_ignored(data):
    (arch, *_) = draw_archs(data, NASBENCH201)
    text = NASBENCH201.format(arch)
    np.testing.assert_array_equal(NASBENCH201.parse(text.replace("+", " + ").replace("|", " | ")), arch)


def test_six_numbers_of_naslib():
    """Its ops in its order of edges 1-2, 1-3, 1-4, 2-3, 2-4, 3-4, written out by hand."""
    text = "|avg_pool_3x3~0|+|skip_connect~0|nor_conv_1x1~1|+|nor_conv_3x3~0|none~1|nor_conv_1x1~2|"
    for given_text in ("(4, 0, 2, 3, 1, 3)", "[4,0,2,3,1,3]", "(np.int64(4), 0, 2, 3, 1, 3)"):
        assert NASBENCH201.format(NASBENCH201.parse(given_text)) == text
    for wrong in ("(4, 0, 2, 3, 1)", "(5, 0, 2, 3, 1, 3)", "4 0 2 3 1 3", "(4, 0, 2, 3, 1, 3"):
        with pytest.raises(InputError):
            NASBENCH201.parse(wrong)


NO_TEXTS = st.one_of(
    *(st.none(), st.integers(), st.floats(), st.binary(), st.booleans(), st.lists(st.integers(0, 4), max_size=6)),
    st.just(np.zeros(6, np.int8)),
)


@pytest.mark.parametrize("space", [*SPACES.values(), DECLARED, id_space(("a", "b"))], ids=name_of)
@few
@given(value=NO_TEXTS)
def test_parse_refuses_what_is_no_string(space, value):
    with pytest.raises(InputError, match=f"must be a string, got {type(value).__name__}"):
        space.parse(value)
