"""ask and tell: float64 in a float32 process, traces, failures and vmap."""

import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnas.errors import InputError
from jaxnas.runtime.session import in_float64
from jaxnas.search import bo

A, M, T = 12, 2, 4
NONE = np.zeros(A, bool)  # queried
CONFIG = bo.RobotConfig(num_candidates=64, num_ascents=2)


@pytest.fixture
def table():
    return np.random.default_rng(0).random((A, M))


def told(objectives):
    state = bo.init(num_proxies=M, budget=T)
    for arch, objective in enumerate(objectives):
        state = bo.tell(state, np.full(M, 0.1 * (arch + 1)), arch, objective)
    return state


def test_one_trace_for_all_steps_in_float64_while_the_process_is_in_float32(table):
    chex.clear_trace_counter()

    def ask_and_tell(state, table, objective, key):
        weights, arch, info = bo.ask(state, table, NONE, key, config=CONFIG)
        return bo.tell(state, weights, arch, objective[arch]), info

    step = in_float64(jax.jit(chex.assert_max_traces(ask_and_tell, n=1)))
    state = bo.init(num_proxies=M, budget=T)
    objective = np.linspace(50, 60, A)
    for key in jax.random.split(jax.random.key(0), T):
        state, info = step(state, table, objective, key)
        assert jnp.ones(1).dtype == jnp.float32
    assert (state.weights.dtype, state.objective.dtype, info.mean.dtype) == (jnp.float64,) * 3
    assert int(state.count) == T
    assert np.all(np.abs(state.weights) <= 1)
    np.testing.assert_array_equal(state.objective, objective[state.arch])


def test_ask_picks_the_best_of_its_weights_and_the_first_is_uniform(table):
    state = bo.init(num_proxies=M, budget=T)
    first = []
    for seed in range(100):
        weights, arch, _ = bo.ask(state, table, NONE, jax.random.key(seed), config=CONFIG)
        assert int(arch) == np.argmax(table @ np.asarray(weights))
        first.append(np.asarray(weights))
    assert np.all(np.abs(np.mean(first, axis=0)) < 0.2)
    assert np.all(np.abs(np.std(first, axis=0) - 1 / np.sqrt(3)) < 0.1)


def test_ask_under_vmap_equals_a_loop(table):
    state, keys = told([50.0, 60.0]), jax.random.split(jax.random.key(3), 3)
    batched = in_float64(jax.jit(jax.vmap(lambda key: bo.ask(state, jnp.asarray(table), NONE, key, config=CONFIG)[0])))(
        keys
    )
    np.testing.assert_allclose(batched, [bo.ask(state, table, NONE, key, config=CONFIG)[0] for key in keys], rtol=1e-12)


def test_no_batched_factorisation_under_vmap(table):
    """On XLA:CPU several such calls at once can wait for each other forever."""
    state = told([50.0, 60.0])
    ask = jax.vmap(lambda key: bo.ask(state, jnp.asarray(table), NONE, key, config=CONFIG)[0])
    program = str(in_float64(jax.make_jaxpr(ask))(jax.random.split(jax.random.key(0), 3)))
    factors = re.findall(r"f64\[([\d,]+)\] = cholesky", program)
    assert factors
    assert set(factors) == {f"{T},{T}"}


def test_distinct_proposals_avoid_what_is_known_as_long_as_a_choice_is_left(table):
    reached = {int(np.argmax(table @ weights)) for weights in np.random.default_rng(0).uniform(-1, 1, (5000, M))}
    config = bo.RobotConfig(num_candidates=512, num_ascents=2, distinct=True)
    repeating = bo.RobotConfig(num_candidates=512, num_ascents=2, distinct=False)
    state, queried = told([50.0]), NONE.copy()
    for seed in range(3):
        weights, arch, _ = bo.ask(state, table, queried, jax.random.key(seed), config=config)
        assert int(arch) == np.argmax(table @ np.asarray(weights))
        assert int(arch) in reached
        assert not queried[arch]
        queried[arch] = True
        free, *_ = bo.ask(state, table, queried, jax.random.key(seed), config=repeating)
        best, *_ = bo.ask(state, table, NONE, jax.random.key(seed), config=config)
        np.testing.assert_array_equal(free, best)  # without observations, distinct changes nothing
    queried[list(reached)] = True
    _, arch, _ = bo.ask(state, table, queried, jax.random.key(99), config=config)
    assert queried[arch]  # no new architecture is left: the best one is proposed again


@pytest.mark.slow
def test_buffers_of_any_size_give_the_same_proposal(table):
    """Early steps use shorter buffers."""
    found = []
    for budget in (4, 80):
        state = bo.init(num_proxies=M, budget=budget)
        for arch, objective in enumerate([50.0, 60.0, 55.0]):
            state = bo.tell(state, np.full(M, 0.2 * arch), arch, objective)
        found.append(bo.ask(state, table, NONE, jax.random.key(1), config=CONFIG)[0])
    np.testing.assert_allclose(*found, rtol=1e-6)


@pytest.mark.parametrize("failure", [np.nan, np.inf, -np.inf])
def test_failure_counts_as_the_worst_so_far(table, failure):
    key = jax.random.key(5)
    weights, arch, info = bo.ask(told([50.0, 60.0, failure]), table, NONE, key, config=CONFIG)
    expected, expected_arch, _ = bo.ask(told([50.0, 60.0, 50.0]), table, NONE, key, config=CONFIG)
    np.testing.assert_array_equal(weights, expected)
    assert int(arch) == int(expected_arch)
    assert np.isfinite(info.mean)
    only_failures, _, _ = bo.ask(told([failure, failure]), table, NONE, key, config=CONFIG)
    assert np.isfinite(only_failures).all()


@pytest.mark.parametrize(
    ("objectives", "best"), [([5.0, 7.0, 7.0, 6.0], 2), ([5.0, np.inf, 2.0], 0), ([np.nan, np.nan], 1), ([-3.0], 0)]
)
def test_best_weights_are_the_latest_of_the_best(objectives, best):
    np.testing.assert_allclose(bo.best_weights(told(objectives)), 0.1 * (best + 1))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("acquisition", "ubc", "unknown acquisition 'ubc': did you mean 'ucb'"),
        ("kernel", "matern", "unknown kernel 'matern'"),
        ("domain", "shpere", "unknown domain 'shpere': did you mean 'sphere'"),
        ("explore", 0.0, "`explore` must be positive, got 0.0"),
        ("num_candidates", 0, "`num_candidates` must be positive, got 0"),
        ("noise", -1.0, "`noise` must be positive, got -1.0"),
    ],
)
def test_config_is_checked(field, value, message):
    with pytest.raises(InputError, match=message):
        bo.RobotConfig(**{field: value})
