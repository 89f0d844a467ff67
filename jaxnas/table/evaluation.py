"""Measures of rankings and searches: rank correlations, the head of a ranking, and methods compared over seeds.

Functions on rankings take scores and accuracies [..., A], higher is better in both, and are vectorised over the leading
axes (seeds, proxies), which broadcast. Entries where either is NaN or inf do not count. They compute in float64.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeAlias, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Num, PRNGKeyArray
from numpy.typing import ArrayLike

from jaxnas.errors import InputError
from jaxnas.runtime.precision import in_float64
from jaxnas.table.normalize import mean_ranks

RESAMPLES = 10_000
BLOCK = 64  # rows of the matrix of pairs that are compared at once

Numbers: TypeAlias = ArrayLike | float  # beartype does not accept a float where ArrayLike names complex
# NumPy makes a scalar of an array without axes in arithmetic.
Values: TypeAlias = Float[np.ndarray, "..."] | np.float64
Row: TypeAlias = Float[Array, " A"]
Measure: TypeAlias = Callable[[Row, Row, Bool[Array, " A"], int | None], Num[Array, ""]]


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
    constant. Every pair is compared: A^2 steps.

    Source: Kendall 1945.
    """
    return _over_rankings(_kendall, scores, accuracy)


def spearman(scores: Numbers, accuracy: Numbers) -> Float[np.ndarray, "..."]:
    """Compute Spearman's rho: Pearson's correlation of mean ranks; [-1, 1], NaN if one ranking is constant.

    Source: Spearman 1904.
    """
    return _over_rankings(_spearman, scores, accuracy)


def ndcg(scores: Numbers, accuracy: Numbers, *, top: int | None = None) -> Float[np.ndarray, "..."]:
    """Compute the normalised discounted cumulative gain.

    It is sum_r accuracy(r-th by score) / log2(r + 1), divided by the largest such sum. r counts from 1 to `top` (all by
    default); architectures of equal score get their mean gain. [0, 1] for accuracies >= 0, NaN if all are 0.

    Source: Jarvelin and Kekalainen 2002, ties as McSherry and Najork 2008.
    """
    return _over_rankings(_ndcg, scores, accuracy, top)


def precision_at(scores: Numbers, accuracy: Numbers, *, top: int) -> Values:
    """Compute rho_T: the share of the `top` architectures by score that are among the `top` by accuracy; [0, 1].

    Ties go to the lower index, in both. Source: He et al. 2024 (arXiv:2403.07591), Precision @ T.

    Raises:
        InputError: there are fewer than `top` architectures.
    """
    size = np.shape(scores)[-1]
    if not 1 <= top <= size:
        raise InputError(f"`top` must be in 1 to {size}, the number of architectures, got {top}")
    return _over_rankings(_precision, scores, accuracy, top) / top


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

    Source: Efron 1979.

    Raises:
        InputError: there is no value, or one is not finite.
    """
    values = _finite_vector("values", values)
    means = _resampled_means(values, jax.random.key(seed))
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def compare(first: Numbers, second: Numbers, *, level: float = 0.95, seed: int = 0) -> Comparison:
    """Compare two methods on the same seeds or tasks by a sign-flip permutation test of their mean difference.

    Under the hypothesis that neither is better the sign of each pair's difference is a coin. The p-value is the share
    of sign patterns whose mean is at least as far from 0: of all 2^S patterns up to S = 13, else of 10,000 drawn and
    the observed one. 1 if all differences are 0. Source: Fisher 1935.

    Raises:
        InputError: the two differ in length or hold a value that is not finite.
    """
    first, second = _finite_vector("first", first), _finite_vector("second", second)
    if first.shape != second.shape:
        raise InputError(f"`first` and `second` must hold one result per seed each, got {len(first)} and {len(second)}")
    differences = first - second
    low, high = bootstrap_interval(differences, level=level, seed=seed)
    means = _flipped_means(differences, seed)
    p_value = float((np.abs(means) >= abs(differences.mean()) - 1e-12 * np.abs(differences).max()).mean())
    wins, losses = int((differences > 0).sum()), int((differences < 0).sum())
    return Comparison(float(differences.mean()), low, high, p_value, wins, losses)


def _over_rankings(
    function: Measure, scores: Numbers, accuracy: Numbers, top: int | None = None
) -> Num[np.ndarray, "..."]:
    """Compute `function` for every ranking [A] of the leading axes, which broadcast."""
    scores, accuracy = np.broadcast_arrays(np.asarray(scores, np.float64), np.asarray(accuracy, np.float64))
    if scores.ndim == 0 or scores.shape[-1] == 0:
        raise InputError(f"`scores` must have shape [..., architectures], got {scores.shape}")
    size, leading = scores.shape[-1], scores.shape[:-1]
    rows = _rows(scores.reshape(-1, size), accuracy.reshape(-1, size), function, top)
    return np.asarray(rows).reshape(leading)


@in_float64
@partial(jax.jit, static_argnames=("function", "top"))
def _rows(
    scores: Float[Array, "R A"], accuracy: Float[Array, "R A"], function: Measure, top: int | None
) -> Num[Array, " R"]:
    def of_row(pair: tuple[Row, Row]) -> Num[Array, ""]:
        counted = jnp.isfinite(pair[0]) & jnp.isfinite(pair[1])
        # What does not count ties at the end of both rankings.
        rankings = [jnp.where(counted, values, -jnp.inf) for values in pair]
        return function(rankings[0], rankings[1], counted, top)

    return cast(Array, lax.map(of_row, (scores, accuracy)))


def _kendall(scores: Row, accuracy: Row, counted: Bool[Array, " A"], top: int | None) -> Num[Array, ""]:
    size = len(scores)
    starts = jnp.arange(0, size, BLOCK)
    rows = jnp.arange(BLOCK)

    def block(start: Num[Array, ""]) -> Float[Array, "3"]:
        chosen = jnp.minimum(start + rows, size - 1)
        real = (start + rows < size) & counted[chosen]
        signs = [jnp.sign(_difference(values[chosen][:, None], values[None, :])) for values in (scores, accuracy)]
        both = real[:, None] & counted[None, :]
        sums = [signs[0] * signs[1], jnp.abs(signs[0]), jnp.abs(signs[1])]
        return jnp.stack([jnp.sum(jnp.where(both, values, 0)) for values in sums])

    excess, untied_in_scores, untied_in_accuracy = lax.map(block, starts).sum(0)
    return jnp.asarray(excess / jnp.sqrt(untied_in_scores * untied_in_accuracy))


def _difference(a: Float[Array, "..."], b: Float[Array, "..."]) -> Float[Array, "..."]:
    return jnp.where(a == b, 0.0, a - b)  # also where both are -inf


def _spearman(scores: Row, accuracy: Row, counted: Bool[Array, " A"], top: int | None) -> Num[Array, ""]:
    ranks = [mean_ranks(values) for values in (scores, accuracy)]
    num = counted.sum()
    centred = [jnp.where(counted, rank - jnp.sum(rank, where=counted) / num, 0) for rank in ranks]
    return jnp.sum(centred[0] * centred[1]) / jnp.sqrt(jnp.sum(centred[0] ** 2) * jnp.sum(centred[1] ** 2))


def _ndcg(scores: Row, accuracy: Row, counted: Bool[Array, " A"], top: int | None) -> Num[Array, ""]:
    size = len(scores)
    position = jnp.arange(size, dtype=accuracy.dtype)
    discount = jnp.where(position < (size if top is None else top), 1 / jnp.log2(position + 2), 0.0)
    gain = jnp.where(counted, accuracy, 0.0)
    order = jnp.argsort(-scores, stable=True)
    starts_group = jnp.diff(scores[order], prepend=jnp.inf) != 0
    group = jnp.cumsum(starts_group) - 1
    of_group = [jax.ops.segment_sum(values, group, size) for values in (gain[order], discount, jnp.ones(size))]
    dcg = jnp.sum(of_group[0] * of_group[1] / jnp.maximum(of_group[2], 1))
    return dcg / jnp.sum(jnp.sort(gain)[::-1] * discount)


def _precision(scores: Row, accuracy: Row, counted: Bool[Array, " A"], top: int | None) -> Num[Array, ""]:
    num_leaders = len(scores) if top is None else top
    leaders = [
        jnp.zeros(len(scores), bool).at[lax.top_k(values, num_leaders)[1]].set(True) for values in (scores, accuracy)
    ]
    return jnp.sum(leaders[0] & leaders[1] & counted)


def _finite_vector(name: str, values: Any) -> Float[np.ndarray, " S"]:
    vector = np.asarray(values, np.float64)
    if vector.ndim != 1 or vector.size == 0 or not np.isfinite(vector).all():
        num_bad = (~np.isfinite(vector)).sum()
        raise InputError(
            f"`{name}` must be finite values of shape [seeds], got shape {vector.shape} with {num_bad} NaN or inf"
        )
    return vector


@in_float64
@jax.jit
def _resampled_means(values: Float[Array, " S"], key: PRNGKeyArray) -> Float[Array, " R"]:
    keys = jax.random.split(key, RESAMPLES)
    means = lax.map(lambda key: jax.random.choice(key, values, values.shape).mean(), keys, batch_size=100)
    return cast(Array, means)


def _flipped_means(differences: Float[np.ndarray, " S"], seed: int) -> Float[np.ndarray, " P"]:
    """Compute the mean difference under each of the sign patterns."""
    num = len(differences)
    if 2**num <= RESAMPLES:
        patterns = (np.arange(2**num)[:, None] >> np.arange(num)) & 1
    else:
        drawn = np.random.default_rng(seed).integers(0, 2, (RESAMPLES, num))
        patterns = np.concatenate([np.ones((1, num), int), drawn])  # with the observed one
    means: Float[np.ndarray, " P"] = (2 * patterns - 1) @ differences / num
    return means
