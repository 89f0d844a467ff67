"""The order of the greedy queries."""

import numpy as np
import pytest

from jaxnas.search.greedy import greedy


@pytest.mark.parametrize("seed", range(3))
def test_matches_a_loop(seed):
    random = np.random.default_rng(seed)
    table = random.integers(0, 3, (40, 2)).astype(float)  # many ties
    weights, queried = random.uniform(-1, 1, 2), random.random(40) < 0.3
    ranking = sorted(range(40), key=lambda arch: (-(table[arch, 0] * weights[0] + table[arch, 1] * weights[1]), arch))
    expected = [arch for arch in ranking if not queried[arch]][:10]
    np.testing.assert_array_equal(greedy(table, weights, queried, budget=10), expected)


def test_queried_come_last():
    order = greedy(np.array([[3.0], [2], [1]]), np.ones(1), np.array([True, False, False]), budget=3)
    np.testing.assert_array_equal(order, [1, 2, 0])
