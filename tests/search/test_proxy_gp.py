"""The process over architectures: dense formulas, invariances, what it does without proxies or decisions."""

import itertools
from functools import partial

import jax
import numpy as np
import pytest
from chance import check_beats_random
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp, ndtri
from scipy.stats import multivariate_normal, rankdata

from jaxnas.errors import InputError
from jaxnas.runtime.session import fixed_settings, in_float64, make_key
from jaxnas.search import Phase, Pool, Proposal, ProxyGPConfig, loop, proxy_gp, random_search, unweighted
from jaxnas.search.inputs import make_pool
from jaxnas.search.proxy_gp import (
    BLOCK,
    CONSTANT,
    NOISE,
    SLOPES,
    VARIANCE,
    _covary,
    _inspect,
    condition,
    describe,
    warp,
)

ARCHS = np.array(list(itertools.product(range(3), repeat=4)), np.int8)
A, M, T = len(ARCHS), 3, 15
TABLE = np.random.default_rng(0).random((A, M)).round(1)  # with ties
TABLE[:, 2] = 0.5  # ranks nothing
OBJECTIVE = np.where(np.arange(A) % 4, ARCHS @ [1.0, -2, 3, 1] + TABLE[:, 0], np.nan)
QUERIED = [40, 7, 8, 77, 13, 80]  # rows 40, 8 and 80 fail
SEARCH = partial(proxy_gp, budget=T, archs=ARCHS)


def normal_scores(values):
    scores = ndtri(rankdata(values) / (len(values) + 1))
    return (scores - scores.mean()) / scores.std()


def matern(x, lengthscale):
    r = np.sqrt(5 * ((x[:, None] - x[None]) ** 2).mean(-1)) / lengthscale
    return (1 + r + r**2 / 3) * np.exp(-r)


@pytest.fixture(scope="module")
def dense():
    """The textbook formulas: the consensus, the covariances of the grid and the warped objectives."""
    z = np.stack([normal_scores(TABLE[:, 0]), normal_scores(TABLE[:, 1])], axis=1)
    counts = np.stack([(op == ARCHS).sum(1) for op in range(3)], axis=1).astype(float)
    counts = (counts - counts.mean(0)) / counts.std(0)
    decisions = np.exp(-(ARCHS[:, None] != ARCHS[None]).sum(-1) / (0.25 * 4))
    parts = z @ z.T / 2, matern(counts, 1.0), (matern(z, 1.5) + decisions) / 2
    covariances = [CONSTANT + sum(v * part for v, part in zip(row, parts, strict=True)) for row in VARIANCE]
    values = OBJECTIVE[QUERIED]
    y = ndtri((rankdata(np.where(np.isnan(values), np.nanmin(values), values)) - 0.5) / len(values))
    return (z.mean(1) / z.mean(1).std(), covariances, y)


@pytest.fixture(scope="module")
def observed():
    """The state of the method after the queries, in two blocks of columns."""
    pool, key = make_pool(proxy_gp, TABLE, ARCHS, (1,)), make_key(0)
    search = loop.start(pool, key, method=proxy_gp, budget=T, config=proxy_gp.config)
    for item in QUERIED:
        proposal = Proposal(np.int32(item), np.int32(Phase.BO), unweighted(pool))
        search = loop.record(search, pool, proposal, OBJECTIVE[item], method=proxy_gp, config=proxy_gp.config)
    return search.method


def test_rows_that_queries_add_give_the_dense_factors_and_variances(observed, dense):
    _, covariances, _ = dense
    n = len(QUERIED)
    parts = zip(NOISE, covariances, observed.whitening, observed.variance, strict=True)
    for noise, covariance, whitening, variance in parts:
        gram = covariance[np.ix_(QUERIED, QUERIED)] + noise * np.eye(n)
        np.testing.assert_allclose(whitening[:n, :n], np.linalg.inv(np.linalg.cholesky(gram)), rtol=1e-9, atol=1e-9)
        assert not np.any(whitening[n:])
        explained = covariance[:, QUERIED] @ np.linalg.solve(gram, covariance[QUERIED])
        np.testing.assert_allclose(variance, np.diag(covariance - explained), rtol=1e-9)


def test_the_posterior_is_that_of_a_point_drawn_by_its_evidence(observed, dense):
    consensus, covariances, y = dense
    np.testing.assert_allclose(in_float64(jax.jit(warp))(observed.objective, observed.count)[: len(y)], y, atol=1e-12)
    found, expected = [], []
    for noise, covariance in zip(NOISE, covariances, strict=True):
        gram = covariance[np.ix_(QUERIED, QUERIED)] + noise * np.eye(len(y))
        for slope in SLOPES:
            residual = y - slope * consensus[QUERIED]
            mean = slope * consensus + covariance[:, QUERIED] @ np.linalg.solve(gram, residual)
            expected.append((multivariate_normal(cov=gram).logpdf(residual), mean))
    evidence = np.array([value for value, _ in expected])

    @in_float64
    @jax.jit
    def draw(key):
        y, new = warp(observed.objective, observed.count), jax.numpy.zeros((len(NOISE), T))
        return condition(observed, y, new, key).posterior

    for seed in range(200):
        point = draw(make_key(seed))
        np.testing.assert_allclose(point.log_evidence, logsumexp(evidence) - np.log(len(evidence)), rtol=1e-9)
        distances = [np.abs(np.asarray(point.mean) - mean).max() for _, mean in expected]
        assert min(distances) < 1e-9
        found.append(int(np.argmin(distances)))
        index = found[-1] // len(SLOPES)
        np.testing.assert_array_equal(point.std, np.sqrt(observed.variance[index]))
    shares = np.bincount(found, minlength=len(expected)) / len(found)
    assert np.abs(shares - np.exp(evidence - logsumexp(evidence))).max() < 0.12  # 3.4 standard errors at most


def test_effects_are_those_of_ridge_regressions_by_their_evidence(observed, dense):
    consensus, covariances, y = dense
    z = np.stack([normal_scores(TABLE[:, 0]), normal_scores(TABLE[:, 1])], axis=1)
    log_evidence, effects = [], []
    for noise, (linear, *_), covariance in zip(NOISE, VARIANCE, covariances, strict=True):
        gram, x = covariance[np.ix_(QUERIED, QUERIED)] + noise * np.eye(len(y)), z[QUERIED] / np.sqrt(2)
        for slope in SLOPES:
            residual = y - slope * consensus[QUERIED]
            mean = slope / z.sum(1).std() + linear * x.T @ np.linalg.solve(gram, residual) / np.sqrt(2)
            variance = np.diag(linear * np.eye(2) - linear**2 * x.T @ np.linalg.solve(gram, x)) / 2
            log_evidence.append(multivariate_normal(cov=gram).logpdf(residual))
            effects.append((mean, variance))
    share = np.exp(log_evidence - logsumexp(log_evidence))
    mean = sum(s * m for s, (m, _) in zip(share, effects, strict=True))
    variance = sum(s * (v + (m - mean) ** 2) for s, (m, v) in zip(share, effects, strict=True))
    values = np.where(np.isnan(OBJECTIVE[QUERIED]), np.nanmin(OBJECTIVE[QUERIED]), OBJECTIVE[QUERIED])
    unit = np.polyfit(y, values, 1)[0]
    merit, queried = np.asarray(observed.posterior.mean), np.isin(np.arange(A), QUERIED)
    info = in_float64(jax.jit(_inspect))(observed, merit, 3, queried)
    np.testing.assert_allclose(info.effect, [*unit * mean, np.nan], rtol=1e-9)
    np.testing.assert_allclose(info.effect_std, [*unit * np.sqrt(variance), np.nan], rtol=1e-9)
    np.testing.assert_allclose(info.slope, share.reshape(-1, len(SLOPES)).sum(0) @ SLOPES, rtol=1e-9)
    np.testing.assert_allclose(info.mean, values.mean() + unit * (merit[3] - y.mean()), rtol=1e-9)


@pytest.mark.parametrize("budget", [7, 20, 47])
def test_blocks_of_columns_give_the_whole_sum(budget):
    rng, room = np.random.default_rng(budget), budget if budget < BLOCK else -(-budget // BLOCK) * BLOCK
    coefficients, variances, covariance = (
        rng.normal(size=(3, budget)),
        rng.random((3, 2)),
        rng.normal(size=(budget, 2, 5)),
    )
    covary = in_float64(jax.jit(_covary))
    for count in {1, min(20, budget), min(21, budget), budget}:
        known = np.arange(budget) < count
        columns = np.zeros((2 * room, 5))
        columns[: 2 * budget] = (covariance * known[:, None, None]).reshape(-1, 5)
        found = covary(coefficients * known, variances, columns, count)
        within = np.einsum("kt,kc,tca->ka", coefficients * known, variances, covariance)
        expected = CONSTANT * (coefficients * known).sum(1, keepdims=True) + within
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


def test_the_first_query_leads_the_consensus_and_the_next_two_are_drawn(dense):
    result = SEARCH(TABLE, ARCHS.sum(1), seed=0)
    assert result.phase == ("greedy", "random", "random") + ("bo",) * (T - 3)
    assert result.queries[0] == np.argmax(dense[0].round(9))
    for column in result.info:
        assert np.isnan(column[:3]).all()
        usable = column[3:, :2] if column.ndim == 2 else column[3:]
        assert np.isfinite(usable).all()
    assert np.isnan(result.info.effect[:, 2]).all()
    assert (result.info.gain[3:] >= 0).all()
    np.testing.assert_allclose(result.info.acquisition, result.info.mean + 2 * result.info.std, rtol=1e-9)


@settings(max_examples=5, deadline=None, derandomize=True)
@given(seed=st.integers(0, 100), power=st.sampled_from([0.1, 3.0, 7.0]), scale=st.floats(0.1, 10))
def test_only_ranks_are_read(seed, power, scale):
    objective = np.random.default_rng(seed).random(A)
    objective[3::5] = np.nan
    plain = SEARCH(TABLE, objective, seed=seed)
    warped = SEARCH(np.exp(scale * TABLE**power), objective**power - scale, seed=seed)
    assert warped.queries.tolist() == plain.queries.tolist()


@pytest.mark.slow
def test_of_few_queries_one_is_drawn():
    result = proxy_gp(TABLE, ARCHS.sum(1), budget=6, archs=ARCHS, seed=0)
    assert result.phase == ("greedy", "random", *["bo"] * 4)


def test_without_architectures_the_proxies_are_enough():
    objective = TABLE[:, 0] - TABLE[:, 1]
    assert proxy_gp(TABLE, objective, budget=T, seed=0).phase[0] == "greedy"
    check_beats_random(proxy_gp, TABLE, objective, budget=T, archs=None)


def test_without_usable_proxies_the_decisions_are_enough():
    constant = np.ones((A, M))
    assert SEARCH(constant, OBJECTIVE, seed=0).phase[0] == "random"
    check_beats_random(proxy_gp, constant, ARCHS @ np.array([1.0, -2, 3, 1]), budget=T, archs=ARCHS)


def test_proxies_that_mislead_are_left():
    objective = ARCHS @ np.array([1.0, -2, 3, 1])
    check_beats_random(proxy_gp, -objective[:, None] + TABLE, objective, budget=T, archs=ARCHS)


def test_opposite_proxies_have_no_consensus():
    column = np.random.default_rng(1).permutation(6.0 * np.arange(9))
    table = np.stack([column, -column], axis=1)
    features = in_float64(jax.jit(describe))(Pool(table, np.zeros((9, 0), np.int8), np.arange(1)))
    assert not np.any(features.consensus)
    assert not np.any(features.op_counts)
    np.testing.assert_allclose(
        features.scores, np.stack([normal_scores(scores) for scores in table.T], axis=1) / np.sqrt(2), atol=1e-12
    )


def test_the_hamming_kernel_joins_kernels_of_gpjax():
    from gpjax.kernels import Matern52

    from jaxnas.search.kernels import Hamming

    x = ARCHS[:7].astype(float)
    with fixed_settings(float64=True):
        kernel = Matern52() * Hamming(0.5) + Hamming(0.25)
        found = jax.jit(lambda x: kernel.cross_covariance(x, x))(x)
    differ = (x[:, None] != x[None]).sum(-1)
    r = np.sqrt(5 * ((x[:, None] - x[None]) ** 2).sum(-1))
    expected = (1 + r + r**2 / 3) * np.exp(-r) * np.exp(-differ / 2) + np.exp(-differ)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


@pytest.mark.parametrize(("field", "value"), [("kappa", 0.0), ("initial", 0)])
def test_config_is_checked(field, value):
    with pytest.raises(InputError, match=f"`{field}` must be positive, got {value}"):
        ProxyGPConfig(**{field: value})


@pytest.fixture(scope="module")
def warm():
    """The states of a search with an earlier task after 1 to 6 queries, and the normal scores of that task."""
    earlier = np.random.default_rng(5).normal(size=A)
    pool = make_pool(proxy_gp, TABLE, ARCHS, (1,), earlier[:, None])
    search, states = loop.start(pool, make_key(0), method=proxy_gp, budget=T, config=proxy_gp.config), []
    for item in QUERIED:
        proposal = Proposal(np.int32(item), np.int32(Phase.BO), unweighted(pool))
        search = loop.record(search, pool, proposal, OBJECTIVE[item], method=proxy_gp, config=proxy_gp.config)
        states.append(search.method)
    return states, normal_scores(earlier)


def test_earlier_tasks_enter_the_prior_mean_of_all_but_every_second_query(warm, dense):
    states, scores = warm
    consensus, covariances, _ = dense
    np.testing.assert_allclose(states[0].features.means, np.stack([consensus, scores], axis=1), atol=1e-9)
    slopes = list(itertools.product(SLOPES, repeat=2))
    for count, state in enumerate(states, start=1):
        rows, y = QUERIED[:count], np.asarray(in_float64(jax.jit(warp))(state.objective, state.count))[:count]
        distances = {}
        for noise, covariance in zip(NOISE, covariances, strict=True):
            gram = covariance[np.ix_(rows, rows)] + noise * np.eye(count)
            for one, other in slopes:
                prior = one * consensus + other * scores
                mean = prior + covariance[:, rows] @ np.linalg.solve(gram, y - prior[rows])
                distance = np.abs(np.asarray(state.posterior.mean) - mean).max()
                distances[other] = min(distance, distances.get(other, np.inf))
        assert min(distances.values()) < 1e-9
        if count % 2 == 0:
            assert distances[0.0] < 1e-9


def test_the_first_query_leads_proxies_and_earlier_tasks_together(dense):
    earlier = np.random.default_rng(5).normal(size=A)
    result = SEARCH(TABLE, ARCHS.sum(1), seed=0, earlier=earlier)
    assert result.queries[0] == np.argmax((dense[0] + normal_scores(earlier)).round(9))
    assert SEARCH(np.ones((A, M)), OBJECTIVE, seed=0, earlier=earlier).phase[0] == "greedy"
    falling = SEARCH(TABLE, -ARCHS.sum(1), seed=0, earlier=-earlier, direction="minimize")
    assert falling.queries.tolist() == result.queries.tolist()


@pytest.mark.parametrize(
    ("earlier", "message"),
    [
        (np.ones(5), "`earlier` must have a row for each of the 81 architectures, got shape (5, 1)"),
        (np.ones((A, 0)), "`earlier` must have a row for each of the 81 architectures, got shape (81, 0)"),
        (np.where(np.arange(A) < 2, np.nan, 1), "`earlier` must be numbers, got 2 NaN: predict them by `carry_over`"),
    ],
)
def test_earlier_tasks_that_do_not_fit_are_refused(earlier, message):
    with pytest.raises(InputError) as error:
        SEARCH(TABLE, OBJECTIVE, seed=0, earlier=earlier)
    assert str(error.value) == message


def test_earlier_tasks_are_for_methods_that_read_them():
    with pytest.raises(InputError, match="random does not read earlier tasks: leave `earlier` out, or choose proxy_gp"):
        random_search(TABLE, OBJECTIVE, budget=T, seed=0, earlier=OBJECTIVE)
