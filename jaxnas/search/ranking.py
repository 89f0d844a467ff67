"""A ranking of a whole pool from few labels: the posterior of `proxy_gp` for observations of any choice.

`proxy_gp` draws one combination of its grid at every step, because its queries should differ. A ranking is the mean
over all of them by their evidence, so that the same observations always give the same ranking.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float, Int, Int8
from numpy.typing import ArrayLike

from jaxnas.errors import InputError
from jaxnas.runtime.names import Direction
from jaxnas.runtime.session import in_float64
from jaxnas.runtime.settings import Whole, check_whole
from jaxnas.search.inputs import make_pool
from jaxnas.search.pool import Pool
from jaxnas.search.proxy_gp import CONSTANT, NOISE, VARIANCE, describe, prior_variance, proxy_gp, warp, weigh
from jaxnas.search.result import sign_of
from jaxnas.spaces import find_rows
from jaxnas.table.missing import to_floats
from jaxnas.table.normalize import normalize

ROOM = 64  # observations are padded to a multiple of this, so that few programs are compiled
BLOCK = 2048  # architectures whose posterior is computed together: bounds the memory
MOST = 512  # observations of an earlier task by which others are predicted: time grows with their square

Observed: TypeAlias = Mapping[Whole, object] | tuple[ArrayLike, ArrayLike]


class Ranking(NamedTuple):
    """The posterior of every architecture of a pool.

    The unit is that of normal scores: the architecture whose mean is 0 is expected in the middle of those observed, one
    of mean 1 above 84 % of them.

    Attributes:
        mean: The expected normal score [A]; higher is better, also for an objective that is minimised.
        std: Its standard deviation [A], without the noise of an observation.
    """

    mean: Float[np.ndarray, " A"]
    std: Float[np.ndarray, " A"]

    @property
    def order(self) -> Int[np.ndarray, " A"]:
        """The rows of the pool from the best to the worst; ties go to the lower row."""
        return np.argsort(-self.mean, kind="stable")


def predict_ranking(
    scores: ArrayLike | None = None,
    archs: ArrayLike | None = None,
    observed: Observed | None = None,
    *,
    direction: Direction = "maximize",
) -> Ranking:
    """Rank all architectures of a pool by proxies, by their decisions and by the objectives of a few of them.

    Args:
        scores: Scores [A M], raw or normalised, of which the ranks are read: higher is better, see
            `jaxnas.proxies.orient`; NaN and inf are the worst. None to rank without proxies.
        archs: The architectures [A D] as vectors of their space. None to rank by the scores alone.
        observed: The objectives of some architectures: a mapping from their rows to values, or rows [n] and values [n].
            Only the order of the values is read; NaN or inf is a failed candidate, which counts as the worst. None to
            rank by the scores alone.
        direction: Whether a large or a small objective is good.

    Returns:
        Mean and standard deviation of every architecture, also of those observed.

    Raises:
        InputError: There is nothing to rank by, or arguments do not fit each other.
    """
    if scores is not None:
        table = normalize(scores)[0]
    elif archs is not None:
        table = np.zeros((len(np.atleast_1d(np.asarray(archs))), 1))
    else:
        raise InputError("there is nothing to rank by: give `scores`, `archs` or both")
    if not len(table):
        raise InputError("`archs` must have a row for each architecture, got none")
    pool = make_pool(proxy_gp, table, archs, (1,))
    rows, values = _read_observed(observed, len(table))
    if scores is None and not len(rows):
        raise InputError("without `scores` there is nothing to rank by before an observation: give `observed`")
    room = ROOM * max(1, -(-len(rows) // ROOM))
    item, objective = np.zeros(room, np.int32), np.full(room, np.nan)
    item[: len(rows)], objective[: len(rows)] = rows, sign_of(direction) * values
    mean, std = _predict(pool, item, objective, np.int32(len(rows)), block=min(BLOCK, len(table)))
    return Ranking(np.asarray(mean), np.asarray(std))


def _read_observed(observed: Observed | None, num_archs: int) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Return the observed rows and values.

    Raises:
        InputError: A row is not one of the pool or comes twice, or a value is not a number.
    """
    pair: Any = ((), ()) if observed is None else observed
    if isinstance(pair, Mapping):
        pair = list(pair), list(pair.values())
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        shown = type(observed).__name__
        raise InputError(f"`observed` must be a mapping from rows to values, or a pair of rows and values, got {shown}")
    given, values = np.ravel(np.asarray(pair[0])).tolist(), to_floats("observed", pair[1]).ravel()
    if len(given) != len(values):
        raise InputError(f"`observed` must have a value for each row, got {len(given)} rows and {len(values)} values")
    rows = np.array([check_whole("observed", row, 0, num_archs - 1, ", the rows of the pool") for row in given], int)
    found, counts = np.unique(rows, return_counts=True)
    if (counts > 1).any():
        raise InputError(f"`observed` must have each row once, got row {found[counts > 1][0]} more than once")
    return rows, values


def carry_over(
    archs: Int8[np.ndarray, "B D"], values: Float[np.ndarray, " B"], pool: Int8[np.ndarray, "A D"]
) -> Float[np.ndarray, " A"]:
    """Return what an earlier task says of the architectures of a pool, for `earlier` of a search.

    Args:
        archs: The architectures that the earlier task evaluated, distinct.
        values: Their objectives, higher is better; NaN or inf is a failed candidate, which counts as the worst.
        pool: The architectures of the search, distinct.

    Returns:
        Normal scores: of the objectives where the earlier task evaluated an architecture, and of the posterior by the
        decisions of up to `MOST` of them elsewhere.

    Raises:
        InputError: There is no architecture, or vectors of both have different lengths.
    """
    if archs.ndim != 2 or archs.shape[1:] != pool.shape[1:] or not len(archs):
        raise InputError(f"`archs` must be vectors of {pool.shape[1]} decisions, got shape {archs.shape}")
    finite = np.isfinite(values)
    values = np.where(finite, values, values[finite].min() if finite.any() else 0.0)
    scores = np.asarray(in_float64(jax.jit(warp))(values, np.int32(len(values))))
    of_pool = find_rows(archs, pool)
    if (of_pool >= 0).all():
        return np.asarray(scores[of_pool])
    others = archs[find_rows(pool, archs) < 0]
    union = np.concatenate([pool, others])
    chosen = np.random.default_rng(0).permutation(len(archs))[:MOST]
    few = find_rows(union, archs[chosen]), values[chosen]
    predicted = predict_ranking(archs=union, observed=few).mean[: len(pool)]
    return np.asarray(np.where(of_pool >= 0, scores[of_pool], predicted))


@in_float64
@partial(jax.jit, static_argnames="block")
def _predict(
    pool: Pool, item: Int[Array, " T"], objective: Float[Array, " T"], count: Int[Array, ""], *, block: int
) -> tuple[Float[Array, " A"], Float[Array, " A"]]:
    """Return mean and deviation of every architecture, the mixture over the grid by evidence."""
    with jax.ensure_compile_time_eval():  # else what gpjax draws on import is recorded in this trace
        from jaxnas.search.kernels import covariance_with

    features, room = describe(pool), len(item)
    used = jnp.arange(room) < count
    of_arch = features.scores, features.op_counts, pool.archs

    def covary(others: Int[Array, " B"]) -> Float[Array, "G T B"]:
        """Return the covariances of the observed with others, 0 for padding."""
        near = tuple(x[jnp.concatenate([item, others])] for x in of_arch)
        parts = covariance_with(jnp.arange(room), *near)[:, :, room:]
        return jnp.where(used[:, None], CONSTANT + jnp.einsum("gc,ctb->gtb", VARIANCE, parts), 0)

    gram = jnp.where(used, covary(item), 0) + jnp.eye(room) * jnp.where(used, NOISE[:, None], 1)[:, None, :]
    whitening = jax.vmap(lambda root: solve_triangular(root, jnp.eye(room), lower=True))(jnp.linalg.cholesky(gram))
    slopes, means = jnp.array(features.slopes), jnp.where(used[:, None], features.means[item], 0)
    residual, log_evidence = weigh(whitening, warp(objective, count), means, slopes, used)
    share = jnp.exp(log_evidence - jax.nn.logsumexp(log_evidence))  # [G S]
    before = prior_variance(features.scores)

    def predict(others: Int[Array, " B"]) -> tuple[Float[Array, " B"], Float[Array, " B"]]:
        white = whitening @ covary(others)
        mean = slopes @ features.means[others].T + residual @ white  # [G S B]
        variance = before[:, others] - jnp.sum(white**2, axis=1)
        expected = jnp.einsum("gs,gsb->b", share, mean)
        spread = jnp.einsum("gs,gsb->b", share, (mean - expected) ** 2)
        return expected, jnp.sqrt(jnp.maximum(share.sum(1) @ variance + spread, 0))

    num_blocks = -(-pool.num_archs // block)
    blocks = jnp.minimum(jnp.arange(num_blocks * block), pool.num_archs - 1).reshape(num_blocks, block)
    mean, std = lax.map(predict, blocks)
    return mean.ravel()[: pool.num_archs], std.ravel()[: pool.num_archs]
