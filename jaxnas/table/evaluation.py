"""Measures of rankings and searches: rank correlations, the head of a ranking, and methods compared over seeds.

Functions on rankings take scores and accuracies [..., A], higher is better in both, and work on each ranking of the
leading axes (seeds, proxies), which broadcast. Entries where either is NaN or inf do not count. SciPy and scikit-learn
compute the statistics, in float64; both are imported on first use, as they take a second to load.
"""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from jaxnas.errors import InputError
from jaxnas.table.missing import to_floats

RESAMPLES = 10_000

Numbers: TypeAlias = ArrayLike | float  # beartype does not accept a float where ArrayLike names complex
# NumPy makes a scalar of an array without axes in arithmetic.
Values: TypeAlias = Float[np.ndarray, "..."] | np.float64
Row: TypeAlias = Float[np.ndarray, " A"]


class Comparison(NamedTuple):
    """The comparison of two methods over the same seeds."""

    difference: float  # mean of first - second, in their unit
    low: float  # bounds of its bootstrap interval
    high: float
    p_value: float  # of the hypothesis that neither is better, two-sided
    wins: int  # seeds on which the first is better
    losses: int


def kendall(scores: Numbers, accuracy: Numbers) -> Float[np.ndarray, "..."]:
    """Compute Kendall's tau-b, in [-1, 1].

    (concordant - discordant) / sqrt((pairs untied in one) (pairs untied in the other)). NaN where one of the two is
    constant.

    Source: Kendall 1945.
    """
    from scipy.stats import kendalltau

    def correlate(scores: Row, accuracy: Row) -> float:
        return np.nan if _constant(scores, accuracy) else float(kendalltau(scores, accuracy).statistic)

    return _over_rankings(correlate, scores, accuracy)


def spearman(scores: Numbers, accuracy: Numbers) -> Float[np.ndarray, "..."]:
    """Compute Spearman's rho: Pearson's correlation of mean ranks; [-1, 1], NaN if one ranking is constant.

    Source: Spearman 1904.
    """
    from scipy.stats import rankdata

    def correlate(scores: Row, accuracy: Row) -> float:
        return np.nan if _constant(scores, accuracy) else np.corrcoef(rankdata(scores), rankdata(accuracy))[0, 1]

    return _over_rankings(correlate, scores, accuracy)


def ndcg(scores: Numbers, accuracy: Numbers, *, top: int | None = None) -> Float[np.ndarray, "..."]:
    """Compute the normalised discounted cumulative gain.

    It is sum_r accuracy(r-th by score) / log2(r + 1), divided by the largest such sum. r counts from 1 to `top` (all by
    default); architectures of equal score get their mean gain. [0, 1] for accuracies >= 0, NaN if all are 0.

    Source: Jarvelin and Kekalainen 2002, ties as McSherry and Najork 2008.

    Raises:
        InputError: `top` is below 1.
    """
    from scipy.stats import rankdata
    from sklearn.metrics import dcg_score

    if top is not None and top < 1:
        raise InputError(f"`top` must be at least 1, got {top}")

    def compute(scores: Row, accuracy: Row) -> float:
        # Two last architectures without gain change no sum; scikit-learn accepts no ranking of fewer than two.
        gain, ranks = (np.append(values, [0, 0])[None] for values in (accuracy, rankdata(scores, method="dense")))
        best = dcg_score(gain, gain, k=top)
        return float(dcg_score(gain, ranks, k=top) / best) if best else np.nan

    return _over_rankings(compute, scores, accuracy)


def precision_at(scores: Numbers, accuracy: Numbers, *, top: int) -> Values:
    """Compute rho_T: the share of the `top` architectures by score that are among the `top` by accuracy; [0, 1].

    Ties go to the lower index, in both. Source: He et al. 2024 (arXiv:2403.07591), Precision @ T.

    Raises:
        InputError: there are fewer than `top` architectures.
    """
    size = np.shape(scores)[-1]
    if not 1 <= top <= size:
        raise InputError(f"`top` must be in 1 to {size}, the number of architectures, got {top}")

    def count(scores: Row, accuracy: Row) -> int:
        first, second = (np.argsort(-values, kind="stable")[:top] for values in (scores, accuracy))
        return len(np.intersect1d(first, second))

    return _over_rankings(count, scores, accuracy) / top


def expected_rank(precision: Numbers, top: int) -> Values:
    """Compute (T + 1) / (rho_T T + 1): the expected true rank, from 1, of the best of the T leaders of a ranking.

    T = `top`, rho_T its precision; the hits are taken to lie uniformly among the true top T. T + 1 stands for "not
    among them" where there is no hit. Source: He et al. 2024 (arXiv:2403.07591), theorem 1.
    """
    return (top + 1) / (np.asarray(precision, np.float64) * top + 1)


def simple_regret(found: Numbers, optimum: float) -> Values:
    """Compute optimum - found, in their unit; >= 0 if `optimum` is the best value, lower is better."""
    return optimum - np.asarray(found, np.float64)


def relative_improvement(found: Numbers, random_mean: float) -> Values:
    """Compute 100 (found - random_mean) / random_mean, in %: what a search adds to the mean of random architectures.

    Source: Yang, Esperanca, Carlucci 2020, "NAS evaluation is frustratingly hard" (arXiv:1912.12522).
    """
    return 100 * (np.asarray(found, np.float64) - random_mean) / random_mean


def bootstrap_interval(values: Numbers, *, level: float = 0.95, seed: int = 0) -> tuple[float, float]:
    """Compute the percentile interval of the mean over S seeds, from 10,000 resamples.

    Both bounds are the value itself where there is one seed.

    Source: Efron 1979.

    Raises:
        InputError: there is no value, one is not finite, or `level` is not between 0 and 1.
    """
    from scipy.stats import bootstrap

    if not 0 < level < 1:
        raise InputError(f"`level` must be between 0 and 1, such as 0.95, got {level}")

    values = _finite_vector("values", values)
    if len(values) == 1:
        return float(values[0]), float(values[0])
    found = bootstrap(
        (values,), np.mean, n_resamples=RESAMPLES, confidence_level=level, method="percentile", rng=seed
    ).confidence_interval
    return float(found.low), float(found.high)


def wilson_interval(accuracy: float, count: int, *, level: float = 0.95) -> tuple[float, float]:
    """Compute Wilson's interval of an accuracy in percent that was measured on `count` images.

    It stays within 0 to 100 and has a width also at the ends; (0, 100) for no images or NaN.

    Source: Wilson 1927.

    Raises:
        InputError: `level` is not between 0 and 1.
    """
    from scipy.special import ndtri

    if not 0 < level < 1:
        raise InputError(f"`level` must be between 0 and 1, such as 0.95, got {level}")
    if count == 0 or np.isnan(accuracy):
        return 0.0, 100.0
    z, share = float(ndtri((1 + level) / 2)), accuracy / 100
    centre = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z * (share * (1 - share) / count + z**2 / (4 * count**2)) ** 0.5 / (1 + z**2 / count)
    return 100 * max(0.0, centre - half), 100 * min(1.0, centre + half)


def compare(first: Numbers, second: Numbers, *, level: float = 0.95, seed: int = 0) -> Comparison:
    """Compare two methods on the same seeds or tasks by a sign-flip permutation test of their mean difference.

    Under the hypothesis that neither is better, the sign of each pair's difference is a fair coin. The p-value is
    two-sided: twice the smaller share of sign patterns whose mean is at least as far on one side, at most 1. All 2^S
    patterns are compared up to S = 13, else 10,000 random ones and the observed one. It is 1 if all differences are 0.

    Source: Fisher 1935.

    Raises:
        InputError: the two differ in length or hold a value that is not finite.
    """
    first, second = _finite_vector("first", first), _finite_vector("second", second)
    if first.shape != second.shape:
        raise InputError(f"`first` and `second` must hold one result per seed each, got {len(first)} and {len(second)}")
    differences = first - second
    low, high = bootstrap_interval(differences, level=level, seed=seed)
    wins, losses = int((differences > 0).sum()), int((differences < 0).sum())
    return Comparison(float(differences.mean()), low, high, _p_value(first, second, seed), wins, losses)


def _p_value(first: Float[np.ndarray, " S"], second: Float[np.ndarray, " S"], seed: int) -> float:
    from scipy.stats import permutation_test

    if len(first) == 1:
        return 1.0  # each of the two signs is as far from 0

    # Accuracies are decimals. Their differences in units of a decimal place are whole numbers, whose sums are exact, so
    # that equal sums count as equal.
    largest = max(np.abs(first).max(), np.abs(second).max()) or 1.0
    differences = np.rint((first - second) * 10.0 ** (11 - np.ceil(np.log10(largest))))
    found = permutation_test(
        (differences, np.zeros_like(differences)),
        lambda first, second, axis: np.sum(first - second, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=RESAMPLES,
        rng=seed,
    )
    return float(found.pvalue)


def _constant(*rankings: Row) -> bool:
    return any(len(values) == 0 or values.min() == values.max() for values in rankings)


def _over_rankings(
    measure: Callable[[Row, Row], float], scores: Numbers, accuracy: Numbers
) -> Float[np.ndarray, "..."]:
    """Compute `measure` of the finite entries of every ranking [A] of the leading axes, which broadcast."""
    scores, accuracy = to_floats("scores", scores), to_floats("accuracy", accuracy)
    if scores.ndim == 0 or scores.shape[-1] == 0:
        raise InputError(f"`scores` must have shape [..., architectures], got {scores.shape}")
    if accuracy.shape[-1:] != scores.shape[-1:]:
        raise InputError(f"`accuracy` must have {scores.shape[-1]} architectures as `scores`, got {accuracy.shape}")
    scores, accuracy = np.broadcast_arrays(scores, accuracy)
    finite = np.isfinite(scores) & np.isfinite(accuracy)
    values = [measure(scores[row][finite[row]], accuracy[row][finite[row]]) for row in np.ndindex(scores.shape[:-1])]
    return np.array(values, np.float64).reshape(scores.shape[:-1])


def _finite_vector(name: str, values: Numbers) -> Float[np.ndarray, " S"]:
    vector = to_floats(name, values)
    if vector.ndim != 1 or vector.size == 0 or not np.isfinite(vector).all():
        num_bad = (~np.isfinite(vector)).sum()
        raise InputError(
            f"`{name}` must be finite values of shape [seeds], got shape {vector.shape} with {num_bad} NaN or inf"
        )
    return vector
