"""Searches that RoBoT is compared with."""

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float

from jaxnas.search.result import Query, SearchResult, open_ledger


def random_search(
    table: Float[Any, "A M"],
    objective: Float[Any, " A"] | Callable[[int], float],
    *,
    budget: int,
    seed: int,
    config: None = None,
    on_query: Callable[[Query], None] | None = None,
    costs: Float[Any, " A"] | Callable[[int], float] | None = None,
) -> SearchResult:
    """The best of `budget` architectures drawn without replacement.

    Arguments, result and errors are those of `robot`; of the table only its shape is used, and there is no config.
    """
    ledger = open_ledger(table, objective, budget, costs, on_query)
    for arch in np.random.default_rng(seed).choice(ledger.num_archs, budget, replace=False):
        ledger.query(int(arch), "random")
    return ledger.result("random", np.full(ledger.num_proxies, np.nan), seed, {})
