"""Acquisition functions against their definitions, and the maximiser on functions of known maximum."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxnas.search.acquisition import expected_improvement, maximise, upper_confidence_bound


def test_ucb():
    np.testing.assert_allclose(upper_confidence_bound(np.array([1.0, 2]), np.array([3.0, 0]), 2.0), [7, 2])


def test_expected_improvement_is_the_expectation():
    mean, std, best = np.array([0.0, 1, -2]), np.array([1.0, 0.3, 2]), 0.5
    draws = mean + std * stats.norm.ppf((np.arange(100_000) + 0.5) / 100_000)[:, None]
    expected = np.maximum(draws - best, 0).mean(axis=0)
    np.testing.assert_allclose(expected_improvement(mean, std, jnp.float32(best)), expected, rtol=1e-3)


@pytest.mark.parametrize("top", [(0.3, -0.4), (1.0, 0.2), (-1.0, 1.0), (5.0, 0.0)])
def test_maximise_finds_the_maximum_inside_and_on_the_border(top):
    found = maximise(
        lambda points: -jnp.sum((points - jnp.array([top])) ** 2, axis=-1),
        jax.random.key(0),
        2,
        num_candidates=50,
        num_ascents=3,
    )
    np.testing.assert_allclose(found[0], np.clip(top, -1, 1), atol=2e-3)


def test_maximise_on_a_plateau_and_with_one_candidate():
    found = maximise(lambda points: 0 * points.sum(-1), jax.random.key(1), 3, num_candidates=1, num_ascents=10)
    assert found.shape == (1, 3)
    assert np.all(np.abs(found) <= 1)
