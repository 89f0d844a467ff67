"""REINFORCE: a policy over architectures, raised where the objective is above its moving average."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from jaxnas.search.loop import PHASES, History, Method, Pool, Proposal, unweighted

POLICY_PHASE = PHASES.index("policy")


@dataclass(frozen=True)
class ReinforceConfig:
    """Adam's step is ten times that of Dong and Yang 2020 (arXiv:2001.00326), who spend ten times the usual budget."""

    learning_rate: float = 0.1
    decay: float = 0.9  # of the baseline


class _Policy(NamedTuple):
    logits: Float[Array, "D K"]
    optimiser: Any
    baseline: Float[Array, ""]  # moving average of the finite objectives; NaN before the first


def _optimiser(config):
    return optax.adam(config.learning_rate)


def _log_policy(logits: Float[Array, "D K"], pool: Pool) -> Float[Array, " A"]:
    """log p(a): decisions independent of each other, given that they yield a member of the pool."""
    options = pool.archs.astype(jnp.int32)
    return jax.nn.log_softmax(sum(logits[decision, options[:, decision]] for decision in range(len(logits))))


def _init(pool: Pool, budget, key, config):
    logits = jnp.zeros((pool.archs.shape[1], len(pool.options)))
    return _Policy(logits, _optimiser(config).init(logits), jnp.array(jnp.nan))


def _ask(state: _Policy, history: History, pool: Pool, key, config):
    arch = jax.random.categorical(key, _log_policy(state.logits, pool)).astype(jnp.int32)
    return Proposal(arch, POLICY_PHASE, unweighted(pool))


def _tell(state: _Policy, proposal, objective, pool: Pool, config):
    """A step along (objective - baseline) grad log p; a failed candidate is no step."""
    known = jnp.isfinite(objective)
    objective = jnp.where(known, objective, 0.0)
    old = jnp.where(jnp.isnan(state.baseline), objective, state.baseline)
    baseline = config.decay * old + (1 - config.decay) * objective
    slope = jax.grad(lambda logits: _log_policy(logits, pool)[proposal.item])(state.logits)
    update, optimiser = _optimiser(config).update(-(objective - baseline) * slope, state.optimiser)
    moved = _Policy(state.logits + update, optimiser, baseline)
    return jax.tree.map(lambda new, old: jnp.where(known, new, old), moved, state)


reinforce = Method("reinforce", _init, _ask, _tell, ReinforceConfig(), needs_archs=True)
"""Policy gradient with independent decisions. Source: Williams 1992; for NAS, Zoph and Le 2017 (arXiv:1611.01578)."""
