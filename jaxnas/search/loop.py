"""The compiled steps of a search: start, propose, record, and all of them in one program.

Key n of a search is `fold_in(key(seed), n)`, whether its steps are called one by one or inside one program: both give
the same result.
"""

import warnings
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from jaxnas.runtime.session import in_float64
from jaxnas.search.history import History, Phase, Proposal, extend, new_history, no_info
from jaxnas.search.method import ConfigT, Method, StateT
from jaxnas.search.pool import Pool, pick, unweighted

PATIENCE = 50  # proposals per query of the budget; after them a method that repeats itself is replaced by random draws
INIT_KEY = 2**32 - 1  # the number of the key of `Method.init`; proposals count from 0


class SearchState(NamedTuple):
    """The state of a search.

    Attributes:
        method: The state of the method, of the type that its `init` returns.
        history: The queries that have been paid for.
        number: The number of proposals so far [].
    """

    method: PyTree  # beartype does not know generic NamedTuples
    history: History
    number: Int[Array, ""]


@in_float64
@partial(jax.jit, static_argnames=("method", "budget", "config"))
def start(
    pool: Pool, key: PRNGKeyArray, *, method: Method[StateT, ConfigT], budget: int, config: ConfigT
) -> SearchState:
    """Return the state before the first proposal."""
    carried = method.init(pool, budget, jax.random.fold_in(key, INIT_KEY), config)
    return SearchState(carried, new_history(pool, budget), jnp.zeros((), jnp.int32))


@in_float64
@partial(jax.jit, static_argnames=("method", "config"))
def propose(
    search: SearchState, pool: Pool, key: PRNGKeyArray, *, method: Method[StateT, ConfigT], config: ConfigT
) -> Proposal:
    """Return the next proposal of the method, or a random new item once its patience of `PATIENCE` T is over."""
    history, step_key = search.history, jax.random.fold_in(key, search.number)

    def ask() -> Proposal:
        proposal = method.ask(search.method, history, pool, step_key, config)
        info = no_info(pool.num_proxies) if proposal.info is None else proposal.info
        return proposal._replace(phase=jnp.asarray(proposal.phase, jnp.int32), info=info)

    def draw() -> Proposal:
        is_new = ~history.queried & (jnp.arange(len(history.queried)) < pool.num_archs)  # at the cheapest fidelity
        return Proposal(pick(step_key, is_new), jnp.int32(Phase.RANDOM), unweighted(pool), no_info(pool.num_proxies))

    proposal: Proposal = lax.cond(search.number < PATIENCE * len(history.item), ask, draw)
    return proposal


@in_float64
@partial(jax.jit, static_argnames=("method", "config"))
def record(
    search: SearchState,
    pool: Pool,
    proposal: Proposal,
    objective: Float[Array, ""],
    *,
    method: Method[StateT, ConfigT],
    config: ConfigT,
) -> SearchState:
    """Return the state after a proposal was evaluated."""
    carried = method.tell(search.method, proposal, objective, pool, config)
    return SearchState(carried, extend(search.history, proposal, objective, pool), search.number + 1)


@in_float64
@partial(jax.jit, static_argnames=("method", "budget", "config"))
def run_to_end(
    pool: Pool,
    objective: Float[Array, " I"],
    key: PRNGKeyArray,
    *,
    method: Method[StateT, ConfigT],
    budget: int,
    config: ConfigT,
) -> tuple[History, Float[Array, " M"]]:
    """Return what a whole search on known objectives pays for, and the best weights it found."""

    def step(search: SearchState) -> SearchState:
        proposal = propose(search, pool, key, method=method, config=config)
        value = objective[proposal.item]
        following: SearchState = record(search, pool, proposal, value, method=method, config=config)
        return following

    search = start(pool, key, method=method, budget=budget, config=config)
    search = lax.while_loop(lambda search: search.history.spent < budget, step, search)
    return search.history, best_weights(search.method, pool, method)


def __getattr__(name: str) -> tuple[str, ...]:
    """Return `PHASES`, the labels by number of version 0.1, with a DeprecationWarning: `Phase` took its place."""
    if name != "PHASES":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    warnings.warn("jaxnas.search.loop.PHASES is now the enum jaxnas.search.Phase", DeprecationWarning, stacklevel=2)
    return tuple(phase.label for phase in Phase)


def best_weights(state: StateT, pool: Pool, method: Method[StateT, ConfigT]) -> Float[Array, " M"]:
    """Return the best weights that a method found, NaN if it seeks none."""
    return unweighted(pool) if method.weights is None else method.weights(state)
