"""Search methods against random search."""

import numpy as np

from jaxnas.search import random_search
from jaxnas.table.evaluation import compare


def check_beats_random(method, table, objective, *, budget, archs):
    """Check that the best found is better than that of random search over 50 seeds."""
    given = {"budget": budget, "seeds": range(50), "archs": archs}
    best = [
        np.array([result.objective.max() for result in searched.run_seeds(table, objective, **given)])
        for searched in (method, random_search)
    ]
    against = compare(*best)
    assert against.difference > 0
    assert against.p_value < 0.01
