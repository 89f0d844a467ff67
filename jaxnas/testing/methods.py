"""The check of a search method."""

import itertools
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from jaxnas.search import Method, SearchResult, run_search
from jaxnas.search.method import ConfigT, StateT
from jaxnas.testing.rules import require

OPTIONS, NUM_PROXIES, BUDGET = (2, 3, 4), 3, 6


def check_method(method: Method[StateT, ConfigT]) -> None:
    """Check that `method` is three pure functions that spend a budget on distinct architectures and learn from it.

    On a pool of 24 architectures with drawn scores the method must

    - pay for exactly its budget, for each architecture once, and find the best of what it paid for;
    - make the same queries with the same seed, and with other scores if it is declared to read none;
    - make the same queries on a function as on an array, although its steps are then called outside of a jitted loop;
    - select a candidate that did not fail if others do;
    - work with a budget of one query and with one for the whole pool.

    Args:
        method: The method, with the default of its config.

    Raises:
        AssertionError: The method breaks a rule, which the message names.
    """
    archs = np.array(list(itertools.product(*map(range, OPTIONS))), np.int8)
    draw = np.random.default_rng(0)
    table = draw.random((len(archs), NUM_PROXIES))
    objective = 50 + 40 * table @ draw.dirichlet(np.ones(NUM_PROXIES)) + draw.normal(size=len(archs))

    def run(
        objective: ArrayLike | Callable[[int], float],
        budget: int = BUDGET,
        method: Method[StateT, ConfigT] = method,
        table: np.ndarray = table,
    ) -> SearchResult:
        return run_search(method, table, objective, budget=budget, seed=1, archs=archs, costs=np.ones(len(archs)))

    result = run(objective)
    queries = result.queries.tolist()
    require(len(queries) == BUDGET, f"the method pays for {len(queries)} architectures with a budget of {BUDGET}")
    require(len(set(queries)) == BUDGET, f"the method pays twice for the same architecture: {sorted(queries)}")
    best = queries[int(np.argmax(objective[result.queries]))]
    require(result.selected == best, f"architecture {result.selected} is selected, the best paid for is {best}")
    again = run(objective).queries.tolist()
    require(again == queries, f"the same seed asks for {queries} and then for {again}: draw from the key alone")
    unread = queries if method.reads_scores else run(objective, table=table[::-1]).queries.tolist()
    require(unread == queries, f"with other scores the method asks for {unread}, not {queries}: set reads_scores=True")
    renamed = replace(method, name=f"{method.name} again")  # traced again: what is drawn while tracing differs
    one_by_one = run(lambda arch: float(objective[arch]), method=renamed).queries.tolist()
    require(
        one_by_one == queries,
        f"on an array the method asks for {queries}, on a function for {one_by_one}: its functions are not pure",
    )
    failing = np.where(np.arange(len(archs)) % 3 == 0, np.nan, objective)
    survivor = run(failing, budget=len(archs) // 2)
    require(bool(np.isfinite(failing[survivor.selected])), "a candidate that failed is selected")
    for budget in (1, len(archs)):
        paid = len(set(run(objective, budget=budget).queries.tolist()))
        require(paid == budget, f"with a budget of {budget} the method pays for {paid} architectures")
