"""A line by least squares and the expected gain, against NumPy."""

import jax
import numpy as np
from scipy.stats import norm

from jaxnas.runtime.session import in_float64
from jaxnas.search.history import HORIZON
from jaxnas.search.insight import expected_gain, fit_line


def fit(*arrays):
    return np.array(in_float64(jax.jit(fit_line))(*arrays))


def gain(*arrays):
    return float(in_float64(jax.jit(expected_gain))(*arrays))


def test_the_line_is_that_of_the_used_rows():
    x, y = np.random.default_rng(0).normal(size=(2, 9))
    used = np.arange(9) < 6
    centre, level, slope = fit(x, y, used)
    np.testing.assert_allclose([centre, level, slope], [x[:6].mean(), y[:6].mean(), np.polyfit(x[:6], y[:6], 1)[0]])
    assert fit(np.ones(9), y, used)[2] == 0
    assert np.isfinite(fit(x, y, used & False)).all()


def test_the_gain_is_that_of_the_best_of_the_next_queries():
    rng = np.random.default_rng(0)
    mean, std = rng.normal(size=40), rng.uniform(0.1, 1, 40)
    merit = np.where(np.arange(40) % 3, mean + 2 * std, -np.inf)
    chosen = np.argsort(-merit)[:HORIZON]
    draws = (mean[chosen] + std[chosen] * rng.normal(size=(200_000, HORIZON))).max(1)
    for best in (-1.0, 1.0, 2.5):
        improved = np.maximum(draws - best, 0)
        error = 5 * improved.std() / np.sqrt(len(draws)) + 1e-4
        assert abs(gain(mean, std, merit, best) - improved.mean()) < error


def test_nothing_left_gains_nothing():
    mean = np.array([0.5, 3.0])
    assert gain(mean, np.ones(2), np.full(2, -np.inf), 1.0) == 0
    one_left = gain(mean, np.ones(2), np.array([1.0, -np.inf]), 1.0)
    np.testing.assert_allclose(one_left, norm.pdf(0.5) - 0.5 * norm.sf(0.5), rtol=1e-3)  # expected improvement
