"""RoBoT: Bayesian optimisation over proxy weights, then greedy search down the best ranking.

Rules on ties, all in one place. Between architectures of equal M(a; w) the lower index wins (published: the higher).
Of equally good weights the latest is kept, of equally good architectures the first queried is selected (published).
"""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, PRNGKeyArray

from jaxnas.errors import unknown_name
from jaxnas.search import bo
from jaxnas.search.bo import BOState
from jaxnas.search.config import RobotConfig
from jaxnas.search.history import History, Phase, Proposal, no_info
from jaxnas.search.method import Method
from jaxnas.search.pool import Pool, next_in_ranking, unweighted
from jaxnas.table.normalize import combine

PRESETS: dict[str, RobotConfig] = {
    "default": RobotConfig(),
    # As published, with min-max normalised scores: He et al. 2024 (arXiv:2403.07591).
    "paper": RobotConfig(kappa=2.576, distinct=False, num_candidates=10_000),
}


def get_preset(name: str) -> RobotConfig:
    """Return the settings of a preset.

    Raises:
        InputError: Unknown name; the message has the nearest one.
    """
    if name not in PRESETS:
        raise unknown_name("preset", name, PRESETS)
    return PRESETS[name]


def _init(pool: Pool, budget: int, key: PRNGKeyArray, config: RobotConfig) -> BOState:
    state: BOState = bo.init(num_proxies=pool.num_proxies, budget=budget)
    return state


def _ask(state: BOState, history: History, pool: Pool, key: PRNGKeyArray, config: RobotConfig) -> Proposal:
    """Ask BO, or take the next architecture in the ranking of the best weights.

    BO ends after T steps or at `explore` T queries. With `distinct`, each of its proposals that is not new leaves one
    query to the ranking, after which BO is asked again.
    """

    def explore() -> Proposal:
        weights, arch, info = bo.ask(state, pool.table, history.queried, key, config=config)
        return Proposal(arch, jnp.int32(Phase.BO), weights, info)

    def exploit() -> Proposal:
        merit = combine(pool.table, bo.best_weights(state))
        arch = next_in_ranking(merit, history.queried)
        return Proposal(arch, jnp.int32(Phase.GREEDY), unweighted(pool), no_info(pool.num_proxies))

    budget = len(state.objective)
    exploring = (state.count < budget) & (history.count < config.explore * budget)
    if config.distinct:
        exploring &= state.count == history.count  # every step so far was new
    proposal: Proposal = lax.cond(exploring, explore, exploit)
    return proposal


def _tell(state: BOState, proposal: Proposal, objective: Float[Array, ""], pool: Pool, config: RobotConfig) -> BOState:
    """Enter a query of BO; for the surrogate a failed candidate has the worst value so far."""
    extended = bo.tell(state, proposal.weights, proposal.item, objective)
    following: BOState = lax.cond(proposal.phase == Phase.BO, lambda: extended, lambda: state)
    return following


robot = Method("robot", _init, _ask, _tell, RobotConfig(), weights=bo.best_weights)
"""RoBoT: T0 of T queries by Bayesian optimisation over weights, the others from the ranking of the best weights.

Source: He et al. 2024 (arXiv:2403.07591).
"""
