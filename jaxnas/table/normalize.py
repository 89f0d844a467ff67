"""Normalisation of raw proxy scores to the score table that a search combines."""

from collections.abc import Callable
from statistics import NormalDist
from typing import NamedTuple, TypeAlias, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtri
from jaxtyping import Array, Bool, Float, Int
from numpy.typing import ArrayLike

from jaxnas.errors import InputError, unknown_name
from jaxnas.table.missing import to_floats

ArrayT = TypeVar("ArrayT", np.ndarray, Array)


class TableReport(NamedTuple):
    """The masked scores of `normalize`, one entry for each of the M proxies.

    Attributes:
        num_nan: The number of NaN.
        num_posinf: The number of inf.
        num_neginf: The number of -inf.
        constant: Whether all finite scores are equal: the column is 0 and ranks nothing.
        empty: Whether no score is finite: the column is 0.
    """

    num_nan: Int[np.ndarray, " M"]
    num_posinf: Int[np.ndarray, " M"]
    num_neginf: Int[np.ndarray, " M"]
    constant: Bool[np.ndarray, " M"]
    empty: Bool[np.ndarray, " M"]

    @property
    def usable(self) -> Bool[np.ndarray, " M"]:
        """Whether each column ranks at least two architectures [M]."""
        return np.asarray(np.logical_not(self.constant | self.empty))


def normalize(scores: ArrayLike, method: str = "minmax") -> tuple[Float[np.ndarray, "A M"], TableReport]:
    """Scale the scores of every proxy to one range.

    NaN, inf and missing values are masked: they get the least value of their normalised column (0 for "minmax" and
    "rank"), as in the published code. They mostly belong to networks whose output does not depend on the image. The
    mean of the column instead would let such a network win by its other proxies, in a fifth of RoBoT's runs on
    NAS-Bench-201. Constant and empty columns become 0.

    Args:
        scores: Raw scores [A M] of A architectures by M proxies; the direction of each column is kept.
        method: A name in `NORMALIZATIONS`.

    Returns:
        The table [A M] in float64, in [0, 1] for "minmax" and "rank", and what was masked.

    Raises:
        InputError: The scores are not [A M], A or M is 0, no column is usable, or the method is unknown.
    """
    if method not in NORMALIZATIONS:
        raise unknown_name("normalization", method, NORMALIZATIONS)
    scores = to_floats("scores", scores)
    if scores.ndim != 2 or scores.size == 0:
        raise InputError(
            f"`scores` must have a row for each architecture and a column for each proxy, got shape {scores.shape}"
        )
    report = _inspect(scores)
    if not report.usable.any():
        raise InputError(
            f"no proxy can rank the {len(scores)} architectures ({report.constant.sum()} of {scores.shape[1]} columns "
            f"constant, {report.empty.sum()} without a finite value): score more architectures or other proxies"
        )
    table = np.zeros_like(scores)
    for column in np.flatnonzero(report.usable):
        finite = np.isfinite(scores[:, column])
        scaled = NORMALIZATIONS[method](scores[finite, column])
        table[:, column] = scaled.min()
        table[finite, column] = scaled
    return table, report


def combine(table: ArrayT, weights: ArrayT) -> ArrayT:
    """Return M(a; w) = sum_i w_i table[a, i] [A] of a score table [A M] and proxy weights [M].

    This is a sum over an axis, because in a matrix product equal rows can differ in the last bit, which breaks ties.
    """
    combined: ArrayT = (table * weights[None, :]).sum(axis=-1)
    return combined


def mean_ranks(values: Float[Array, " A"]) -> Float[Array, " A"]:
    """Return the ranks [A] from 1, that of the lowest value; ties share their mean rank."""
    ordered = jnp.sort(values)
    below, through = (jnp.searchsorted(ordered, values, side=side).astype(values.dtype) for side in ("left", "right"))
    return (below + 1 + through) / 2


def normal_quantiles(columns: Float[Array, "A M"]) -> Float[Array, "A M"]:
    """Return Phi^-1(rank / (A + 1)) of each column, ranks as by `mean_ranks`."""
    return ndtri(jax.vmap(mean_ranks, 1, 1)(columns) / (len(columns) + 1))


def _inspect(scores: Float[np.ndarray, "A M"]) -> TableReport:
    finite = np.isfinite(scores)
    empty = ~finite.any(axis=0)
    lowest = np.where(finite, scores, np.inf).min(axis=0)
    highest = np.where(finite, scores, -np.inf).max(axis=0)
    return TableReport(
        num_nan=np.isnan(scores).sum(axis=0),
        num_posinf=np.isposinf(scores).sum(axis=0),
        num_neginf=np.isneginf(scores).sum(axis=0),
        constant=~empty & (lowest == highest),
        empty=empty,
    )


def _minmax(values: Float[np.ndarray, " A"]) -> Float[np.ndarray, " A"]:
    """Return (x - min) / (max - min)."""
    _, exponent = np.frexp(np.abs(values).max())
    values = np.ldexp(values, -exponent)  # exact, and max - min cannot overflow
    return np.asarray(np.divide(values - values.min(), values.max() - values.min()))


def _positions(values: Float[np.ndarray, " A"]) -> Float[np.ndarray, " A"]:
    """Return the ranks from 0; ties share their mean rank."""
    _, group, size = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(size) - (size + 1) / 2)[group])


def _rank(values: Float[np.ndarray, " A"]) -> Float[np.ndarray, " A"]:
    """Return rank / (A - 1), with ranks from 0."""
    return _positions(values) / (len(values) - 1)


def _zrank(values: Float[np.ndarray, " A"]) -> Float[np.ndarray, " A"]:
    """Return the normal quantile of (rank + 1/2) / A, with mean near 0 and deviation near 1 for any distribution."""
    levels = (_positions(values) + 0.5) / len(values)
    return np.array([NormalDist().inv_cdf(level) for level in levels])


def _clip(values: Float[np.ndarray, " A"]) -> Float[np.ndarray, " A"]:
    """Return min-max of the values clipped to their 1st and 99th percentiles, or of all if these are equal."""
    lowest, highest = np.quantile(values, [0.01, 0.99])
    return _minmax(np.clip(values, lowest, highest) if lowest < highest else values)


def _log(values: Float[np.ndarray, " A"]) -> Float[np.ndarray, " A"]:
    """Return min-max of sign(x) log(1 + |x| / s), s the median of the |x| > 0: one scale for all magnitudes."""
    with np.errstate(divide="ignore"):
        log_size = np.log(np.abs(values))
    typical = np.median(log_size[np.isfinite(log_size)])
    return _minmax(np.sign(values) * np.logaddexp(0.0, log_size - typical))


Column: TypeAlias = Float[np.ndarray, " A"]
NORMALIZATIONS: dict[str, Callable[[Column], Column]] = {
    "minmax": _minmax,
    "rank": _rank,
    "zrank": _zrank,
    "clip": _clip,
    "log": _log,
}
