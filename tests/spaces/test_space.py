"""Generic functions of num_choices on spaces of very different shapes."""

import itertools
from dataclasses import replace
from functools import partial

import jax
import numpy as np
import pytest

from jaxnas.errors import InputError
from jaxnas.spaces import (
    NASBENCH201,
    SPACES,
    SearchSpace,
    check_archs,
    enumerate_archs,
    find_rows,
    from_index,
    get_space,
    mutate,
    sample,
    to_index,
)
from jaxnas.testing import check_space


def plain_space(*num_choices: int) -> SearchSpace:
    """Return a space without a published order, whose architectures are written '0,2,1'."""
    return SearchSpace(
        name="plain",
        op_names=tuple("abcdefg"),
        num_choices=num_choices,
        parse=lambda text: np.array(text.split(","), np.int8),
        format=lambda arch: ",".join(map(str, arch)),
        canonicalize=lambda archs: archs,
        network_class=lambda archs: to_index(plain_space(*num_choices), archs).astype(np.int32),
    )


MIXED = plain_space(3, 1, 4, 2)
HUGE = plain_space(*[7] * 22)  # 3.9e18 architectures
SMALL = [space for space in (*SPACES.values(), MIXED) if space.size < 20_000]
every_space = pytest.mark.parametrize("space", [*SPACES.values(), MIXED], ids=[*SPACES, "mixed"])


@every_space
def test_space_contract(space):
    check_space(space)


@pytest.mark.parametrize("space", SMALL, ids=lambda space: space.name)
def test_members_and_classes_of_a_whole_space(space):
    archs = enumerate_archs(space)
    assert archs.shape == (space.size, len(space.num_choices))
    assert archs.dtype == np.int8
    np.testing.assert_array_equal(archs.max(axis=0) + 1, space.num_choices)
    label = space.network_class(archs)
    assert np.all(label <= np.arange(space.size))  # the lowest index of its class


BROKEN = {
    "a text of another": ({"format": lambda arch: "0,0,0,0"}, "is not the .* that format took"),
    "canonicalize twice differs": (
        {"canonicalize": lambda archs: (1 - archs % 2) * np.array([1, 0, 1, 1], np.int8)},
        "changes what it gave",
    ),
    "a class of no member": (
        {"network_class": lambda archs: (to_index(MIXED, archs) + 1) % MIXED.size},
        "named by one of its members",
    ),
    "a class that is lost": ({"canonicalize": lambda archs: archs * 0}, "to another class"),
    "a class that is a text": ({"network_class": lambda archs: np.full(len(archs), "a")}, "not indices"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_space_is_refused(case):
    changes, message = BROKEN[case]
    with pytest.raises(AssertionError, match=message):
        check_space(replace(MIXED, **changes))


def test_mixed_radix_order_is_that_of_nested_loops():
    expected = list(itertools.product(range(3), range(1), range(4), range(2)))
    np.testing.assert_array_equal(enumerate_archs(MIXED), expected)


def test_index_of_huge_space():
    last = from_index(HUGE, [0, HUGE.size - 1])
    np.testing.assert_array_equal(last, [[0] * 22, [6] * 22])
    assert to_index(HUGE, last).tolist() == [0, HUGE.size - 1]


def test_from_index_of_one_and_of_none():
    assert from_index(MIXED, 23).tolist() == [2, 0, 3, 1]
    assert from_index(MIXED, np.zeros(0, int)).shape == (0, 4)
    assert to_index(MIXED, np.zeros((0, 4), np.int8)).shape == (0,)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (partial(from_index, MIXED, [0, 24]), "an index of space 'plain' must be from 0 to 23, got 24"),
        (partial(from_index, MIXED, -1), "an index of space 'plain' must be from 0 to 23, got -1"),
        (partial(from_index, MIXED, [0.0]), "indices must be integers, got float64"),
        (
            partial(enumerate_archs, HUGE),
            f"at most 10000000 architectures to be enumerated, got {7**22}; draw a sample instead",
        ),
        (partial(sample, MIXED, 0, 0), "`num` must be from 1 to 24, the architectures of space 'plain', got 0"),
        (partial(sample, MIXED, 25, 0), "`num` must be from 1 to 24, the architectures of space 'plain', got 25"),
        (
            partial(mutate, plain_space(1, 1), jax.random.key(0), np.zeros(2, np.int8)),
            "must have two architectures to be mutated, got 1",
        ),
        (partial(plain_space, 2, 0), "`num_choices` of space 'plain' must be from 1 to 128 each, got (2, 0)"),
        (partial(plain_space, 129), "`num_choices` of space 'plain' must be from 1 to 128 each, got (129,)"),
        (partial(plain_space, *[8] * 21), f"fewer than 2^63 vectors, as an index is int64, got {2**63}"),
        (partial(get_space, "nasbench-201"), "did you mean 'nasbench201'? choose from nasbench201"),
    ],
)
def test_bad_input_is_one_line(call, message):
    with pytest.raises(InputError) as caught:
        call()
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("archs", "message"),
    [
        ([0, 0, 0, 0], "architectures of space 'plain' must have shape [A, 4], one row each, got (4,)"),
        ([[0, 0, 0]], "must have shape [A, 4], one row each, got (1, 3)"),
        (np.zeros((1, 4)), "architectures of space 'plain' must be int8, got float64"),
        (np.zeros((1, 4), bool), "must be int8, got bool"),
        ([[0, 0, 0, 0], [0, 0, 4, 0]], "architecture 1 has 4 at decision 2: space 'plain' has options 0..3 there"),
        ([[0, 0, 0, -1]], "architecture 0 has -1 at decision 3: space 'plain' has options 0..1 there"),
        ([[256, 0, 0, 0]], "architecture 0 has 256 at decision 0"),  # not wrapped to int8 before the check
    ],
)
def test_check_archs_names_what_is_wrong(archs, message):
    with pytest.raises(InputError) as caught:
        check_archs(MIXED, archs)
    assert message in str(caught.value)
    with pytest.raises(InputError):
        to_index(MIXED, archs)


def test_check_archs_returns_int8():
    assert check_archs(MIXED, [[2, 0, 3, 1]]).dtype == np.int8
    assert check_archs(MIXED, jax.numpy.zeros((2, 4), int)).shape == (2, 4)


def test_get_space_finds_each():
    assert all(get_space(name) is space and space.name == name for name, space in SPACES.items())


@pytest.mark.parametrize("space", SMALL, ids=lambda space: space.name)
def test_sample_of_everything_is_a_permutation(space):
    index = to_index(space, sample(space, space.size, seed=1))
    np.testing.assert_array_equal(np.sort(index), np.arange(space.size))
    assert np.any(index != np.arange(space.size))


def test_sample_is_set_by_its_seed():
    np.testing.assert_array_equal(sample(NASBENCH201, 50, seed=3), sample(NASBENCH201, 50, seed=np.int64(3)))
    assert np.any(sample(NASBENCH201, 50, seed=3) != sample(NASBENCH201, 50, seed=4))
    assert to_index(NASBENCH201, sample(NASBENCH201, 3, seed=0)).tolist() == [13835, 6311, 12418]  # numbers are API


def test_sample_of_huge_space_is_distinct_and_uniform():
    archs = sample(HUGE, 7000, seed=0)
    assert len(np.unique(archs, axis=0)) == 7000
    counts = np.stack([np.bincount(column, minlength=7) for column in archs.T])  # [D, options], expected 1000 +- 29
    assert np.abs(counts - 1000).max() < 150


def test_mutate_is_uniform_over_decisions_and_other_options():
    arch = np.array([1, 0, 3, 0], np.int8)
    keys = jax.random.split(jax.random.key(0), 6000)
    mutants = np.asarray(jax.jit(jax.vmap(partial(mutate, MIXED), in_axes=(0, None)))(keys, arch))
    assert mutants.dtype == np.int8
    assert np.all((mutants != arch).sum(axis=1) == 1)
    check_archs(MIXED, mutants)
    seen, counts = np.unique(mutants, axis=0, return_counts=True)
    probability = np.where(seen[:, 0] != 1, 1 / 6, np.where(seen[:, 2] != 3, 1 / 9, 1 / 3))  # decision 1 is fixed
    assert len(seen) == 2 + 3 + 1
    np.testing.assert_allclose(counts / 6000, probability, atol=0.025)


def test_mutate_without_jit_is_the_same():
    key, arch = jax.random.key(7), from_index(NASBENCH201, 6111)
    np.testing.assert_array_equal(mutate(NASBENCH201, key, arch), jax.jit(partial(mutate, NASBENCH201))(key, arch))


def test_rows_are_found_by_their_values():
    among = np.array([[0, 1], [2, 3], [0, 1]], np.int8)
    assert find_rows(among, np.array([[2, 3], [0, 1], [1, 0]], np.int8)).tolist() == [1, 2, -1]
    assert find_rows(among[:0], among).tolist() == [-1, -1, -1]
