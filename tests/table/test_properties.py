"""Properties of normalize and of the rank measures, on arrays that hypothesis chooses."""

import numpy as np
import pytest
import scipy.stats
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import ndcg_score

from jaxnas.errors import InputError
from jaxnas.table import NORMALIZATIONS, evaluation, normalize

few = settings(max_examples=60, deadline=None)
every_method = pytest.mark.parametrize("method", NORMALIZATIONS)
any_table = arrays(np.float64, st.tuples(st.integers(1, 12), st.integers(1, 4)), elements=st.floats())
SIZE = 12  # length of rankings: one size, so that each measure compiles once
ranking = arrays(np.float64, SIZE, elements=st.integers(0, 5).map(float))  # few values: ties of every kind


@every_method
@few
@given(scores=any_table)
def test_any_table_is_normalised_or_refused(method, scores):
    finite = np.isfinite(scores)
    try:
        table, report = normalize(scores, method)
    except InputError:
        columns = [scores[rows, column] for column, rows in enumerate(finite.T)]
        assert all(len(np.unique(values)) < 2 for values in columns)
        return
    assert table.shape == scores.shape
    assert np.isfinite(table).all()
    np.testing.assert_array_equal(report.num_nan, np.isnan(scores).sum(0))
    np.testing.assert_array_equal(report.num_posinf + report.num_neginf, np.isinf(scores).sum(0))
    np.testing.assert_array_equal(table[:, ~report.usable], 0)
    for column in np.flatnonzero(report.usable):
        rows = finite[:, column]
        order = np.argsort(scores[rows, column], kind="stable")
        assert (np.diff(table[rows, column][order]) >= 0).all()
        assert (table[~rows, column] == table[rows, column].min()).all()


@pytest.mark.parametrize(("method", "shift"), [(name, shift) for name in NORMALIZATIONS for shift in (0, 3)])
@few
@given(
    scores=arrays(np.float64, (9, 1), elements=st.integers(-50, 50).map(float)),
    exponent=st.integers(-20, 20),
)
def test_the_unit_of_a_proxy_does_not_matter(method, shift, scores, exponent):
    """Powers of 2 and small integers are exact, so that rounding makes or breaks no tie."""
    assume(len(np.unique(scores)) > 1)
    if method == "log":
        shift = 0  # by definition 0 remains 0
    table, _ = normalize(scores, method)
    again, _ = normalize(np.ldexp(scores + shift, exponent), method)
    np.testing.assert_allclose(again, table, atol=1e-12)


@few
@given(scores=ranking, accuracy=ranking)
def test_measures_are_those_of_scipy_and_scikit_learn(scores, accuracy):
    assume(len(np.unique(scores)) > 1 and len(np.unique(accuracy)) > 1)
    tau, rho = scipy.stats.kendalltau(scores, accuracy).statistic, scipy.stats.spearmanr(scores, accuracy).statistic
    np.testing.assert_allclose(evaluation.kendall(scores, accuracy), tau, atol=1e-12)
    np.testing.assert_allclose(evaluation.spearman(scores, accuracy), rho, atol=1e-12)
    np.testing.assert_allclose(evaluation.ndcg(scores, accuracy), ndcg_score(accuracy[None], scores[None]), atol=1e-12)
