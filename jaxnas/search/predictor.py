"""Bayesian optimisation over architectures themselves: a Gaussian process on their encoding and their proxies."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jaxnas.search import surrogate as gp
from jaxnas.search.acquisition import ACQUISITIONS
from jaxnas.search.bo import inspect, without_failures
from jaxnas.search.config import PredictorConfig
from jaxnas.search.history import History, Phase, Proposal, no_info
from jaxnas.search.method import Method
from jaxnas.search.pool import Pool, next_in_ranking, one_hot, pick, unweighted


class _Observed(NamedTuple):
    """The queries so far; rows from `count` on are padding.

    Attributes:
        features: Encoded architectures [T F].
        objective: The objective of each [T], NaN or inf for failures; padding is NaN.
        count: Queries made so far [].
    """

    features: Float[Array, "T F"]
    objective: Float[Array, " T"]
    count: Int[Array, ""]  # type: ignore[assignment]  # hides tuple.count


def encode(pool: Pool) -> Float[Array, "A F"]:
    """Return the features of every architecture: its decisions one-hot, then its scores; F = D K + M."""
    return jnp.concatenate([one_hot(pool.archs, pool), pool.table], axis=1)


def _init(pool: Pool, budget: int, key: PRNGKeyArray, config: PredictorConfig) -> _Observed:
    num_features = pool.archs.shape[1] * len(pool.options) + pool.num_proxies
    return _Observed(jnp.zeros((budget, num_features)), jnp.full(budget, jnp.nan), jnp.zeros((), jnp.int32))


def _ask(state: _Observed, history: History, pool: Pool, key: PRNGKeyArray, config: PredictorConfig) -> Proposal:
    def at_random() -> Proposal:
        arch = pick(key, ~history.queried)
        return Proposal(arch, jnp.int32(Phase.RANDOM), unweighted(pool), no_info(pool.num_proxies))

    def by_acquisition() -> Proposal:
        values = without_failures(state.objective)
        surrogate = gp.fit(state.features, values, state.count, kernel=config.kernel, noise=config.noise)
        features = encode(pool)
        merit = ACQUISITIONS[config.acquisition](surrogate, jnp.max(values), key, config.kappa)(features)
        arch = next_in_ranking(merit, history.queried)
        infos = inspect(surrogate, features[arch][None], merit[arch][None], pool.num_proxies)
        info = jax.tree.map(lambda values: values[0], infos)
        return Proposal(arch, jnp.int32(Phase.BO), unweighted(pool), info)

    proposal: Proposal = lax.cond(state.count < config.initial, at_random, by_acquisition)
    return proposal


def _tell(
    state: _Observed, proposal: Proposal, objective: Float[Array, ""], pool: Pool, config: PredictorConfig
) -> _Observed:
    row = state.count
    return _Observed(
        features=state.features.at[row].set(encode(pool)[proposal.item]),
        objective=state.objective.at[row].set(objective),
        count=row + 1,
    )


predictor_bo = Method("predictor_bo", _init, _ask, _tell, PredictorConfig(), needs_archs=True)
"""Random architectures, then those that a Gaussian process on encoding and proxies holds most promising.

As BANANAS does with an ensemble of networks: White, Neiswanger, Savani 2021 (arXiv:1910.11858).
"""
