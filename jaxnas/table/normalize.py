"""From raw proxy scores to the score table that the search combines."""

from collections.abc import Callable
from statistics import NormalDist
from typing import Any, NamedTuple, TypeAlias

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxnas.errors import InputError, unknown_name


class TableReport(NamedTuple):
    """What `normalize` masked, one entry per proxy."""

    num_nan: Int[np.ndarray, " M"]
    num_posinf: Int[np.ndarray, " M"]
    num_neginf: Int[np.ndarray, " M"]
    constant: Bool[np.ndarray, " M"]  # all finite entries equal: the column is 0 and cannot rank
    empty: Bool[np.ndarray, " M"]  # no finite entry: the column is 0

    @property
    def usable(self) -> Bool[np.ndarray, " M"]:
        """Columns that rank at least two architectures."""
        return np.logical_not(self.constant | self.empty)


def normalize(scores: Any, method: str = "minmax") -> tuple[Float[np.ndarray, "A M"], TableReport]:
    """Bring every proxy to one scale; the only place that decides about NaN, inf and useless columns.

    NaN and inf entries are masked: they get the least value of their normalised column (0 for "minmax" and "rank"), as
    in the published code. They are mostly networks whose output does not depend on the image; the mean of the column
    instead lets such a network win by its other proxies and costs RoBoT a fifth of its runs on NAS-Bench-201.
    Constant and empty columns become 0.

    Args: scores [A M], raw, larger or smaller may be better; method, a name in `NORMALIZATIONS`.
    Returns: the table [A M] in float64, in [0, 1] for "minmax" and "rank", and what was masked.
    Raises: InputError if scores is not [A M], A or M is 0, no column is usable, or the method is unknown.
    """
    if method not in NORMALIZATIONS:
        raise unknown_name("normalization", method, NORMALIZATIONS)
    scores = np.asarray(scores, dtype=np.float64)
    if scores.ndim != 2 or scores.size == 0:
        raise InputError(f"scores have shape {scores.shape}: give one row per architecture and one column per proxy")
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


def combine(table: Any, weights: Any) -> Any:
    """M(a; w) = sum_i w_i table[a, i], one value [A] per architecture, for NumPy and JAX arrays [A M] and [M].

    A sum over an axis rather than a matrix product: there equal rows can differ in the last bit, which breaks ties.
    """
    return (table * weights[None, :]).sum(axis=-1)


def mean_ranks(values: Float[Array, " A"]) -> Float[Array, " A"]:
    """Ranks from 1, the lowest; ties share their mean. For JAX arrays."""
    ordered = jnp.sort(values)
    below, through = (jnp.searchsorted(ordered, values, side=side).astype(values.dtype) for side in ("left", "right"))
    return (below + 1 + through) / 2


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
    """(x - min) / (max - min)."""
    _, exponent = np.frexp(np.abs(values).max())
    values = np.ldexp(values, -exponent)  # exact, and max - min cannot overflow
    return np.divide(values - values.min(), values.max() - values.min())


def _positions(values: Float[np.ndarray, " A"]) -> Float[np.ndarray, " A"]:
    """Rank from 0, ties sharing their average."""
    _, group, size = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(size) - (size + 1) / 2)[group]


def _rank(values: Float[np.ndarray, " A"]) -> Float[np.ndarray, " A"]:
    """Rank / (A - 1)."""
    return _positions(values) / (len(values) - 1)


def _zrank(values: Float[np.ndarray, " A"]) -> Float[np.ndarray, " A"]:
    """Normal quantile of (rank + 1/2) / A: about mean 0 and deviation 1 whatever the distribution of scores."""
    levels = (_positions(values) + 0.5) / len(values)
    return np.array([NormalDist().inv_cdf(level) for level in levels])


def _clip(values: Float[np.ndarray, " A"]) -> Float[np.ndarray, " A"]:
    """Min-max after all beyond the 1st and the 99th percentile moved there; of all values if nothing would be left."""
    lowest, highest = np.quantile(values, [0.01, 0.99])
    return _minmax(np.clip(values, lowest, highest) if lowest < highest else values)


def _log(values: Float[np.ndarray, " A"]) -> Float[np.ndarray, " A"]:
    """Min-max of sign(x) log(1 + |x| / s), s the median of |x| where x is not 0: one scale for all magnitudes."""
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
