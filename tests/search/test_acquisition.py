"""Acquisition functions against their definitions, and the maximiser on functions with a known maximum."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxnas.runtime.session import in_float64
from jaxnas.search import surrogate as gp
from jaxnas.search.acquisition import (
    ACQUISITIONS,
    DOMAINS,
    expected_improvement,
    information_ratio,
    maximise,
    upper_confidence_bound,
)


def test_ucb():
    np.testing.assert_allclose(upper_confidence_bound(jnp.array([1.0, 2]), jnp.array([3.0, 0]), 2.0), [7, 2])


def test_expected_improvement_is_the_expectation():
    mean, std, best = np.array([0.0, 1, -2]), np.array([1.0, 0.3, 2]), 0.5
    draws = mean + std * stats.norm.ppf((np.arange(100_000) + 0.5) / 100_000)[:, None]
    expected = np.maximum(draws - best, 0).mean(axis=0)
    np.testing.assert_allclose(
        expected_improvement(jnp.asarray(mean), jnp.asarray(std), jnp.float32(best)), expected, rtol=1e-3
    )


@pytest.mark.parametrize("top", [(0.3, -0.4), (1.0, 0.2), (-1.0, 1.0), (5.0, 0.0)])
def test_maximise_finds_the_maximum_inside_and_on_the_border(top):
    candidates = DOMAINS["cube"].draw(jax.random.key(0), 50, 2)
    (best,), _ = maximise(lambda points: -jnp.sum((points - jnp.array([top])) ** 2, axis=-1), candidates, num_ascents=3)
    np.testing.assert_allclose(best, np.clip(top, -1, 1), atol=2e-3)


def test_maximise_on_a_plateau_and_with_one_candidate():
    candidates = DOMAINS["cube"].draw(jax.random.key(1), 1, 3)
    points, values = maximise(lambda points: 0 * points.sum(-1), candidates, num_ascents=10)
    assert points.shape == (1, 3)
    assert np.all(np.abs(points) <= 1)
    np.testing.assert_array_equal(values, [0])


def test_maximise_on_the_sphere():
    top = np.array([3.0, -4.0, 0.0])
    candidates = DOMAINS["sphere"].draw(jax.random.key(0), 50, 3)
    (best,), _ = maximise(lambda points: points @ top, candidates, num_ascents=3, domain="sphere")
    np.testing.assert_allclose(best, top / 5, atol=1e-3)


def test_the_best_points_come_in_order_and_start_with_the_maximiser():
    def utility(points):
        return -jnp.abs(points[:, 0] - 0.2)

    candidates = DOMAINS["cube"].draw(jax.random.key(0), 100, 2)
    points, values = maximise(utility, candidates, num_ascents=2, num_best=30)
    assert len(points) == 30
    assert (np.diff(values) <= 0).all()
    np.testing.assert_allclose(values, utility(points), rtol=1e-6)
    np.testing.assert_array_equal(points[:1], maximise(utility, candidates, num_ascents=2)[0])


@pytest.mark.parametrize("domain", DOMAINS)
def test_draws_lie_in_the_domain_and_are_balanced(domain):
    draw, project = DOMAINS[domain]
    points = draw(jax.random.key(0), 4000, 3)
    np.testing.assert_allclose(project(points), points, atol=1e-6)
    points = np.asarray(points)
    assert np.all(np.abs(points.mean(axis=0)) < 0.05)
    np.testing.assert_allclose(points.std(axis=0), 1 / np.sqrt(3), rtol=0.05)  # the same in both domains


def test_information_ratio_is_its_definition():
    found = information_ratio(jnp.array([2.0, 2.0, -1.0]), jnp.array([np.e - 1, np.e**4 - 1, 1.0]))
    np.testing.assert_allclose(found, [-4, -1, 0], rtol=1e-6)


def test_ids_weighs_regret_against_information():
    """Known points, good or bad, give no information: the maximum is between or beyond them."""

    @in_float64
    @jax.jit
    def utilities(points):
        inputs, objective = jnp.array([[-0.5], [0.5], [0.0]]), jnp.array([1.0, 2.0, 0.0])
        surrogate = gp.fit(inputs, objective, jnp.asarray(2))
        return ACQUISITIONS["ids"](surrogate, jnp.asarray(2.0), jax.random.key(0), 2.0)(points)

    known_bad, known_good, near_good = np.asarray(utilities(np.array([[-0.5], [0.5], [0.9]])))
    assert near_good > known_good > known_bad
