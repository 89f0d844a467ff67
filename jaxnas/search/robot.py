"""RoBoT: Bayesian optimisation over proxy weights, then greedy search down the best ranking.

Rules on ties, all in one place. Between architectures of equal M(a; w) the lower index wins (published: the higher).
Of equally good weights the latest is kept, of equally good architectures the first queried is selected (published).
"""

import jax.numpy as jnp
from jax import lax

from jaxnas.search import bo
from jaxnas.search.bo import BOState, RobotConfig
from jaxnas.search.greedy import next_in_ranking
from jaxnas.search.loop import PHASES, History, Method, Pool, Proposal, unweighted
from jaxnas.table.normalize import combine

BO_PHASE, GREEDY_PHASE = PHASES.index("bo"), PHASES.index("greedy")


def _init(pool: Pool, budget, key, config) -> BOState:
    return bo.init(num_proxies=pool.table.shape[1], budget=budget)


def _ask(state: BOState, history: History, pool: Pool, key, config) -> Proposal:
    """BO, which finds T0 distinct architectures; then down the ranking of the best weights.

    BO ends after T steps, at `explore` T architectures, or, with `distinct`, when it has nothing new to propose.
    """

    def explore():
        weights, arch, _ = bo.ask(state, pool.table, history.queried, key, config=config)
        return Proposal(arch, jnp.int32(BO_PHASE), weights)

    def exploit():
        merit = combine(pool.table, bo.best_weights(state))
        return Proposal(next_in_ranking(merit, history.queried), jnp.int32(GREEDY_PHASE), unweighted(pool))

    budget = len(state.objective)
    exploring = (state.count < budget) & (history.count < config.explore * budget)
    if config.distinct:
        exploring &= state.count == history.count  # every step so far was new
    return lax.cond(exploring, explore, exploit)


def _tell(state: BOState, proposal: Proposal, objective, pool, config) -> BOState:
    """A failed candidate is the worst value so far for the surrogate."""
    told = bo.tell(state, proposal.weights, proposal.item, objective)
    return lax.cond(proposal.phase == BO_PHASE, lambda: told, lambda: state)


robot = Method("robot", _init, _ask, _tell, RobotConfig(), weights=bo.best_weights)
"""Of T queries the T0 that Bayesian optimisation finds, and the T - T0 that lead the ranking of its best weights.

Source: He et al. 2024 (arXiv:2403.07591).
"""
