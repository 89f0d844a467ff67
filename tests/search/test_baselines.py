"""Searches without a model against their definitions."""

import numpy as np
import pytest
import scipy.stats

from jaxnas.errors import InputError
from jaxnas.search import SingleProxyConfig, random_search, rank_aggregation, rank_sum, single_proxy

A, M, T = 50, 3, 10
TABLE = np.round(np.random.default_rng(0).random((A, M)), 1)  # with ties
OBJECTIVE = np.random.default_rng(1).random(A)


def test_random_draws_every_architecture_equally_often():
    results = random_search.run_seeds(TABLE, OBJECTIVE, budget=T, seeds=range(1000))
    counts = np.bincount(np.concatenate([result.queries for result in results]), minlength=A)
    assert scipy.stats.chisquare(counts).pvalue > 1e-3
    assert np.isnan(results[0].weights).all()


@pytest.mark.parametrize("proxy", range(M))
def test_one_proxy_leads_to_its_best(proxy):
    result = single_proxy(TABLE, OBJECTIVE, budget=T, seed=0, config=SingleProxyConfig(proxy))
    np.testing.assert_array_equal(result.queries, np.argsort(-TABLE[:, proxy], kind="stable")[:T])
    np.testing.assert_array_equal(result.weights, np.arange(M) == proxy)
    assert set(result.phase) == {"greedy"}


def test_a_proxy_that_is_not_there_is_refused():
    with pytest.raises(InputError, match="`proxy` must be from 0 to 2, a column of the score table, got 3"):
        single_proxy(TABLE, OBJECTIVE, budget=T, seed=0, config=SingleProxyConfig(3))


def test_rank_aggregation_is_the_sum_of_log_ranks():
    merit = np.log(scipy.stats.rankdata(TABLE, axis=0) / A).sum(axis=1)
    result = rank_aggregation(TABLE, OBJECTIVE, budget=T, seed=0)
    np.testing.assert_array_equal(result.queries, np.argsort(-merit.round(12), kind="stable")[:T])


def test_rank_sum_is_the_sum_of_ranks():
    merit = scipy.stats.rankdata(TABLE, axis=0).sum(axis=1)
    result = rank_sum(TABLE, OBJECTIVE, budget=T, seed=0)
    np.testing.assert_array_equal(result.queries, np.argsort(-merit, kind="stable")[:T])


@pytest.mark.parametrize("method", [rank_aggregation, rank_sum])
def test_aggregates_see_nothing_but_ranks(method):
    results = [method(table, OBJECTIVE, budget=T, seed=0) for table in (TABLE, np.exp(5 * TABLE))]
    np.testing.assert_array_equal(results[0].queries, results[1].queries)
