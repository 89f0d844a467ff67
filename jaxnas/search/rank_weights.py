"""Proxy weights that rank the queried architectures as their objectives do, by a differentiable Kendall correlation."""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jaxnas.search.config import check_positive
from jaxnas.search.history import History, Phase, Proposal
from jaxnas.search.method import Method
from jaxnas.search.pool import Pool, next_in_ranking, pick, unweighted
from jaxnas.search.proxy_gp import warp
from jaxnas.table.normalize import combine, normal_quantiles


@dataclass(frozen=True)
class RankWeightsConfig:
    """Hyperparameters of `rank_weights`.

    Attributes:
        alpha: The steepness of tanh, which stands for the sign of a pair.
        pull: Weight of the squared distance from equal weights, divided by the number of queries.
        steps: Steps of Adam after each query.
        learning_rate: Their size.
        initial: Architectures drawn at random after the first query.
    """

    alpha: float = 0.5
    pull: float = 1.0
    steps: int = 100
    learning_rate: float = 0.05
    initial: int = 4

    def __post_init__(self) -> None:
        """Check every field."""
        check_positive(
            alpha=self.alpha,
            pull=self.pull,
            steps=self.steps,
            learning_rate=self.learning_rate,
            initial=self.initial,
        )


class _Fitted(NamedTuple):
    """The queries so far and the weights that they give.

    Attributes:
        scores: The normal scores of the pool [A M].
        item: The queried architectures [T]; padding from `count` on.
        objective: The objective of each [T], NaN or inf for failures; padding is NaN.
        count: The number of queries [].
        weights: The weights [M].
    """

    scores: Float[Array, "A M"]
    item: Int[Array, " T"]
    objective: Float[Array, " T"]
    count: Int[Array, ""]  # type: ignore[assignment]  # hides tuple.count
    weights: Float[Array, " M"]


def soft_kendall(
    x: Float[Array, " T"], y: Float[Array, " T"], used: Bool[Array, " T"], alpha: float
) -> Float[Array, ""]:
    """Return the mean of tanh(alpha (x_i - x_j) (y_i - y_j)) over the pairs of used entries, in (-1, 1).

    With a large alpha it is Kendall's tau. 0 where there is no pair.

    Source: Zheng, Zhang and Huang 2023, DiffKendall (arXiv:2307.15317), equation 5.
    """
    agreement = jnp.tanh(alpha * (x[:, None] - x) * (y[:, None] - y))
    pairs = jnp.triu(used[:, None] & used, 1)
    return jnp.sum(jnp.where(pairs, agreement, 0)) / jnp.maximum(pairs.sum(), 1)


def _equal(pool: Pool) -> Float[Array, " M"]:
    return jnp.ones(pool.num_proxies) / jnp.sqrt(pool.num_proxies)


def _init(pool: Pool, budget: int, key: PRNGKeyArray, config: RankWeightsConfig) -> _Fitted:
    scores = normal_quantiles(pool.table)
    item = jnp.zeros(budget, jnp.int32)
    return _Fitted(scores, item, jnp.full(budget, jnp.nan), jnp.zeros((), jnp.int32), _equal(pool))


def _tell(
    state: _Fitted, proposal: Proposal, objective: Float[Array, ""], pool: Pool, config: RankWeightsConfig
) -> _Fitted:
    """Fit the weights to all queries, from equal ones."""
    item = state.item.at[state.count].set(proposal.item)
    values = state.objective.at[state.count].set(objective)
    count = state.count + 1
    x, y, used = state.scores[item], warp(values, count), jnp.arange(len(item)) < count

    def loss(weights: Float[Array, " M"]) -> Float[Array, ""]:
        away = config.pull * jnp.sum((weights - _equal(pool)) ** 2) / count
        return away - soft_kendall(combine(x, weights), y, used, config.alpha)

    optimiser = optax.adam(config.learning_rate)

    def step(
        _: Int[Array, ""], carried: tuple[Float[Array, " M"], optax.OptState]
    ) -> tuple[Float[Array, " M"], optax.OptState]:
        weights, memory = carried
        update, memory = optimiser.update(jax.grad(loss)(weights), memory)
        return weights + update, memory

    weights, _ = lax.fori_loop(0, config.steps, step, (_equal(pool), optimiser.init(_equal(pool))))
    return _Fitted(state.scores, item, values, count, weights)


def _ask(state: _Fitted, history: History, pool: Pool, key: PRNGKeyArray, config: RankWeightsConfig) -> Proposal:
    drawn = (state.count > 0) & (state.count <= config.initial)

    def draw() -> Proposal:
        return Proposal(pick(key, ~history.queried), jnp.int32(Phase.RANDOM), unweighted(pool))

    def lead() -> Proposal:
        arch = next_in_ranking(combine(state.scores, state.weights), history.queried)
        return Proposal(arch, jnp.int32(Phase.PREDICTION), state.weights)

    proposal: Proposal = lax.cond(drawn, draw, lead)
    return proposal


rank_weights = Method("rank_weights", _init, _ask, _tell, RankWeightsConfig(), weights=lambda state: state.weights)
"""The leader by weights of the proxies that maximise a differentiable Kendall correlation on the queried.

The weights are fitted after every query, from equal ones and pulled towards them. ParZC fits a network on statistics of
every layer by the same loss; here the inputs are the normal scores of the proxies, and the model is linear.

Source: Dong et al. 2025, ParZC (arXiv:2402.02105); the loss is that of `soft_kendall`.
"""
