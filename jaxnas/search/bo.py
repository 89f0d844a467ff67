"""Bayesian optimisation over proxy weights as init, ask, tell.

`ask`, `tell` and `best_weights` are jitted in float64 (see `runtime.session`). Buffers have the full length T, so that
every step has one shape. Ties: `ask` takes the architecture of lower index, `best_weights` the latest of equally good
weights (as published).
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jaxnas.runtime.session import in_float64
from jaxnas.search import surrogate as gp
from jaxnas.search.acquisition import ACQUISITIONS, DOMAINS, maximise
from jaxnas.search.config import RobotConfig
from jaxnas.search.history import SurrogateInfo, no_info
from jaxnas.search.pool import leader
from jaxnas.table.normalize import combine

SMALLEST = 16  # rows of the surrogate's shortest buffer
NUM_ALTERNATIVES = 64  # points among which a distinct proposal is sought


class BOState(NamedTuple):
    """The queries so far. Rows from `count` on are padding.

    Attributes:
        weights: Queried proxy weights in [-1, 1] [T M].
        objective: The observed objectives [T]; NaN and inf mean that the candidate failed; padding is NaN.
        arch: Index of the architecture that each query picked [T].
        count: Queries made so far [].
    """

    weights: Float[Array, "T M"]
    objective: Float[Array, " T"]
    arch: Int[Array, " T"]
    count: Int[Array, ""]  # type: ignore[assignment]  # hides tuple.count


@in_float64
@partial(jax.jit, static_argnames=("num_proxies", "budget"))
def init(*, num_proxies: int, budget: int) -> BOState:
    """Return the state before the first query."""
    return BOState(
        weights=jnp.zeros((budget, num_proxies)),
        objective=jnp.full(budget, jnp.nan),
        arch=jnp.zeros(budget, jnp.int32),
        count=jnp.zeros((), jnp.int32),
    )


@in_float64
@partial(jax.jit, static_argnames="config")
def ask(
    state: BOState, table: Float[Array, "A M"], queried: Bool[Array, " A"], key: PRNGKeyArray, *, config: RobotConfig
) -> tuple[Float[Array, " M"], Int[Array, ""], SurrogateInfo]:
    """Return the next weights and the architecture argmax_a M(a; w) that they pick; the first weights are uniform.

    Args:
        state: Queries so far.
        table: Normalised scores [A M].
        queried: Which architectures are paid for [A].
        key: A new one for each call.
        config: Hyperparameters.

    Returns:
        The weights [M], the index of the architecture [], and the state of the surrogate: NaN at the first query, which
        it does not choose.
    """
    points, infos = _propose_one_by_one(config)(state.weights, state.objective, state.count, key)

    def choose(rank: Int[Array, ""]) -> Int[Array, ""]:
        return leader(combine(table, points[rank]))

    def is_known(rank: Int[Array, ""]) -> Bool[Array, ""]:
        return (rank < len(points)) & queried[choose(jnp.minimum(rank, len(points) - 1))]

    rank = jnp.zeros((), jnp.int32)
    if config.distinct:
        rank = jax.lax.while_loop(is_known, lambda rank: rank + 1, rank)
        rank = jnp.where(rank < len(points), rank, 0)
    return points[rank], choose(rank), jax.tree.map(lambda values: values[rank], infos)


@in_float64
@jax.jit
def tell(state: BOState, weights: Float[Array, " M"], arch: Int[Array, ""], objective: Float[Array, ""]) -> BOState:
    """Return the state with one more query; a non-finite objective is kept as it is."""
    row = state.count
    return BOState(
        weights=state.weights.at[row].set(weights),
        objective=state.objective.at[row].set(objective),
        arch=state.arch.at[row].set(arch),
        count=row + 1,
    )


@in_float64
@jax.jit
def best_weights(state: BOState) -> Float[Array, " M"]:
    """Return the weights of the best finite objective, the latest of equals; the last ones if none was finite."""
    value = jnp.where(jnp.isfinite(state.objective), state.objective, -jnp.inf)
    best = len(value) - 1 - jnp.argmax(value[::-1])
    return state.weights[jnp.where(jnp.isfinite(value[best]), best, state.count - 1)]


Points = tuple[Float[Array, "K M"], SurrogateInfo]  # the info has a leading axis K


def _propose_one_by_one(config: RobotConfig) -> Callable[..., Points]:
    """Return `_propose` such that vmap runs it for one seed after another.

    XLA:CPU spreads batched LAPACK calls over its thread pool and waits for them in the threads of that pool, which
    hangs as soon as every thread waits (jaxlib 0.10.2).
    """
    sequential_vmap: Callable[..., Callable[..., Points]] = jax.custom_batching.sequential_vmap
    return sequential_vmap(partial(_propose, config=config))


def _propose(
    weights: Float[Array, "T M"],
    objective: Float[Array, " T"],
    count: Int[Array, ""],
    key: PRNGKeyArray,
    *,
    config: RobotConfig,
) -> Points:
    """Return the K best points and what the surrogate shows at each."""
    sizes, num_proxies = buffer_sizes(len(weights)), weights.shape[1]
    values = without_failures(objective)
    first_key, acquisition_key, candidate_key = jax.random.split(key, 3)
    # Drawn once for all buffer sizes, as random numbers take long to compile; the first query takes them as they are.
    draw_key = jnp.where(count == 0, first_key, candidate_key)
    candidates = DOMAINS[config.domain].draw(draw_key, config.num_candidates, num_proxies)

    def within(size: int) -> Callable[[], Points]:
        return lambda: _propose_within(weights[:size], values[:size], count, candidates, acquisition_key, config)

    points: Points = jax.lax.switch(jnp.searchsorted(jnp.array(sizes), count), [within(size) for size in sizes])
    return points


def buffer_sizes(budget: int) -> list[int]:
    """Return the rows of the buffers that the surrogate is fitted in.

    A fit costs the cube of its rows, and early steps need few.
    """
    return sorted({size for size in (budget // 4, budget // 2, 3 * budget // 4) if size >= SMALLEST} | {budget})


def _propose_within(
    weights: Float[Array, "T M"],
    values: Float[Array, " T"],
    count: Int[Array, ""],
    candidates: Float[Array, "Q M"],
    key: PRNGKeyArray,
    config: RobotConfig,
) -> Points:
    num_proxies, num_best = weights.shape[1], NUM_ALTERNATIVES if config.distinct else 1
    surrogate = gp.fit(weights, values, count, kernel=config.kernel, ard=config.ard, noise=config.noise)
    utility = ACQUISITIONS[config.acquisition](surrogate, jnp.max(values), key, config.kappa)
    num_best = min(num_best, config.num_candidates)
    points, utilities = maximise(
        utility, candidates, num_ascents=config.num_ascents, domain=config.domain, num_best=num_best
    )
    info = inspect(surrogate, points, utilities, num_proxies)
    nothing = no_info(num_proxies, len(points))
    return jnp.where(count == 0, candidates[:num_best], points), jax.tree.map(
        partial(jnp.where, count == 0), nothing, info
    )


def inspect(
    surrogate: gp.Surrogate,
    points: Float[Array, "K F"],
    acquisition: Float[Array, " K"],
    num_proxies: int,
) -> SurrogateInfo:
    """Return what a surrogate shows at K points, whose last M inputs belong to the proxies (weights or scores)."""
    mean, std = gp.predict(surrogate, points)
    lengthscale = jnp.broadcast_to(surrogate.lengthscale, points.shape[1:])[-num_proxies:]
    return no_info(num_proxies, len(points))._replace(
        lengthscale=jnp.broadcast_to(lengthscale, (len(points), num_proxies)),
        log_evidence=jnp.broadcast_to(surrogate.log_evidence, len(points)),
        acquisition=acquisition,
        mean=mean,
        std=std,
    )


def without_failures(objective: Float[Array, " T"]) -> Float[Array, " T"]:
    """Return the objective with failures (and padding) as the worst finite one so far, or 0 before there is any.

    The value of a failure is bad but unknown.
    """
    observed = jnp.isfinite(objective)
    worst = jnp.min(objective, where=observed, initial=jnp.inf)
    return jnp.where(observed, objective, jnp.where(observed.any(), worst, 0.0))
