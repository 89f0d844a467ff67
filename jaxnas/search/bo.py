"""Bayesian optimisation over proxy weights as init, ask, tell.

`ask`, `tell` and `best_weights` are jitted in float64 (see precision.py). Buffers have the full length T, so
every step has one shape. Ties: `ask` takes the architecture of lower index, `best_weights` the latest of equally good
weights (as published).
"""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jaxnas.errors import InputError, unknown_name
from jaxnas.runtime.precision import in_float64
from jaxnas.search import surrogate as gp
from jaxnas.search.acquisition import ACQUISITIONS, DOMAINS, maximise
from jaxnas.search.greedy import leader
from jaxnas.table.normalize import combine

SMALLEST = 16  # rows of the surrogate's shortest buffer
NUM_ALTERNATIVES = 64  # points among which a distinct proposal is sought


@dataclass(frozen=True)
class RobotConfig:
    """Hyperparameters of RoBoT.

    The published protocol (He et al. 2024, arXiv:2403.07591) is `PRESETS["paper"]`: kappa 2.576, distinct False,
    10,000 candidates. Its steps may pick a known architecture again and again; the defaults explore more, and why is in
    experiments/README.md.
    """

    acquisition: str = "ucb"
    kappa: float = 10.0  # of UCB
    kernel: str = "matern52"
    ard: bool = False  # one lengthscale per proxy
    noise: float = 1e-6  # variance of the standardised objective
    domain: str = "cube"
    distinct: bool = True  # propose weights whose architecture is new; greedy as soon as none of 64 points has one
    explore: float = 1.0  # of the T queries, the part after which the greedy phase begins even if BO steps are left
    num_candidates: int = 4_000
    num_ascents: int = 10

    def __post_init__(self) -> None:
        for name, choices in (("acquisition", ACQUISITIONS), ("kernel", gp.KERNELS), ("domain", DOMAINS)):
            if getattr(self, name) not in choices:
                raise unknown_name(name, getattr(self, name), choices)
        for name in ("noise", "num_candidates", "num_ascents", "explore"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name} is {getattr(self, name)}: it must be positive")


class BOState(NamedTuple):
    """What the next step needs. Rows from `count` on are padding."""

    weights: Float[Array, "T M"]  # queried proxy weights in [-1, 1]
    objective: Float[Array, " T"]  # as observed; NaN and inf mean that the candidate failed; padding is NaN
    arch: Int[Array, " T"]  # index of the architecture that each query picked
    count: Int[Array, ""]  # type: ignore[assignment]  # queries made so far; hides tuple.count


class BOInfo(NamedTuple):
    """What a human needs: the surrogate's view of one query before it was made."""

    mean: Float[Array, ""]  # predicted objective at the proposed weights
    std: Float[Array, ""]
    lengthscale: Float[Array, " L"]  # L = 1, or M with ARD


@in_float64
@partial(jax.jit, static_argnames=("num_proxies", "budget"))
def init(*, num_proxies: int, budget: int) -> BOState:
    """The state before the first query."""
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
) -> tuple[Float[Array, " M"], Int[Array, ""], BOInfo]:
    """The next weights and the architecture argmax_a M(a; w) that they pick; the first weights are uniform.

    Args: state, queries so far; table, scores; queried, which architectures are paid for; key, a new one for each call.
    Returns: weights, architecture index, and the surrogate's prediction there (at the first query it has no data).
    """
    points, means, stds, lengthscale = _propose_one_by_one(config)(state.weights, state.objective, state.count, key)

    def choose(rank):
        return leader(combine(table, points[rank]))

    def is_known(rank):
        return (rank < len(points)) & queried[choose(jnp.minimum(rank, len(points) - 1))]

    rank = jnp.zeros((), jnp.int32)
    if config.distinct:
        rank = jax.lax.while_loop(is_known, lambda rank: rank + 1, rank)
        rank = jnp.where(rank < len(points), rank, 0)
    return points[rank], choose(rank), BOInfo(means[rank], stds[rank], lengthscale)


@in_float64
@jax.jit
def tell(state: BOState, weights: Float[Array, " M"], arch: Int[Array, ""], objective: Float[Array, ""]) -> BOState:
    """Record one query; a non-finite objective is kept as it is."""
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
    """The weights of the best finite objective, the latest of equals; the last weights if nothing was finite."""
    value = jnp.where(jnp.isfinite(state.objective), state.objective, -jnp.inf)
    best = len(value) - 1 - jnp.argmax(value[::-1])
    return state.weights[jnp.where(jnp.isfinite(value[best]), best, state.count - 1)]


def _propose_one_by_one(config):
    """Under vmap one seed after another: XLA:CPU spreads batched LAPACK calls over its thread pool and waits for them
    in the pool's own threads, which hangs as soon as every thread waits (jaxlib 0.10.2)."""
    return jax.custom_batching.sequential_vmap(partial(_propose, config=config))


def _propose(weights, objective, count, key, *, config):
    """The best points [K M], the surrogate's mean and deviation there, its lengthscale."""
    sizes = buffer_sizes(len(weights))
    values = without_failures(objective)

    def within(size):
        return lambda: _propose_within(weights[:size], values[:size], count, key, config)

    return jax.lax.switch(jnp.searchsorted(jnp.array(sizes), count), [within(size) for size in sizes])


def buffer_sizes(budget: int) -> list[int]:
    """Rows of the buffers that the surrogate is fitted in: it costs the cube of them, and early steps need few."""
    return sorted({size for size in (budget // 4, budget // 2, 3 * budget // 4) if size >= SMALLEST} | {budget})


def _propose_within(weights, values, count, key, config):
    num_proxies, num_best = weights.shape[1], NUM_ALTERNATIVES if config.distinct else 1
    first_key, acquisition_key, candidate_key = jax.random.split(key, 3)
    surrogate = gp.fit(weights, values, count, kernel=config.kernel, ard=config.ard, noise=config.noise)
    utility = ACQUISITIONS[config.acquisition](surrogate, jnp.max(values), acquisition_key, config.kappa)
    points = maximise(
        utility,
        candidate_key,
        num_proxies,
        num_candidates=config.num_candidates,
        num_ascents=config.num_ascents,
        domain=config.domain,
        num_best=min(num_best, config.num_candidates),
    )
    first = DOMAINS[config.domain].draw(first_key, len(points), num_proxies)
    points = jnp.where(count == 0, first, points)
    return points, *gp.predict(surrogate, points), surrogate.lengthscale


def without_failures(objective: Float[Array, " T"]) -> Float[Array, " T"]:
    """Failures (and padding) as the worst finite objective so far, 0 if there is none: bad, but not how bad."""
    observed = jnp.isfinite(objective)
    worst = jnp.min(objective, where=observed, initial=jnp.inf)
    return jnp.where(observed, objective, jnp.where(observed.any(), worst, 0.0))
