"""Rankings from few labels: the mixture of the steps of `proxy_gp`, invariances, every bad input."""

import itertools

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxnas.errors import InputError
from jaxnas.runtime.session import in_float64, make_key
from jaxnas.search import Phase, Proposal, carry_over, loop, predict_ranking, proxy_gp, unweighted
from jaxnas.search.inputs import make_pool
from jaxnas.search.proxy_gp import CONSTANT, SLOPES, VARIANCE, warp, weigh
from jaxnas.search.ranking import BLOCK, ROOM
from jaxnas.table.evaluation import kendall

ARCHS = np.array(list(itertools.product(range(3), repeat=4)), np.int8)
A = len(ARCHS)
SCORES = np.random.default_rng(0).random((A, 2)).round(1)  # with ties
OBJECTIVE = np.where(np.arange(A) % 4, ARCHS @ [1.0, -2, 3, 1] + SCORES[:, 0], np.nan)
ROWS = [40, 7, 8, 77, 13, 80]  # 40, 8 and 80 failed


def test_it_is_the_mixture_of_what_the_search_would_draw():
    pool = make_pool(proxy_gp, SCORES, ARCHS, (1,))
    search = loop.start(pool, make_key(0), method=proxy_gp, budget=8, config=proxy_gp.config)
    for row in ROWS:
        proposal = Proposal(np.int32(row), np.int32(Phase.BO), unweighted(pool))
        search = loop.record(search, pool, proposal, OBJECTIVE[row], method=proxy_gp, config=proxy_gp.config)
    state, used, slopes = search.method, np.arange(8) < len(ROWS), np.array(SLOPES)[:, None]
    consensus = np.asarray(state.features.consensus)
    y = in_float64(jax.jit(warp))(state.objective, state.count)
    weighed = in_float64(jax.jit(weigh))(
        state.whitening, y, np.where(used, consensus[state.item], 0)[:, None], slopes, used
    )
    residual, log_evidence = map(np.asarray, weighed)  # jax would subtract in float32
    share = np.exp(log_evidence - np.max(log_evidence))
    share /= share.sum()
    parts = np.asarray(state.covariance).reshape(8, -1, A)
    mean = np.empty((*share.shape, A))
    for row, (variance, whitening) in enumerate(zip(VARIANCE, np.asarray(state.whitening), strict=True)):
        covariance = CONSTANT + np.einsum("c,tca->ta", variance, parts)
        for column, slope in enumerate(SLOPES):
            mean[row, column] = slope * consensus + residual[row, column] @ whitening @ covariance
    expected = np.einsum("gs,gsa->a", share, mean)
    square = np.einsum("gs,gsa->a", share, mean**2 + np.asarray(state.variance)[:, None])
    found = predict_ranking(SCORES, ARCHS, (ROWS, OBJECTIVE[ROWS]))
    np.testing.assert_allclose(found.mean, expected, rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(found.std, np.sqrt(square - expected**2), rtol=1e-8)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(rows=st.lists(st.integers(0, A - 1), unique=True, max_size=12), seed=st.integers(0, 9), power=st.floats(0.2, 5))
def test_order_and_scale_of_what_is_given_change_nothing(rows, seed, power):
    values = np.random.default_rng(seed).random(A)
    plain = predict_ranking(SCORES, ARCHS, (rows, values[rows]))
    moved = np.random.default_rng(seed + 1).permutation(A)
    place = np.argsort(moved)
    observed = {int(place[row]): -(values[row] ** power) for row in reversed(rows)}
    other = predict_ranking(np.exp(SCORES[moved]), ARCHS[moved], observed, direction="minimize")
    np.testing.assert_allclose(other.mean, plain.mean[moved], atol=1e-8)
    np.testing.assert_allclose(other.std, plain.std[moved], atol=1e-8)
    assert np.isfinite(plain.mean).all()
    assert (plain.std > 0).all()


def test_more_labels_rank_better_than_the_proxies_alone():
    objective = ARCHS @ np.array([1.0, -2, 3, 1])
    rows = np.random.default_rng(1).permutation(A)[:ROOM]
    taus = []
    for n in (0, 10, len(rows)):
        ranking = predict_ranking(SCORES, ARCHS, (rows[:n], objective[rows[:n]]))
        taus.append(float(kendall(ranking.mean, objective)))
    assert taus[0] < taus[1] < 0.5 < 0.8 < taus[2]
    alone = predict_ranking(archs=ARCHS, observed=dict(zip(rows, objective[rows], strict=True)))
    assert kendall(alone.mean, objective) > 0.8


def test_without_labels_it_is_the_ranking_that_the_proxies_agree_on():
    scores = np.stack([np.arange(9.0), np.arange(9.0) ** 3], axis=1)
    scores[2] = np.nan  # the worst
    assert predict_ranking(scores).order.tolist() == [8, 7, 6, 5, 4, 3, 1, 0, 2]
    assert np.ptp(predict_ranking(scores, observed={}).std) > 0


def test_a_pool_of_more_than_a_block_is_ranked_as_its_parts_are():
    column = np.random.default_rng(2).permutation(2.0 * np.arange(2 * BLOCK + 3))
    rows = np.arange(ROOM + 1)
    ranking = predict_ranking(column[:, None], observed=(rows, column[rows]))
    assert kendall(ranking.mean, column) > 0.99
    assert len(ranking.mean) == len(column)


def test_what_an_earlier_task_knows_is_kept_and_the_rest_follows_its_decisions():
    objective = ARCHS @ np.array([1.0, -2, 3, 1]) + 0.01 * ARCHS[:, 0]
    known = np.random.default_rng(3).permutation(A)[:40]
    pool = np.concatenate([ARCHS[known[:25]], np.delete(ARCHS, known, axis=0)])  # 15 known ones are not in the pool
    found = carry_over(ARCHS[known], objective[known], pool)
    assert kendall(found[:25], objective[known[:25]]) > 0.999
    assert kendall(found[25:], np.delete(objective, known)) > 0.5
    whole = carry_over(ARCHS[::-1], np.where(objective == objective.max(), np.nan, objective)[::-1], ARCHS)
    assert whole[np.argmax(objective)] == whole.min()  # it failed
    with pytest.raises(InputError, match=r"`archs` must be vectors of 4 decisions, got shape \(0, 4\)"):
        carry_over(ARCHS[:0], objective[:0], ARCHS)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((None, None, None), "nothing to rank by: give `scores`, `archs` or both"),
        ((None, ARCHS, None), "without `scores` there is nothing to rank by before an observation: give `observed`"),
        ((None, [], {0: 1.0}), "`archs` must have a row for each architecture, got none"),
        ((SCORES[:, 0], None, None), "`scores` must have a row for each architecture and a column for each proxy"),
        ((np.ones((A, 2)), ARCHS, None), "no proxy can rank the 81 architectures"),
        ((SCORES, ARCHS[:5], None), "`archs` must have one vector for each of the 81 rows"),
        ((SCORES, np.zeros_like(ARCHS), None), "`archs` must be distinct"),
        ((SCORES, ARCHS, ([1, 2], [3.0])), "`observed` must have a value for each row, got 2 rows and 1 values"),
        ((SCORES, ARCHS, {81: 1.0}), "`observed` must be from 0 to 80, the rows of the pool, got 81"),
        ((SCORES, ARCHS, {-1: 1.0}), "`observed` must be from 0 to 80, the rows of the pool, got -1"),
        ((SCORES, ARCHS, {0.5: 1.0}), "`observed` must be a whole number from 0 to 80"),
        ((SCORES, ARCHS, ([3, 3], [1.0, 2.0])), "`observed` must have each row once, got row 3 more than once"),
        ((SCORES, ARCHS, {3: "good"}), "`observed` must be numbers, None or NaN, got 'good'"),
    ],
)
def test_bad_input_is_refused_in_one_line(given, message):
    with pytest.raises(InputError) as error:
        predict_ranking(*given)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
