"""How a search of trainings ends: when its time is over, and by training the best candidates once more."""

import time
from collections.abc import Callable
from datetime import timedelta

import numpy as np

from jaxnas.objectives.training import TrainingObjective
from jaxnas.run.sections import SearchConfig
from jaxnas.runtime.events import Listener, Noted
from jaxnas.runtime.settings import parse_seconds
from jaxnas.search import SearchResult


class TimeLimit:
    """The end of the time that a method may spend: an equal share of what is left for this and further methods.

    Args:
      config: the limit, and how many candidates are confirmed.
      began: when the search began, by `time.perf_counter`.
      share: the number of methods that share what is left.
    """

    def __init__(self, config: SearchConfig, began: float, share: int) -> None:
        """Compute the end."""
        self.config, now = config, time.perf_counter()
        self.seconds = None if config.time is None else parse_seconds(config.time)
        self.end = now + (0.0 if self.seconds is None else (began + self.seconds - now) / share)

    def __call__(self, seconds: float) -> bool:
        """Return whether a training of so many seconds ends in time, with those that confirm the best after it."""
        needed = seconds * (1 + self.config.confirm)
        return self.seconds is None or time.perf_counter() + needed <= self.end

    def tell(self, num_queries: int, on_event: Listener) -> None:
        """Say that the time ended the search, if it did."""
        if self.seconds is not None and num_queries < num_to_search(self.config):
            spent = timedelta(seconds=round(self.seconds))
            on_event(Noted(f"the time limit of {spent} ended the search after {num_queries} candidates"))


def num_to_search(config: SearchConfig) -> int:
    """Return how many of the budget the method spends; the others confirm the best."""
    return config.budget - config.confirm


def confirm(result: SearchResult, again: Callable[[int], float], count: int) -> tuple[dict[int, float], int]:
    """Evaluate the best candidates of a search once more, and select by the mean of both.

    Args:
      result: the search.
      again: the objective from another seed; NaN excludes a candidate.
      count: number of candidates; fewer where fewer have a finite objective.

    Returns:
      The second objective by candidate, best first, and the selected candidate: of equal means, that which came first.
    """
    finite = np.flatnonzero(np.isfinite(result.objective))
    best = finite[np.argsort(-result.objective[finite], kind="stable")][:count]
    if isinstance(again, TrainingObjective):
        again.prepare(result.queries[best].tolist())
    second = {int(result.queries[query]): float(again(int(result.queries[query]))) for query in best}
    means = np.array([result.objective[query] + second[int(result.queries[query])] for query in best])
    if not np.isfinite(means).any():
        return second, result.selected
    return second, list(second)[int(np.nanargmax(means))]
