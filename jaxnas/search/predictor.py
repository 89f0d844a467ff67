"""Bayesian optimisation over architectures themselves: a Gaussian process on their encoding and their proxies."""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from jaxnas.errors import InputError, unknown_name
from jaxnas.search import surrogate as gp
from jaxnas.search.acquisition import ACQUISITIONS
from jaxnas.search.bo import without_failures
from jaxnas.search.greedy import next_in_ranking
from jaxnas.search.loop import PHASES, History, Method, Pool, Proposal, pick, unweighted

RANDOM_PHASE, BO_PHASE = PHASES.index("random"), PHASES.index("bo")


@dataclass(frozen=True)
class PredictorConfig:
    """Hyperparameters of `predictor_bo`."""

    initial: int = 5  # architectures drawn at random before the first fit
    acquisition: str = "ei"
    kappa: float = 2.576  # of UCB
    kernel: str = "matern52"
    noise: float = 1e-2  # variance of the standardised objective: an encoding does not say everything

    def __post_init__(self) -> None:
        if self.acquisition not in ACQUISITIONS:
            raise unknown_name("acquisition", self.acquisition, ACQUISITIONS)
        if self.kernel not in gp.KERNELS:
            raise unknown_name("kernel", self.kernel, gp.KERNELS)
        for name in ("initial", "noise"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name} is {getattr(self, name)}: it must be positive")


class _Observed(NamedTuple):
    features: Float[Array, "T F"]
    objective: Float[Array, " T"]
    count: Int[Array, ""]  # type: ignore[assignment]  # hides tuple.count


def encode(pool: Pool) -> Float[Array, "A F"]:
    """Every decision one-hot, then the normalised scores: F = D K + M."""
    one_hot = jax.nn.one_hot(pool.archs, len(pool.options), dtype=pool.table.dtype)
    return jnp.concatenate([one_hot.reshape(len(pool.table), -1), pool.table], axis=1)


def _init(pool: Pool, budget, key, config) -> _Observed:
    num_features = pool.archs.shape[1] * len(pool.options) + pool.table.shape[1]
    return _Observed(jnp.zeros((budget, num_features)), jnp.full(budget, jnp.nan), jnp.zeros((), jnp.int32))


def _ask(state: _Observed, history: History, pool: Pool, key, config) -> Proposal:
    def at_random():
        return Proposal(pick(key, ~history.queried), jnp.int32(RANDOM_PHASE), unweighted(pool))

    def by_acquisition():
        values = without_failures(state.objective)
        surrogate = gp.fit(state.features, values, state.count, kernel=config.kernel, noise=config.noise)
        utility = ACQUISITIONS[config.acquisition](surrogate, jnp.max(values), key, config.kappa)
        arch = next_in_ranking(utility(encode(pool)), history.queried)
        return Proposal(arch, jnp.int32(BO_PHASE), unweighted(pool))

    return lax.cond(state.count < config.initial, at_random, by_acquisition)


def _tell(state: _Observed, proposal, objective, pool: Pool, config) -> _Observed:
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
