"""Searches that change architectures in one decision: regularised evolution, local search.

A neighbour of an architecture is a member of the pool that differs from it in one decision; where there is none, one
that differs in the fewest.
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jaxnas.errors import InputError
from jaxnas.runtime.settings import check_kinds
from jaxnas.search.history import History, Phase, Proposal
from jaxnas.search.method import Method
from jaxnas.search.pool import Pool, pick, unweighted


def neighbours(pool: Pool, arch: Int[Array, ""]) -> Bool[Array, " A"]:
    """Return which architectures of the pool are nearest to `arch`, except those equal to it."""
    distance = jnp.sum(pool.archs != pool.archs[arch], axis=1)
    distance = jnp.where(distance > 0, distance, pool.archs.shape[1] + 1)
    return distance == distance.min()


def _finite(objective: Float[Array, ""]) -> Float[Array, ""]:
    """Return the objective, -inf for a failure: worse than everything."""
    return jnp.where(jnp.isfinite(objective), objective, -jnp.inf)


@dataclass(frozen=True)
class ReaConfig:
    """Hyperparameters of `rea`; the defaults are those of Dong and Yang 2020 (arXiv:2001.00326) on NAS-Bench-201.

    Attributes:
        population: Members of the population.
        sample_size: Members drawn from the population; the best of them is the parent.
    """

    population: int = 10
    sample_size: int = 3

    def __post_init__(self) -> None:
        """Check every field."""
        check_kinds(self)
        if not 1 <= self.sample_size <= self.population:
            raise InputError(
                f"`sample_size` must be from 1 to {self.population}, the population, got {self.sample_size}"
            )


class _Population(NamedTuple):
    """The members of the population.

    Attributes:
        arch: The architecture of each [P].
        objective: The objective of each [P], -inf for failures.
        born: Members ever []; member n stands at n modulo P, so that it replaces the oldest.
    """

    arch: Int[Array, " P"]
    objective: Float[Array, " P"]
    born: Int[Array, ""]


def _init_rea(pool: Pool, budget: int, key: PRNGKeyArray, config: ReaConfig) -> _Population:
    size = config.population
    return _Population(jnp.zeros(size, jnp.int32), jnp.full(size, -jnp.inf), jnp.zeros((), jnp.int32))


def _ask_rea(state: _Population, history: History, pool: Pool, key: PRNGKeyArray, config: ReaConfig) -> Proposal:
    member_key, child_key = jax.random.split(key)
    sampled = jax.random.choice(member_key, config.population, (config.sample_size,), replace=False)
    parent = state.arch[sampled[jnp.argmax(state.objective[sampled])]]
    founding = state.born < config.population
    among = jnp.where(founding, ~history.queried, neighbours(pool, parent))
    return Proposal(pick(child_key, among), jnp.where(founding, Phase.RANDOM, Phase.EVOLUTION), unweighted(pool))


def _tell_rea(
    state: _Population, proposal: Proposal, objective: Float[Array, ""], pool: Pool, config: ReaConfig
) -> _Population:
    place = state.born % config.population
    return _Population(
        state.arch.at[place].set(proposal.item),
        state.objective.at[place].set(_finite(objective)),
        state.born + 1,
    )


rea = Method("rea", _init_rea, _ask_rea, _tell_rea, ReaConfig(), needs_archs=True, reads_scores=False)
"""Regularised evolution: a random population, then children of good members, each in place of the oldest member.

Source: Real et al. 2019 (arXiv:1802.01548).
"""


class _Place(NamedTuple):
    """The current architecture of a local search.

    Attributes:
        arch: The architecture [].
        objective: The objective of the architecture [], -inf if it failed.
    """

    arch: Int[Array, ""]
    objective: Float[Array, ""]


def _init_local(pool: Pool, budget: int, key: PRNGKeyArray, config: None) -> _Place:
    return _Place(jnp.zeros((), jnp.int32), jnp.array(-jnp.inf))


def _ask_local(state: _Place, history: History, pool: Pool, key: PRNGKeyArray, config: None) -> Proposal:
    worth = ~history.queried | (history.objective > state.objective)  # what is known to be better costs nothing
    around = neighbours(pool, state.arch) & worth
    restart = (history.count == 0) | ~around.any()
    among = jnp.where(restart, ~history.queried, around)
    return Proposal(pick(key, among), jnp.where(restart, Phase.RANDOM, Phase.NEIGHBOUR), unweighted(pool))


def _tell_local(state: _Place, proposal: Proposal, objective: Float[Array, ""], pool: Pool, config: None) -> _Place:
    objective = _finite(objective)
    moves = (proposal.phase == Phase.RANDOM) | (objective > state.objective)
    moved: _Place = jax.tree.map(lambda new, old: jnp.where(moves, new, old), _Place(proposal.item, objective), state)
    return moved


local_search: Method[_Place, None] = Method(
    "local_search", _init_local, _ask_local, _tell_local, needs_archs=True, reads_scores=False
)
"""Local search: move to the first better neighbour, and start again from a random architecture if there is none.

Source: White, Nolen, Savani 2021 (arXiv:2005.02960), the variant that does not wait for all neighbours.
"""
