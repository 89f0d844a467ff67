"""Choosing from the pool: the order of greedy queries."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxnas.search.pool import next_in_ranking


@pytest.mark.parametrize("seed", range(3))
def test_matches_a_sort(seed):
    random = np.random.default_rng(seed)
    merit, queried = random.integers(0, 6, 40).astype(float), random.random(40) < 0.3  # many ties
    expected = [arch for arch in np.argsort(-merit, kind="stable") if not queried[arch]]
    found = []
    for _ in expected:
        found.append(int(next_in_ranking(jnp.asarray(merit), jnp.asarray(queried))))
        queried[found[-1]] = True
    assert found == expected
