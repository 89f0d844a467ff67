"""The policy gradient against its formula for independent decisions."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from chance import check_beats_random

from jaxnas.search import Pool, Proposal, ReinforceConfig, reinforce
from jaxnas.search.history import new_history

ARCHS = np.array(list(itertools.product(range(3), repeat=2)), np.int8)
POOL = Pool(np.zeros((9, 1)), ARCHS, np.arange(3))
SLOPE = ARCHS @ np.array([1.0, 3.0])


def softmax(logits):
    return np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)


@pytest.fixture
def in_float64():
    with jax.enable_x64(True):
        yield


@pytest.mark.usefixtures("in_float64")
def test_one_step_is_the_formula():
    """On all combinations of options grad log p is one-hot minus softmax, separately for every decision."""
    config = ReinforceConfig(learning_rate=0.3, decay=0.5)
    state = reinforce.init(POOL, 4, jax.random.key(0), config)
    state = reinforce.tell(state, Proposal(5, 0, None), jnp.asarray(2.0), POOL, config)
    np.testing.assert_array_equal(state.logits, 0)  # the first objective is its own baseline
    logits = np.random.default_rng(0).normal(size=(2, 3))
    state = state._replace(logits=jnp.asarray(logits))
    state = reinforce.tell(state, Proposal(5, 0, None), jnp.asarray(4.0), POOL, config)
    baseline = 0.5 * 2 + 0.5 * 4
    gradient = (4.0 - baseline) * (np.eye(3)[ARCHS[5]] - softmax(logits))
    optimiser = optax.adam(0.3)
    _, after_first = optimiser.update(np.zeros((2, 3)), optimiser.init(logits))
    update, _ = optimiser.update(-gradient, after_first)
    np.testing.assert_allclose(state.logits, logits + update, rtol=1e-12)
    assert state.baseline == baseline


@pytest.mark.usefixtures("in_float64")
@pytest.mark.parametrize("failure", [np.nan, np.inf])
def test_a_failure_makes_no_step(failure):
    state = reinforce.init(POOL, 4, jax.random.key(0), reinforce.config)
    told = reinforce.tell(state, Proposal(5, 0, None), jnp.asarray(failure), POOL, reinforce.config)
    jax.tree.map(np.testing.assert_array_equal, told, state)


@pytest.mark.usefixtures("in_float64")
def test_proposals_follow_the_policy_within_the_pool():
    """A pool without some combinations is sampled with the probabilities of the policy conditional on the pool."""
    pool = Pool(np.zeros((5, 1)), ARCHS[[0, 2, 4, 5, 8]], np.arange(3))
    state = reinforce.init(pool, 4, jax.random.key(0), reinforce.config)
    state = state._replace(logits=jnp.log(jnp.array([[0.2, 0.3, 0.5], [0.1, 0.6, 0.3]])))
    chance = np.array([0.2 * 0.1, 0.2 * 0.3, 0.3 * 0.6, 0.3 * 0.3, 0.5 * 0.3])
    history = new_history(pool, 4)
    ask = jax.vmap(lambda key: reinforce.ask(state, history, pool, key, reinforce.config).item)
    drawn = np.bincount(ask(jax.random.split(jax.random.key(1), 20_000)), minlength=5) / 20_000
    np.testing.assert_allclose(drawn, chance / chance.sum(), atol=0.015)


@pytest.mark.slow
def test_finds_better_than_chance():
    archs = np.array(list(itertools.product(range(4), repeat=4)), np.int8)
    objective = archs.sum(axis=1).astype(float)
    check_beats_random(reinforce, np.zeros((256, 1)), objective, budget=40, archs=archs)
