"""A result records the view of the surrogate at every query, checked against a dense process, and its files."""

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from jaxnas.search import METHODS, PredictorConfig, RobotConfig, SearchResult, predictor_bo, robot

A, M, T = 27, 2, 6
ARCHS = np.array(list(itertools.product(range(3), repeat=3)), np.int8)
TABLE = np.random.default_rng(0).random((A, M))
OBJECTIVE = 50 + 10 * TABLE[:, 0] - 3 * TABLE[:, 1]
CONFIG = RobotConfig(num_candidates=256, num_ascents=2, ard=True)


@pytest.fixture(scope="module")
def result():
    return robot(TABLE, OBJECTIVE, budget=T, seed=1, config=CONFIG)


def dense_process(inputs, targets, point, lengthscale, noise):
    """Return the log evidence of standardised targets and the prediction at a point by the textbook formulas."""

    def kernel(first, second):
        r = np.sqrt(5 * (((first[:, None] - second[None]) / lengthscale) ** 2).sum(-1))
        return (1 + r + r**2 / 3) * np.exp(-r)

    offset, scale = targets.mean(), targets.std() or 1.0
    gram, cross = kernel(inputs, inputs) + noise * np.eye(len(inputs)), kernel(point[None], inputs)
    standardised = (targets - offset) / scale
    evidence = stats.multivariate_normal(cov=gram).logpdf(standardised)
    mean = offset + scale * (cross @ np.linalg.solve(gram, standardised))[0]
    variance = 1 - (cross @ np.linalg.solve(gram, cross.T))[0, 0]
    return evidence, mean, scale * np.sqrt(variance)


def test_info_is_what_a_dense_process_on_the_earlier_queries_shows(result):
    info, chosen = result.info, np.flatnonzero(np.array(result.phase) == "bo")
    assert chosen.tolist() == list(range(result.num_bo))
    assert result.num_bo >= 4
    for at in chosen[1:]:
        evidence, mean, std = dense_process(
            result.query_weights[:at], result.objective[:at], result.query_weights[at], info.lengthscale[at], 1e-6
        )
        np.testing.assert_allclose(info.log_evidence[at], evidence, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(info.mean[at], mean, rtol=1e-6)
        np.testing.assert_allclose(info.std[at], std, rtol=1e-3)
        np.testing.assert_allclose(info.acquisition[at], info.mean[at] + CONFIG.kappa * info.std[at], rtol=1e-9)
    assert len(np.unique(info.lengthscale[chosen[-1]])) == M  # one for each proxy


def test_info_is_nan_where_no_surrogate_chose(result):
    unchosen = np.array([0, *np.flatnonzero(np.array(result.phase) != "bo")])  # the first weights are drawn
    for column in result.info:
        assert np.isnan(column[unchosen]).all()
    predicted = predictor_bo(TABLE, OBJECTIVE, budget=T, seed=0, archs=ARCHS, config=PredictorConfig(initial=2))
    for name, column in predicted.info._asdict().items():
        assert np.isnan(column[:2]).all()
        of_architectures = name in ("slope", "effect", "effect_std", "gain")  # predicted by `proxy_gp` alone
        assert (np.isnan if of_architectures else np.isfinite)(column[2:]).all()
    assert predicted.info.lengthscale.shape == (T, M)
    assert (predicted.info.acquisition[2:] >= 0).all()  # an expected improvement


def test_a_function_shows_what_an_array_shows(result):
    by_function = robot(TABLE, lambda index: OBJECTIVE[index], budget=T, seed=1, config=CONFIG)
    for one, other in zip(by_function.info, result.info, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_saved_result_comes_back(result, tmp_path):
    result.save(tmp_path / "result.json")
    loaded = SearchResult.load(tmp_path / "result.json")
    assert loaded.to_dict() == result.to_dict()
    for one, other in zip(loaded.info, result.info, strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype


def test_a_file_of_before_info_was_recorded_loads(result):
    values = json.loads(json.dumps(result.to_dict()))
    del values["info"]
    loaded = SearchResult.from_dict(values)
    assert loaded.queries.tolist() == result.queries.tolist()
    for one, other in zip(loaded.info, result.info, strict=True):
        assert one.shape == other.shape
        assert np.isnan(one).all()


def test_the_frame_has_a_row_for_each_query(result):
    frame = result.to_pandas()
    assert len(frame) == T
    np.testing.assert_array_equal(frame["acquisition"], result.info.acquisition)
    np.testing.assert_array_equal(frame["weight_1"], result.query_weights[:, 1])


def test_results_are_equal_by_value():
    """A dataclass of arrays raises where NumPy does; failed candidates are NaN, which equals itself here."""
    table, objective = np.random.default_rng(0).normal(size=(6, 2)), np.array([1.0, np.nan, 3.0, 2.0, np.inf, 0.0])
    one, same, other = (METHODS["random"](table, objective, budget=np.int64(5), seed=seed) for seed in (0, 0, 1))
    assert one == same
    assert one != other
    assert one != "text"
    assert one != replace(same, objective=np.where(np.isnan(same.objective), np.inf, same.objective))
