"""Weights by a differentiable Kendall correlation: its limit, its gradient, the weights that it finds."""

import jax
import numpy as np
import pytest
from chance import check_beats_random
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kendalltau

from jaxnas.errors import InputError
from jaxnas.runtime.session import in_float64
from jaxnas.search.rank_weights import RankWeightsConfig, rank_weights, soft_kendall

TABLE = np.random.default_rng(0).normal(size=(200, 3))
OBJECTIVE = np.exp(TABLE @ [1.0, 1.0, -0.5])
KENDALL = in_float64(jax.jit(soft_kendall, static_argnames="alpha"))


@settings(max_examples=30, deadline=None, derandomize=True)
@given(seed=st.integers(0, 1000), count=st.integers(0, 8))
def test_a_steep_tanh_gives_kendall_of_the_used_entries(seed, count):
    x, y = np.random.default_rng(seed).integers(0, 5, (2, 8)).astype(float)
    used = np.arange(8) < count
    pairs = count * (count - 1) / 2
    signs = [np.sign((x[i] - x[j]) * (y[i] - y[j])) for i in range(count) for j in range(i)]
    assert KENDALL(x, y, used, alpha=1e9) == pytest.approx(sum(signs) / max(pairs, 1))
    assert abs(KENDALL(x, y, used, alpha=0.5)) < 1


def test_without_ties_it_is_that_of_scipy():
    x, y = np.random.default_rng(1).normal(size=(2, 50))
    assert KENDALL(x, y, np.ones(50, bool), alpha=1e9) == pytest.approx(kendalltau(x, y).statistic)


def test_the_weights_rank_the_queried_better_than_equal_ones():
    result = rank_weights(TABLE, OBJECTIVE, budget=30, seed=0)
    assert result.phase == ("prediction",) + ("random",) * 4 + ("prediction",) * 25
    np.testing.assert_allclose(result.query_weights[0], 1 / np.sqrt(3))
    assert result.weights[2] < 0 < min(result.weights[:2])
    assert kendalltau(TABLE @ result.weights, OBJECTIVE).statistic > 0.85
    assert kendalltau(TABLE.sum(1), OBJECTIVE).statistic < 0.6


@pytest.mark.slow
def test_it_beats_random_search():
    check_beats_random(rank_weights, TABLE, OBJECTIVE, budget=15, archs=None)


@pytest.mark.parametrize("field", ["alpha", "pull", "steps", "learning_rate", "initial"])
def test_config_is_checked(field):
    with pytest.raises(InputError, match=f"`{field}` must be positive, got 0"):
        RankWeightsConfig(**{field: type(getattr(RankWeightsConfig(), field))(0)})
