"""The predictor that is pretrained on statistics: what it learns without labels, and what from them."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from chance import check_beats_random
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from jaxnas.errors import InputError
from jaxnas.runtime.session import in_float64
from jaxnas.search import Pool, PretrainedPredictorConfig, pretrained_predictor
from jaxnas.search.pretrained_predictor import (
    BLOCK,
    Layer,
    Network,
    fine_tune,
    one_hot,
    predict,
    pretrain,
    statistics,
)

ARCHS = np.array(list(itertools.product(range(3), repeat=4)), np.int8)
A = len(ARCHS)
COUNTS = (ARCHS[:, :, None] == np.arange(3)).sum(1)
COST = (ARCHS @ [1.0, 3, 2, 1]) ** 2  # a statistic that no sum over decisions gives
TABLE = np.stack([COST, np.zeros(A)], axis=1)
OBJECTIVE = ARCHS @ np.array([4.0, -2, 1, 2])
FAST = PretrainedPredictorConfig(pretraining=300, steps=50, width=32)
KNOWN = (Layer(np.eye(12), np.zeros(12)), Layer(np.eye(12), np.zeros(12)))  # an encoder that changes nothing
FIT = in_float64(jax.jit(fine_tune, static_argnames="config"))


def make_pool(rows=slice(None)):
    return Pool(jnp.asarray(TABLE[rows]), jnp.asarray(ARCHS[rows]), np.arange(3))


@in_float64
def test_statistics_are_standardised_scores_and_counts_of_options():
    found = np.asarray(statistics(make_pool()))
    assert found.shape == (A, 2 + 3)
    np.testing.assert_allclose(found[:, :2].var(0), [1, 0], atol=1e-12)
    np.testing.assert_allclose(found[:, 2:], (COUNTS - COUNTS.mean(0)) / COUNTS.std(0) / np.sqrt(3))
    assert spearmanr(found[:, 0], COST).statistic == pytest.approx(1)


@in_float64
def test_statistics_of_architectures_that_it_never_saw_are_predicted():
    """The pool has two thirds of the architectures; by the mean of the pool the share of the error would be 1."""
    seen = np.random.default_rng(0).permutation(A) < 54
    network = jax.jit(partial(pretrain, config=FAST))(make_pool(seen), jax.random.key(0))
    found = np.asarray(predict(network, make_pool(~seen)))
    wanted = (COUNTS[~seen] - COUNTS[seen].mean(0)) / COUNTS[seen].std(0) / np.sqrt(3)
    assert np.mean((found[:, 2:] - wanted) ** 2) < 0.2 * np.mean(wanted**2)
    assert spearmanr(found[:, 0], COST[~seen]).statistic > 0.9


@in_float64
def test_with_a_known_encoder_and_linear_labels_the_best_of_all_is_predicted_to_be_best():
    rows = np.random.default_rng(0).permutation(A)[:20]
    inputs = one_hot(jnp.asarray(ARCHS[rows]), make_pool())
    network = FIT(KNOWN, inputs, OBJECTIVE[rows], jnp.int32(20), config=PretrainedPredictorConfig())
    assert np.argmax(predict(network, make_pool())[:, 0]) == OBJECTIVE.argmax()


@settings(max_examples=20, deadline=None, derandomize=True)
@given(seed=st.integers(0, 1000), count=st.integers(1, 8))
def test_a_fit_reads_the_order_of_the_queries_alone(seed, count):
    """An increasing transformation of the objective changes nothing, and a failure is like the worst."""
    draw = np.random.default_rng(seed)
    inputs, values = draw.random((8, 12)), np.where(np.arange(8) < count, draw.normal(size=8), np.nan)
    transformed = np.exp(values)
    failing = np.where(values == values[:count].min(), np.nan, values)
    worst = np.min(values[:count], where=np.isfinite(failing[:count]), initial=5)
    tied = np.where(np.isnan(failing), worst, values)
    for pair in ((values, transformed), (failing, tied)):
        first, second = (FIT(KNOWN, inputs, some, jnp.int32(count), config=FAST) for some in pair)
        jax.tree.map(np.testing.assert_array_equal, first, second)


@in_float64
def test_predictions_in_blocks_are_those_of_the_whole_pool():
    archs = np.array(list(itertools.product(range(3), repeat=9)), np.int8)
    assert len(archs) > BLOCK
    assert len(archs) % BLOCK
    draw = np.random.default_rng(0)
    first, second, head = (Layer(draw.normal(size=(27, 27)), draw.normal(size=27)) for _ in range(3))
    network = Network((first, second), head)
    pool = Pool(jnp.zeros((len(archs), 1)), jnp.asarray(archs), np.arange(3))
    np.testing.assert_allclose(predict(network, pool), network(one_hot(pool.archs, pool)), rtol=1e-9, atol=1e-9)


def test_no_label_is_read_before_the_first_prediction():
    given = dict(budget=12, seed=0, archs=ARCHS, config=FAST)
    first, second = (pretrained_predictor(TABLE, sign * OBJECTIVE, **given) for sign in (1, -1))
    assert first.phase == ("random",) * 3 + ("prediction",) * 9
    assert first.queries[:3].tolist() == second.queries[:3].tolist()
    assert first.queries[3] != second.queries[3]
    assert first.best == OBJECTIVE.max()
    assert second.best == -OBJECTIVE.min()


@pytest.mark.slow
def test_it_beats_random_search():
    check_beats_random(pretrained_predictor, TABLE, OBJECTIVE, budget=12, archs=ARCHS)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("pretraining", -1, "`pretraining` must be at least 0, got -1"),
        ("steps", 0, "`steps` must be positive, got 0"),
        ("learning_rate", 0.0, "`learning_rate` must be positive, got 0.0"),
        ("width", 0, "`width` must be positive, got 0"),
        ("initial", 0, "`initial` must be positive, got 0"),
    ],
)
def test_config_is_checked(field, value, message):
    with pytest.raises(InputError, match=message):
        PretrainedPredictorConfig(**{field: value})
