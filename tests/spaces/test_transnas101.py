"""TransNAS-Bench-101 against its published list, the text of an architecture, and the rules for skeletons."""

import jax
import numpy as np
import pytest

from jaxnas.errors import InputError
from jaxnas.spaces import TRANSNAS101_MACRO, TRANSNAS101_MICRO, check_archs, enumerate_archs, mutate, to_index
from jaxnas.spaces.transnas101 import canonicalize_micro

MICRO = {0: "64-41414-0_00_000", 1: "64-41414-0_00_001", 10: "64-41414-0_00_022", 4095: "64-41414-3_33_333"}
MACRO = {0: "64-4111-basic", 9: "64-1321-basic", 210: "64-41111-basic", 3255: "64-113444-basic"}


@pytest.mark.parametrize(("space", "texts"), [(TRANSNAS101_MICRO, MICRO), (TRANSNAS101_MACRO, MACRO)])
def test_published_string_at_its_index(space, texts):
    archs = enumerate_archs(space)
    for index, text in texts.items():
        assert space.format(archs[index]) == text
        assert to_index(space, space.parse(f" {text}\n")[None]).tolist() == [index]


@pytest.mark.data
@pytest.mark.parametrize("space", [TRANSNAS101_MICRO, TRANSNAS101_MACRO], ids=lambda space: space.name)
def test_order_and_strings_equal_the_table(space, data_folder):
    table = np.load(data_folder / "tnb101" / f"tnb101_{space.name.split('-')[1]}.npz")
    order = np.argsort(table["api_index"])
    archs = enumerate_archs(space)
    assert [space.format(arch) for arch in archs] == [text.decode() for text in table["arch"][order]]
    np.testing.assert_array_equal(archs, table["ops"][order])
    if space is TRANSNAS101_MICRO:
        np.testing.assert_array_equal(to_index(space, canonicalize_micro(archs)), table["canonical_idx"][order])


def test_sizes():
    assert (TRANSNAS101_MICRO.size, TRANSNAS101_MACRO.size) == (4096, 3256)
    live = canonicalize_micro(enumerate_archs(TRANSNAS101_MICRO))
    assert len(np.unique(live, axis=0)) == 2128


def test_skeletons_are_those_of_the_definition():
    """Skeletons have 4 to 6 modules, 1 to 3 double the channels and 1 to 4 halve the image; counted by brute force."""
    every = np.stack(np.unravel_index(np.arange(5**6), (5,) * 6), axis=1)
    length = (every > 0).sum(axis=1)
    leading = (np.arange(6) < length[:, None]) == (every > 0)
    doublings, strides = np.isin(every, (2, 4)).sum(axis=1), np.isin(every, (3, 4)).sum(axis=1)
    fits = leading.all(axis=1) & (length >= 4) & (doublings >= 1) & (doublings <= 3) & (strides >= 1) & (strides <= 4)
    members = enumerate_archs(TRANSNAS101_MACRO)
    assert {tuple(row) for row in members} == {tuple(row) for row in every[fits].astype(np.int8)}


@pytest.mark.parametrize(
    ("space", "text", "message"),
    [
        (TRANSNAS101_MICRO, "64-41414-4_00_000", "is not a TransNAS-Bench-101 micro cell; write it like"),
        (TRANSNAS101_MICRO, "64-4111-basic", "is not a TransNAS-Bench-101 micro cell"),
        (TRANSNAS101_MACRO, "64-41414-0_00_000", "is not a TransNAS-Bench-101 macro skeleton; write it like"),
        (TRANSNAS101_MACRO, "64-1111-basic", r"\[1, 1, 1, 1, 0, 0\], is not in space 'transnas101-macro'"),
        (TRANSNAS101_MACRO, "64-4444-basic", "is not in space"),
        (TRANSNAS101_MACRO, "64-41111111-basic", "is not in space"),
    ],
)
def test_malformed_text(space, text, message):
    with pytest.raises(InputError, match=message):
        space.parse(text)


def test_mutants_are_members_and_all_are_reached():
    arch = TRANSNAS101_MACRO.parse("64-4111-basic")
    change = jax.vmap(lambda key: mutate(TRANSNAS101_MACRO, key, arch))
    mutants = np.asarray(change(jax.random.split(jax.random.key(0), 2000)))
    check_archs(TRANSNAS101_MACRO, mutants)
    assert ((mutants != arch).sum(axis=1) == 1).all()
    near = enumerate_archs(TRANSNAS101_MACRO)
    near = near[(near != arch).sum(axis=1) == 1]
    found, counts = np.unique(mutants, axis=0, return_counts=True)
    assert len(found) == len(near)
    assert counts.min() > 2000 / len(near) / 2


def test_six_numbers_of_naslib():
    """Edges in the order of their sources; ops identity, none, 3x3, 1x1."""
    arch = TRANSNAS101_MICRO.parse("(0, 1, 2, 3, 0, 2)")
    assert TRANSNAS101_MICRO.format(arch) == "64-41414-1_02_313"
    with pytest.raises(InputError, match="is not a TransNAS-Bench-101 micro cell"):
        TRANSNAS101_MICRO.parse("(0, 1, 2, 3, 0, 4)")
