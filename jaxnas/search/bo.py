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
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jaxnas.errors import InputError, unknown_name
from jaxnas.precision import in_float64
from jaxnas.search import surrogate as gp
from jaxnas.search.acquisition import ACQUISITIONS, maximise
from jaxnas.table import combine


@dataclass(frozen=True)
class RobotConfig:
    """Hyperparameters of RoBoT; the defaults are the published protocol (He et al. 2024, arXiv:2403.07591)."""

    acquisition: str = "ucb"
    kappa: float = 2.576  # of UCB
    kernel: str = "matern52"
    ard: bool = False  # one lengthscale per proxy
    noise: float = 1e-6  # variance of the standardised objective
    num_candidates: int = 10_000
    num_ascents: int = 10

    def __post_init__(self) -> None:
        if self.acquisition not in ACQUISITIONS:
            raise unknown_name("acquisition", self.acquisition, ACQUISITIONS)
        if self.kernel not in gp.KERNELS:
            raise unknown_name("kernel", self.kernel, gp.KERNELS)
        for name in ("noise", "num_candidates", "num_ascents"):
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
    state: BOState, table: Float[Array, "A M"], key: PRNGKeyArray, *, config: RobotConfig
) -> tuple[Float[Array, " M"], Int[Array, ""], BOInfo]:
    """The next weights and the architecture argmax_a M(a; w) that they pick; the first weights are uniform in [-1, 1].

    Args: state, queries so far; table, scores; key, a new one for each call.
    Returns: weights, architecture index, and the surrogate's prediction there (at the first query it has no data).
    """
    # One seed after another under vmap: XLA:CPU spreads batched LAPACK calls over its thread pool and waits for them
    # in the pool's own threads, which hangs as soon as every thread waits (jaxlib 0.10.2).
    propose = jax.custom_batching.sequential_vmap(partial(_propose, config=config))
    weights, info = propose(state.weights, state.objective, state.count, key)
    return weights, jnp.argmax(combine(table, weights)).astype(jnp.int32), info


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


def _propose(weights, objective, count, key, *, config):
    first_key, acquisition_key, candidate_key = jax.random.split(key, 3)
    values = without_failures(objective)
    surrogate = gp.fit(weights, values, count, kernel=config.kernel, ard=config.ard, noise=config.noise)

    best = jnp.max(values)
    utility = ACQUISITIONS[config.acquisition](surrogate, best, acquisition_key, config.kappa)
    num_proxies = weights.shape[1]
    proposal = maximise(
        utility, candidate_key, num_proxies, num_candidates=config.num_candidates, num_ascents=config.num_ascents
    )
    first = jax.random.uniform(first_key, (num_proxies,), minval=-1.0, maxval=1.0)
    chosen = jnp.where(count == 0, first, proposal)
    mean, std = gp.predict(surrogate, chosen[None, :])
    return chosen, BOInfo(mean[0], std[0], surrogate.lengthscale)


def without_failures(objective: Float[Array, " T"]) -> Float[Array, " T"]:
    """Failures (and padding) as the worst finite objective so far, 0 if there is none: bad, but not how bad."""
    observed = jnp.isfinite(objective)
    worst = jnp.min(objective, where=observed, initial=jnp.inf)
    return jnp.where(observed, objective, jnp.where(observed.any(), worst, 0.0))
