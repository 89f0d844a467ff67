"""RoBoT: Bayesian optimisation over proxy weights, then greedy search down the best ranking.

Rules on ties, all in one place. Between architectures of equal M(a; w) the lower index wins (published: the higher).
Of equally good weights the latest is kept, of equally good architectures the first queried is selected (published).
"""

from collections.abc import Callable, Iterable
from dataclasses import asdict
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jaxnas.search import bo
from jaxnas.search.bo import RobotConfig
from jaxnas.search.greedy import greedy
from jaxnas.search.precision import in_float64
from jaxnas.search.result import Ledger, Query, SearchResult, open_ledger

__all__ = ["RobotConfig", "robot", "robot_seeds"]


def robot(
    table: Float[Any, "A M"],
    objective: Float[Any, " A"] | Callable[[int], float],
    *,
    budget: int,
    seed: int,
    config: RobotConfig | None = None,
    on_query: Callable[[Query], None] | None = None,
    costs: Float[Any, " A"] | Callable[[int], float] | None = None,
) -> SearchResult:
    """T steps of BO find T0 distinct architectures; the other T - T0 follow down the ranking of the best weights.

    Args: table, scores from `normalize`; objective, to be maximised: an array (the whole run is one jitted program)
      or a function of the index (evaluated once per architecture; the same result); budget, T; seed, of all draws;
      config, `RobotConfig()` by default; on_query, called after each distinct query (for an array: after the run);
      costs, seconds per architecture, an array or a function that is asked once the architecture is evaluated
      (default: measured for a function, NaN for an array).
    Returns: the run; exactly T distinct queries. A NaN or inf objective is a failed candidate: the surrogate sees it
      as the worst value so far, and it is never selected.
    Raises: InputError for arguments that do not fit, or if every candidate failed.
    Source: He et al. 2024 (arXiv:2403.07591).
    """
    if not callable(objective):
        return robot_seeds(
            table, objective, budget=budget, seeds=[seed], config=config, on_query=on_query, costs=costs
        )[0]
    config = config or RobotConfig()
    ledger = open_ledger(table, objective, budget, costs, on_query)
    table = np.asarray(table, dtype=np.float64)
    state = bo.init(num_archs=ledger.num_archs, num_proxies=ledger.num_proxies, budget=budget)
    for key in _split(jax.random.key(seed), budget=budget):
        weights, arch, _ = bo.ask(state, table, key, config=config)
        state = bo.tell(state, weights, arch, ledger.query(int(arch), "bo", weights))
    best = bo.best_weights(state)
    return _finish(ledger, best, greedy(table, best, state.queried, budget=budget), seed, config)


def robot_seeds(
    table: Float[Any, "A M"],
    objective: Float[Any, " A"],
    *,
    budget: int,
    seeds: Iterable[int],
    config: RobotConfig | None = None,
    on_query: Callable[[Query], None] | None = None,
    costs: Float[Any, " A"] | Callable[[int], float] | None = None,
) -> list[SearchResult]:
    """`robot` on an objective array for many seeds in one program, compiled once; one result per seed, in order."""
    config, seeds = config or RobotConfig(), list(seeds)
    if not seeds:
        return []
    ledgers = [open_ledger(table, objective, budget, costs, on_query) for _ in seeds]
    keys = jnp.stack([jax.random.key(seed) for seed in seeds])
    values = np.asarray(objective, dtype=np.float64)
    runs = _run(np.asarray(table, dtype=np.float64), values, keys, budget=budget, config=config)
    results = []
    for ledger, seed, arch, weights, best, order in zip(ledgers, seeds, *map(np.asarray, runs), strict=True):
        for row in range(budget):
            ledger.query(int(arch[row]), "bo", weights[row])
        results.append(_finish(ledger, best, order, seed, config))
    return results


@in_float64
@partial(jax.jit, static_argnames="budget")
def _split(key: PRNGKeyArray, *, budget: int) -> PRNGKeyArray:
    return jax.random.split(key, budget)


@in_float64
@partial(jax.jit, static_argnames=("budget", "config"))
def _run(
    table: Float[Array, "A M"],
    objective: Float[Array, " A"],
    keys: PRNGKeyArray,
    *,
    budget: int,
    config: RobotConfig,
) -> tuple[Int[Array, "S T"], Float[Array, "S T M"], Float[Array, "S M"], Int[Array, "S T"]]:
    """Per seed: the architectures and weights of the BO steps, the best weights, the greedy order."""

    def one(key):
        start = bo.init(num_archs=table.shape[0], num_proxies=table.shape[1], budget=budget)
        state, _ = jax.lax.scan(
            lambda state, key: bo.step(state, table, objective, key, config=config), start, _split(key, budget=budget)
        )
        best = bo.best_weights(state)
        return state.arch, state.weights, best, greedy(table, best, state.queried, budget=budget)

    return jax.vmap(one)(keys)


def _finish(ledger: Ledger, best: Any, order: Any, seed: int, config: RobotConfig) -> SearchResult:
    for arch in np.asarray(order)[: ledger.budget - len(ledger.paid)]:
        ledger.query(int(arch), "greedy")
    return ledger.result("robot", best, seed, asdict(config))
