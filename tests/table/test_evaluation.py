"""Rank measures against SciPy and scikit-learn, theorem 1 against simulation, and the comparison of methods."""

import itertools

import numpy as np
import pytest
import scipy.stats
from sklearn.metrics import ndcg_score

from jaxnas.errors import InputError
from jaxnas.table import evaluation

RNG = np.random.default_rng(0)
SEEDS, SIZE = 5, 301
# Few different values, so that ties of every kind occur; ties in both arrays are common.
ACCURACY = np.round(RNG.normal(size=SIZE), 1) + 5
SCORES = np.round(0.5 * ACCURACY + RNG.normal(size=(SEEDS, SIZE)), 1)


def rows(function):
    return np.array([function(scores, ACCURACY) for scores in SCORES])


def test_kendall_is_that_of_scipy():
    expected = rows(lambda a, b: scipy.stats.kendalltau(a, b).statistic)
    np.testing.assert_allclose(evaluation.kendall(SCORES, ACCURACY), expected, rtol=1e-12)


def test_spearman_is_that_of_scipy():
    expected = rows(lambda a, b: scipy.stats.spearmanr(a, b).statistic)
    np.testing.assert_allclose(evaluation.spearman(SCORES, ACCURACY), expected, rtol=1e-12)


@pytest.mark.parametrize("top", [None, 1, 20])
def test_ndcg_is_that_of_scikit_learn(top):
    expected = rows(lambda a, b: ndcg_score(b[None], a[None], k=top))
    np.testing.assert_allclose(evaluation.ndcg(SCORES, ACCURACY, top=top), expected, rtol=1e-12)


@pytest.mark.parametrize("top", [1, 20, SIZE])
def test_precision_counts_who_leads_both_rankings(top):
    def of_row(scores, accuracy):
        leaders = [set(np.argsort(-values, kind="stable")[:top]) for values in (scores, accuracy)]
        return len(leaders[0] & leaders[1]) / top

    np.testing.assert_array_equal(evaluation.precision_at(SCORES, ACCURACY, top=top), rows(of_row))


MEASURES = {
    "kendall": evaluation.kendall,
    "spearman": evaluation.spearman,
    "ndcg": evaluation.ndcg,
    "precision": lambda scores, accuracy: evaluation.precision_at(scores, accuracy, top=20),
}


@pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES)
class TestEveryMeasure:
    def test_leading_axes_broadcast(self, measure):
        tasks = np.stack([ACCURACY, ACCURACY[::-1]])
        together = measure(SCORES[:, None], tasks)
        assert together.shape == (SEEDS, 2)
        assert together[3, 1] == measure(SCORES[3], tasks[1])

    def test_what_is_not_finite_does_not_count(self, measure):
        scores, accuracy = SCORES[0].copy(), ACCURACY.copy()
        scores[7], scores[70], accuracy[200], accuracy[7] = np.nan, np.inf, np.nan, -np.inf
        kept = np.isfinite(scores) & np.isfinite(accuracy)
        np.testing.assert_allclose(measure(scores, accuracy), measure(scores[kept], accuracy[kept]), rtol=1e-12)

    def test_a_perfect_ranking_has_1(self, measure):
        np.testing.assert_allclose(measure(np.exp(ACCURACY), ACCURACY), 1)

    def test_only_the_order_of_scores_matters(self, measure):
        np.testing.assert_allclose(measure(3 * SCORES**3, ACCURACY), measure(SCORES, ACCURACY), rtol=1e-12)


def test_a_constant_ranking_has_no_correlation():
    assert np.isnan(evaluation.kendall(np.ones(SIZE), ACCURACY))
    assert np.isnan(evaluation.spearman(ACCURACY, np.ones(SIZE)))


@pytest.mark.parametrize("num_finite", [0, 1])
def test_rankings_of_none_and_of_one_architecture(num_finite):
    scores = np.where(np.arange(3) < num_finite, 2.0, np.nan)
    accuracy = np.array([3.0, 2.0, 1.0])
    assert np.isnan(evaluation.kendall(scores, accuracy))
    assert np.isnan(evaluation.spearman(scores, accuracy))
    np.testing.assert_array_equal(evaluation.ndcg(scores, accuracy), 1 if num_finite else np.nan)
    assert evaluation.precision_at(scores, accuracy, top=3) == num_finite / 3


def test_theorem_1_against_simulation():
    """Simulate the rank of the best of h = rho T hits that lie uniformly among the true top T."""
    top, hits = 20, 6
    rng = np.random.default_rng(1)
    best = [rng.choice(np.arange(1, top + 1), hits, replace=False).min() for _ in range(20_000)]
    assert evaluation.expected_rank(hits / top, top) == pytest.approx(np.mean(best), rel=0.02)
    np.testing.assert_allclose(evaluation.expected_rank([0, 1], top), [top + 1, 1])


def test_regret_and_improvement():
    np.testing.assert_allclose(evaluation.simple_regret([94.0, 94.4], 94.4), [0.4, 0], atol=1e-12)
    np.testing.assert_allclose(evaluation.relative_improvement([94.5, 90.0], 90.0), [5, 0])


def test_the_bootstrap_interval_is_that_of_scipy():
    values = np.random.default_rng(2).normal(3, 2, 60)
    expected = scipy.stats.bootstrap((values,), np.mean, method="percentile", n_resamples=10_000, rng=0)
    np.testing.assert_allclose(evaluation.bootstrap_interval(values), expected.confidence_interval, atol=0.03)
    assert evaluation.bootstrap_interval(values, seed=1) == evaluation.bootstrap_interval(values, seed=1)
    narrow, wide = (evaluation.bootstrap_interval(values, level=level) for level in (0.5, 0.99))
    assert wide[0] < narrow[0] < values.mean() < narrow[1] < wide[1]


@pytest.mark.parametrize("num", [8, 40])
def test_the_paired_test_is_that_of_scipy(num):
    rng = np.random.default_rng(3)
    first, second = rng.normal(0.4, 1, num), rng.normal(0, 1, num)
    expected = scipy.stats.permutation_test(
        (first, second), lambda a, b: np.mean(a - b), permutation_type="samples", n_resamples=20_000, rng=0
    )
    found = evaluation.compare(first, second)
    assert found.p_value == pytest.approx(expected.pvalue, abs=1e-12 if num == 8 else 0.02)
    assert found.low < found.difference < found.high
    assert (found.wins, found.losses) == ((first > second).sum(), (first < second).sum())


def test_the_paired_test_holds_its_level():
    """Among pairs that differ only by chance 5 % have p <= 0.05."""
    rng = np.random.default_rng(4)
    found = [evaluation.compare(*rng.normal(size=(2, 10))).p_value <= 0.05 for _ in range(200)]
    assert np.mean(found) < 0.1


def test_rounding_of_decimals_breaks_no_tie():
    """The differences are -1, 1, 2, -1 and 3 tenths: 16 of the 32 sums of signs are as far from 0."""
    first, second = [90.1, 90.2, 90.3, 90.4, 90.7], [90.2, 90.1, 90.1, 90.5, 90.4]
    assert evaluation.compare(first, second).p_value == 0.5
    rng = np.random.default_rng(5)
    for scale in (1e-3, 1.0, 1e6):
        tenths = rng.integers(-4, 5, 9)
        patterns = np.array(list(itertools.product((-1, 1), repeat=9))) @ tenths
        expected = min(1, 2 * min((patterns >= tenths.sum()).mean(), (patterns <= tenths.sum()).mean()))
        level = 94.3 + rng.integers(0, 9, 9) / 100
        assert evaluation.compare((level + tenths / 10) * scale, level * scale).p_value == expected


def test_one_seed_decides_nothing():
    assert evaluation.compare([2.0], [1.5]) == (0.5, 0.5, 0.5, 1, 1, 0)


def test_equal_methods_differ_by_nothing():
    assert evaluation.compare([1.0, 2, 3], [1.0, 2, 3]) == (0, 0, 0, 1, 0, 0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: evaluation.compare([1.0, 2], [1.0]), "got 2 and 1"),
        (lambda: evaluation.compare([1.0, np.nan], [1.0, 2]), "`first` must be finite .* 1 NaN"),
        (lambda: evaluation.bootstrap_interval([]), "`values` must be finite"),
        (lambda: evaluation.precision_at(SCORES, ACCURACY, top=SIZE + 1), "`top` must be in 1 to 301, .* got 302"),
        (lambda: evaluation.kendall(1.0, 2.0), "must have shape .*architectures"),
        (lambda: evaluation.kendall([1.0, 2, 3], [5.0]), "`accuracy` must have 3 architectures"),
        (lambda: evaluation.ndcg(SCORES, ACCURACY, top=0), "`top` must be at least 1, got 0"),
        (lambda: evaluation.bootstrap_interval([1.0, 2], level=95.0), "`level` must be between 0 and 1, .* got 95"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(InputError, match=message):
        call()


@pytest.mark.parametrize(("right", "count"), [(0, 5), (5, 5), (37, 112), (112, 112)])
def test_wilsons_interval_is_that_of_scipy(right, count):
    expected = scipy.stats.binomtest(right, count).proportion_ci(method="wilson")
    found = evaluation.wilson_interval(100 * right / count, count)
    np.testing.assert_allclose(found, [100 * expected.low, 100 * expected.high], rtol=1e-9, atol=1e-9)


def test_an_accuracy_on_no_images_may_be_anything():
    assert evaluation.wilson_interval(50.0, 0) == (0, 100)
    assert evaluation.wilson_interval(np.nan, 10) == (0, 100)
