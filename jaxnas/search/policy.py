"""REINFORCE: a policy over architectures, raised where the objective is above its moving average."""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from jaxnas.errors import InputError
from jaxnas.runtime.settings import check_kinds
from jaxnas.search.config import check_positive
from jaxnas.search.history import History, Phase, Proposal
from jaxnas.search.method import Method
from jaxnas.search.pool import Pool, unweighted


@dataclass(frozen=True)
class ReinforceConfig:
    """Hyperparameters of `reinforce`.

    Adam's step is ten times that of Dong and Yang 2020 (arXiv:2001.00326), who spend ten times the usual budget.

    Attributes:
        learning_rate: The step size of Adam.
        decay: Weight of the past in the moving average of the objective, in [0, 1].
    """

    learning_rate: float = 0.1
    decay: float = 0.9

    def __post_init__(self) -> None:
        """Check every field."""
        check_kinds(self)
        check_positive(learning_rate=self.learning_rate)
        if not 0 <= self.decay <= 1:
            raise InputError(f"`decay` must be from 0 to 1, got {self.decay}")


class _Policy(NamedTuple):
    """The policy and its optimiser.

    Attributes:
        logits: Unnormalised log probability of every option of every decision [D K].
        optimiser: The state of Adam.
        baseline: Moving average of the finite objectives []; NaN before the first.
    """

    logits: Float[Array, "D K"]
    optimiser: optax.OptState
    baseline: Float[Array, ""]


def _optimiser(config: ReinforceConfig) -> optax.GradientTransformation:
    return optax.adam(config.learning_rate)


def _log_policy(logits: Float[Array, "D K"], pool: Pool) -> Float[Array, " A"]:
    """Return log p(a): decisions independent of each other, conditional on a member of the pool."""
    options = pool.archs.astype(jnp.int32)
    return jax.nn.log_softmax(sum(logits[decision, options[:, decision]] for decision in range(len(logits))))


def _init(pool: Pool, budget: int, key: PRNGKeyArray, config: ReinforceConfig) -> _Policy:
    logits = jnp.zeros((pool.archs.shape[1], len(pool.options)))
    return _Policy(logits, _optimiser(config).init(logits), jnp.array(jnp.nan))


def _ask(state: _Policy, history: History, pool: Pool, key: PRNGKeyArray, config: ReinforceConfig) -> Proposal:
    arch = jax.random.categorical(key, _log_policy(state.logits, pool)).astype(jnp.int32)
    return Proposal(arch, Phase.POLICY, unweighted(pool))


def _tell(
    state: _Policy, proposal: Proposal, objective: Float[Array, ""], pool: Pool, config: ReinforceConfig
) -> _Policy:
    """Step along (objective - baseline) grad log p; a failed candidate changes nothing."""
    known = jnp.isfinite(objective)
    objective = jnp.where(known, objective, 0.0)
    old = jnp.where(jnp.isnan(state.baseline), objective, state.baseline)
    baseline = config.decay * old + (1 - config.decay) * objective
    slope = jax.grad(lambda logits: _log_policy(logits, pool)[proposal.item])(state.logits)
    update, optimiser = _optimiser(config).update(-(objective - baseline) * slope, state.optimiser)
    moved = _Policy(state.logits + update, optimiser, baseline)
    following: _Policy = jax.tree.map(lambda new, old: jnp.where(known, new, old), moved, state)
    return following


reinforce = Method("reinforce", _init, _ask, _tell, ReinforceConfig(), needs_archs=True, reads_scores=False)
"""Policy gradient with independent decisions. Source: Williams 1992; for NAS, Zoph and Le 2017 (arXiv:1611.01578)."""
