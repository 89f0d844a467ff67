"""Searches that RoBoT is compared with and that need no model: at random, and down one fixed ranking."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxnas.errors import InputError
from jaxnas.search.greedy import next_in_ranking
from jaxnas.search.loop import PHASES, History, Method, Pool, Proposal, pick, unweighted
from jaxnas.table.normalize import combine, mean_ranks

RANDOM_PHASE, GREEDY_PHASE = PHASES.index("random"), PHASES.index("greedy")


def _no_state(pool, budget, key, config):
    return ()


def _nothing_learnt(state, proposal, objective, pool, config):
    return state


def _random(state, history: History, pool: Pool, key, config):
    return Proposal(pick(key, ~history.queried), RANDOM_PHASE, unweighted(pool))


random_search = Method("random", _no_state, _random, _nothing_learnt)
"""The best of T architectures drawn without replacement."""


@dataclass(frozen=True)
class SingleProxyConfig:
    """Which proxy: a column of the table, from 0."""

    proxy: int = 0


def _one_proxy(pool: Pool, budget, key, config):
    num_proxies = pool.table.shape[1]
    if not 0 <= config.proxy < num_proxies:
        raise InputError(f"proxy {config.proxy} is outside 0 to {num_proxies - 1}, the columns of the score table")
    return jnp.zeros(num_proxies).at[config.proxy].set(1.0)


def _best_by_weights(weights, history: History, pool: Pool, key, config):
    arch = next_in_ranking(combine(pool.table, weights), history.queried)
    return Proposal(arch, GREEDY_PHASE, unweighted(pool))


single_proxy = Method(
    "single_proxy", _one_proxy, _best_by_weights, _nothing_learnt, SingleProxyConfig(), weights=lambda weights: weights
)
"""The best of the T architectures that lead one proxy's ranking."""


def _sum_of_log_ranks(pool: Pool, budget, key, config) -> Float[Array, " A"]:
    """sum_i log(rank_i(a) / A), rank A the best, ties at their mean rank."""

    return jnp.sum(jnp.log(jax.vmap(mean_ranks, 1, 1)(pool.table) / len(pool.table)), axis=1)


def _sum_of_ranks(pool: Pool, budget, key, config) -> Float[Array, " A"]:
    return jnp.sum(jax.vmap(mean_ranks, 1, 1)(pool.table), axis=1)


def _best_by_merit(merit, history: History, pool: Pool, key, config):
    return Proposal(next_in_ranking(merit, history.queried), GREEDY_PHASE, unweighted(pool))


rank_aggregation = Method("rank_aggregation", _sum_of_log_ranks, _best_by_merit, _nothing_learnt)
"""The best of the T architectures whose ranks by all proxies are highest together; no label is used to rank.

sum_i log rank_i: an architecture that one proxy puts last is punished more than by a sum of ranks.
Source: Lee and Ham 2024, AZ-NAS (arXiv:2403.19232), of the proxies "az_nas"; Tybl and Neumann 2025, VKDNW
(arXiv:2502.04975), of others.
"""

rank_sum = Method("rank_sum", _sum_of_ranks, _best_by_merit, _nothing_learnt)
"""The best of the T architectures whose ranks by all proxies have the highest sum; no label is used to rank.

Source: Chen, Gong and Wang 2021, TE-NAS (arXiv:2102.11535), of the proxies "te_nas", for pruning a supernet.
"""
