"""Evolution and local search, replayed query by query."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest

from jaxnas.errors import InputError
from jaxnas.search import Pool, ReaConfig, local_search, rea
from jaxnas.search.mutation import neighbours

ARCHS = np.array(list(itertools.product(range(3), repeat=4)), np.int8)
TABLE = np.zeros((len(ARCHS), 1))
SLOPE = ARCHS @ np.array([1.0, 2.0, 4.0, 8.0])  # one optimum, the last architecture


def distance(a, b):
    return int((ARCHS[a] != ARCHS[b]).sum())


def test_neighbours_differ_in_one_decision():
    pool = Pool(TABLE, ARCHS, np.arange(3))
    for arch in (0, 40, 80):
        expected = [distance(arch, other) == 1 for other in range(len(ARCHS))]
        np.testing.assert_array_equal(neighbours(pool, jnp.asarray(arch)), expected)


def test_the_nearest_where_none_differs_in_one():
    pool = Pool(TABLE[:4], np.array([[0, 0, 0], [1, 1, 0], [0, 0, 0], [1, 1, 1]], np.int8), np.arange(2))
    np.testing.assert_array_equal(neighbours(pool, jnp.asarray(0)), [False, True, False, False])


def test_children_are_neighbours_of_members_that_are_young_enough():
    size, seen = 4, []

    def objective(arch):
        seen.append(arch)
        return SLOPE[arch]

    result = rea(TABLE, objective, budget=30, seed=0, archs=ARCHS, config=ReaConfig(population=size, sample_size=2))
    assert result.phase[:size] == ("random",) * size
    assert set(result.phase[size:]) == {"evolution"}
    for number in range(size, 30):
        assert min(distance(seen[number], parent) for parent in seen[:number]) == 1


def test_evolution_climbs():
    results = rea.run_seeds(TABLE, SLOPE, budget=25, seeds=range(50), archs=ARCHS)
    founders = np.mean([result.objective[:10].mean() for result in results])
    children = np.mean([result.objective[-10:].mean() for result in results])
    assert children > founders + 5


def test_a_failure_never_becomes_a_parent():
    """All architectures but one fail; in a sample with a failure this one is the parent."""
    objective = np.where(np.arange(len(ARCHS)) == 40, 1.0, np.nan)
    for seed in range(200):
        config = ReaConfig(population=2, sample_size=2)
        try:
            result = rea(TABLE, objective, budget=3, seed=seed, archs=ARCHS, config=config)
        except InputError:  # architecture 40 was not among the three
            continue
        if 40 in result.queries[:2]:
            assert distance(result.queries[2], 40) == 1
            return
    pytest.fail("no seed founds with architecture 40")


def test_local_search_climbs_one_decision_at_a_time():
    for seed in range(5):
        result = local_search(TABLE, SLOPE, budget=40, seed=seed, archs=ARCHS)
        assert result.phase[0] == "random"
        place = result.queries[0]
        for arch, phase in zip(result.queries[1:], result.phase[1:], strict=True):
            if phase == "random":  # only from a local optimum, of which there is one here
                assert place == len(ARCHS) - 1
                break
            assert distance(arch, place) == 1
            place = arch if SLOPE[arch] > SLOPE[place] else place
        assert result.selected == len(ARCHS) - 1


def test_local_search_leaves_an_optimum_once_all_around_it_is_known():
    result = local_search(TABLE, np.ones(len(ARCHS)), budget=30, seed=0, archs=ARCHS)
    starts = np.flatnonzero(np.array(result.phase) == "random")
    assert len(starts) >= 3
    for start, following in itertools.pairwise(starts):
        around = [arch for arch in range(len(ARCHS)) if distance(arch, result.queries[start]) == 1]
        assert set(around) <= set(result.queries[:following].tolist())
        assert set(result.queries[start + 1 : following].tolist()) <= set(around)


@pytest.mark.parametrize("size", [0, 11])
def test_the_sample_is_part_of_the_population(size):
    with pytest.raises(InputError, match=f"`sample_size` must be from 1 to 10, the population, got {size}"):
        ReaConfig(sample_size=size)
