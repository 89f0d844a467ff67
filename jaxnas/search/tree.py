"""Monte Carlo tree search over decisions: a path from the root chooses the options of an architecture one by one."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from jaxnas.search.bo import without_failures
from jaxnas.search.config import check_positive
from jaxnas.search.history import History, Phase, Proposal
from jaxnas.search.method import Method
from jaxnas.search.pool import Pool, pick, unweighted
from jaxnas.table.normalize import mean_ranks


@dataclass(frozen=True)
class TreeConfig:
    """Hyperparameters of `mcts`.

    Attributes:
        exploration: The weight of sqrt(2 log N / n) against a reward in [0, 1].
    """

    exploration: float = 0.33

    def __post_init__(self) -> None:
        """Check every field."""
        check_positive(exploration=self.exploration)


def _init(pool: Pool, budget: int, key: PRNGKeyArray, config: TreeConfig) -> tuple[()]:
    return ()  # the tree follows from the queries


def _tell(
    state: tuple[()], proposal: Proposal, objective: Float[Array, ""], pool: Pool, config: TreeConfig
) -> tuple[()]:
    return state


def rewards(history: History) -> Float[Array, " A"]:
    """Return the rank of each queried architecture among all queried, in [0, 1]; failures are the worst, others 0."""
    ranks = mean_ranks(jnp.where(history.queried, without_failures(history.objective), jnp.inf))
    return jnp.where(history.queried, (ranks - 0.5) / jnp.maximum(history.count, 1), 0)


def _ask(state: tuple[()], history: History, pool: Pool, key: PRNGKeyArray, config: TreeConfig) -> Proposal:
    """Descend one option of each decision: first one that no query took, none that has no new members."""
    reward, below = rewards(history), jnp.ones(pool.num_archs, bool)
    for decision in range(pool.archs.shape[1]):
        takes = (pool.archs[:, decision] == pool.options[:, None]) & below  # [K A]
        visits = jnp.sum(takes & history.queried, axis=1)
        mean = jnp.sum(jnp.where(takes, reward, 0), axis=1) / jnp.maximum(visits, 1)
        bonus = config.exploration * jnp.sqrt(2 * jnp.log(visits.sum()) / visits)
        merit = jnp.where(visits > 0, mean + bonus, jnp.inf)
        merit = jnp.where(jnp.any(takes & ~history.queried, axis=1), merit, -jnp.inf)
        option = pick(jax.random.fold_in(key, decision), merit == merit.max())
        below = takes[option]
    arch = pick(jax.random.fold_in(key, pool.archs.shape[1]), below & ~history.queried)
    return Proposal(arch, jnp.where(history.count > 0, Phase.TREE, Phase.RANDOM), unweighted(pool))


mcts = Method("mcts", _init, _ask, _tell, TreeConfig(), needs_archs=True, reads_scores=False)
"""Monte Carlo tree search: the upper confidence bound of the mean reward chooses among the options of each decision.

The tree needs no other memory than the queries: the members of a node are the architectures of the pool that share its
options. Below the first option that no query took all are equally likely, which is the rollout.

Source: Kocsis and Szepesvari 2006; for NAS, Negrinho and Gordon 2017, DeepArchitect (arXiv:1704.08792), without their
bisection of ordered options.
"""
