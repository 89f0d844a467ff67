"""Searches that RoBoT is compared with and that need no model: at random, and down one fixed ranking."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from jaxnas.errors import InputError
from jaxnas.runtime.settings import check_kinds
from jaxnas.search.history import History, Phase, Proposal
from jaxnas.search.method import Method, StateT
from jaxnas.search.pool import Pool, next_in_ranking, pick, unweighted
from jaxnas.table.normalize import combine, mean_ranks


def _keep(state: StateT, proposal: Proposal, objective: Float[Array, ""], pool: Pool, config: object) -> StateT:
    """Return the state as it is: these methods learn nothing."""
    return state


def _no_state(pool: Pool, budget: int, key: PRNGKeyArray, config: None) -> tuple[()]:
    return ()


def _random(state: tuple[()], history: History, pool: Pool, key: PRNGKeyArray, config: None) -> Proposal:
    return Proposal(pick(key, ~history.queried), Phase.RANDOM, unweighted(pool))


random_search: Method[tuple[()], None] = Method("random", _no_state, _random, _keep, reads_scores=False)
"""The best of T architectures drawn without replacement."""


@dataclass(frozen=True)
class SingleProxyConfig:
    """Hyperparameters of `single_proxy`.

    Attributes:
        proxy: Column of the score table, from 0.
    """

    proxy: int = 0

    def __post_init__(self) -> None:
        """Check the type; the number of columns is known when a search begins."""
        check_kinds(self)


def _one_hot(pool: Pool, budget: int, key: PRNGKeyArray, config: SingleProxyConfig) -> Float[Array, " M"]:
    if not 0 <= config.proxy < pool.num_proxies:
        raise InputError(
            f"`proxy` must be from 0 to {pool.num_proxies - 1}, a column of the score table, got {config.proxy}"
        )
    return jnp.zeros(pool.num_proxies).at[config.proxy].set(1.0)


def _best_by_weights(
    weights: Float[Array, " M"], history: History, pool: Pool, key: PRNGKeyArray, config: SingleProxyConfig
) -> Proposal:
    return _best_by_merit(combine(pool.table, weights), history, pool, key, None)


def _best_by_merit(
    merit: Float[Array, " A"], history: History, pool: Pool, key: PRNGKeyArray, config: None
) -> Proposal:
    return Proposal(next_in_ranking(merit, history.queried), Phase.GREEDY, unweighted(pool))


single_proxy = Method(
    "single_proxy", _one_hot, _best_by_weights, _keep, SingleProxyConfig(), weights=lambda weights: weights
)
"""The best of the T architectures that lead one proxy's ranking."""


def _sum_of_log_ranks(pool: Pool, budget: int, key: PRNGKeyArray, config: None) -> Float[Array, " A"]:
    """Return sum_i log(rank_i(a) / A), rank A the best, ties at their mean rank."""
    return jnp.sum(jnp.log(jax.vmap(mean_ranks, 1, 1)(pool.table) / pool.num_archs), axis=1)


def _sum_of_ranks(pool: Pool, budget: int, key: PRNGKeyArray, config: None) -> Float[Array, " A"]:
    return jnp.sum(jax.vmap(mean_ranks, 1, 1)(pool.table), axis=1)


rank_aggregation: Method[Float[Array, " A"], None] = Method(
    "rank_aggregation", _sum_of_log_ranks, _best_by_merit, _keep
)
"""The best of the T architectures whose ranks by all proxies are highest together; no label is used to rank.

sum_i log rank_i: an architecture that one proxy puts last is punished more than by a sum of ranks.
Source: Lee and Ham 2024, AZ-NAS (arXiv:2403.19232), of the proxies "az_nas"; Tybl and Neumann 2025, VKDNW
(arXiv:2502.04975), of others.
"""

rank_sum: Method[Float[Array, " A"], None] = Method("rank_sum", _sum_of_ranks, _best_by_merit, _keep)
"""The best of the T architectures whose ranks by all proxies have the highest sum; no label is used to rank.

Source: Chen, Gong and Wang 2021, TE-NAS (arXiv:2102.11535), of the proxies "te_nas", for pruning a supernet.
"""
