"""normalize and combine: definitions, masks, overflow and errors."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxnas.errors import InputError
from jaxnas.table.normalize import NORMALIZATIONS, combine, normalize


@pytest.fixture
def scores():
    return np.random.default_rng(0).normal(size=(50, 4)) * np.array([1.0, 1e-9, 1e60, -5.0])


def test_minmax_is_its_definition(scores):
    table, _ = normalize(scores)
    span = scores.max(axis=0) - scores.min(axis=0)
    np.testing.assert_allclose(table, (scores - scores.min(axis=0)) / span, rtol=1e-13)


def test_ranks_match_scipy_with_ties():
    column = np.array([3.0, 1.0, 3.0, -2.0, 1.0, 1.0])
    positions = stats.rankdata(column) - 1
    table, _ = normalize(column[:, None], "rank")
    np.testing.assert_allclose(table[:, 0], positions / 5, rtol=1e-15)
    table, _ = normalize(column[:, None], "zrank")
    np.testing.assert_allclose(table[:, 0], stats.norm.ppf((positions + 0.5) / 6), rtol=1e-13)


def test_clip_and_log_are_their_definitions():
    column = np.concatenate([np.linspace(-1, 1, 200), [1e30, -1e20]])
    table, _ = normalize(column[:, None], "clip")
    low, high = np.quantile(column, [0.01, 0.99])
    np.testing.assert_allclose(table[:, 0], (np.clip(column, low, high) - low) / (high - low), atol=1e-12)
    table, _ = normalize(column[:, None], "log")
    scaled = np.sign(column) * np.log1p(np.abs(column) / np.median(np.abs(column)))
    np.testing.assert_allclose(table[:, 0], (scaled - scaled.min()) / np.ptp(scaled), rtol=1e-12)
    rare = np.zeros((200, 1))
    rare[7] = 1.0  # 99 % of the column are equal
    assert [normalize(rare, method)[0].argmax() for method in ("clip", "log")] == [7, 7]


@pytest.mark.parametrize("method", NORMALIZATIONS)
def test_contract(method, scores):
    scores[3, 0], scores[4, 0], scores[5, 1] = np.nan, np.inf, -np.inf
    table, report = normalize(scores, method)
    assert table.dtype == np.float64
    assert table.shape == scores.shape
    assert np.isfinite(table).all()
    np.testing.assert_array_equal(report.num_nan, [1, 0, 0, 0])
    for column, finite in enumerate(np.isfinite(scores).T):
        ordered = table[finite, column][np.argsort(scores[finite, column])]
        assert (np.diff(ordered) >= 0).all() if method == "clip" else (np.diff(ordered) > 0).all()
    np.testing.assert_array_equal(normalize(jnp.asarray(scores[:, :1]), method)[0].argmax(), table[:, 0].argmax())


@pytest.mark.parametrize("method", NORMALIZATIONS)
def test_masked_entry_takes_the_least_value_of_its_column(method, scores):
    scores[7, 0] = np.nan
    table, report = normalize(scores, method)
    finite = np.arange(50) != 7
    np.testing.assert_allclose(table[7, 0], table[finite, 0].min())
    assert table[7, 0] < table[finite, 0].max()
    np.testing.assert_array_equal(table[finite, 0], normalize(scores[finite], method)[0][:, 0])
    assert report.num_nan.tolist() == [1, 0, 0, 0]


def test_report_counts_and_useless_columns_are_zero():
    scores = np.array([[1.0, np.nan, 5.0, 2.0], [np.nan, np.inf, 5.0, 3.0], [-np.inf, np.nan, np.nan, 4.0]])
    table, report = normalize(scores)
    np.testing.assert_array_equal(report.num_nan, [1, 2, 1, 0])
    np.testing.assert_array_equal(report.num_posinf, [0, 1, 0, 0])
    np.testing.assert_array_equal(report.num_neginf, [1, 0, 0, 0])
    np.testing.assert_array_equal(report.constant, [True, False, True, False])
    np.testing.assert_array_equal(report.empty, [False, True, False, False])
    np.testing.assert_array_equal(report.usable, [False, False, False, True])
    np.testing.assert_array_equal(table, [[0, 0, 0, 0], [0, 0, 0, 0.5], [0, 0, 0, 1]])


@pytest.mark.parametrize("scale", [1.7e308, 5e-324, 1e61])
def test_minmax_neither_overflows_nor_underflows(scale):
    with np.errstate(all="raise"):
        table, _ = normalize(np.array([[-scale], [0.0], [scale]]))
    np.testing.assert_array_equal(table, [[0], [0.5], [1]])


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.zeros((0, 3)), "shape"),
        (np.zeros((3, 0)), "shape"),
        (np.zeros(3), "shape"),
        (np.ones((3, 2)), "2 of 2 columns constant"),
        (np.ones((1, 2)), "constant"),
        (np.full((3, 1), np.nan), "1 without a finite value"),
    ],
)
def test_scores_that_cannot_rank(bad, message):
    with pytest.raises(InputError, match=message):
        normalize(bad)


def test_unknown_method():
    with pytest.raises(InputError, match="did you mean 'minmax'"):
        normalize(np.eye(3), "minmx")


def test_combine_is_the_weighted_sum_and_keeps_ties(scores):
    weights = np.array([0.3, -0.7, 0.1, 0.9])
    np.testing.assert_allclose(combine(scores, weights), scores @ weights, rtol=1e-12)
    rows = np.tile(np.float32([0.1, 0.2, 0.7, 0.3]), (1003, 1))
    assert len(np.unique(combine(jnp.asarray(rows), jnp.float32(weights)))) == 1
