"""What a search returns, and the bookkeeping of queries that all methods share."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxnas.errors import InputError


class Query(NamedTuple):
    """One distinct query, as given to `on_query` when it is done."""

    number: int  # from 1
    budget: int
    phase: str
    arch: int
    objective: float
    cost: float  # seconds, NaN if unknown
    best: float  # best finite objective so far, NaN if none


@dataclass(frozen=True)
class SearchResult:
    """One run. T queries of distinct architectures in the order they were paid for; T0 of them chosen by BO."""

    method: str
    selected: int  # index of the best architecture queried: the first of equals, never a failed one
    queries: Int[np.ndarray, " T"]
    phase: tuple[str, ...]  # of each query: "bo", "greedy" or "random"
    objective: Float[np.ndarray, " T"]  # as observed, NaN or inf where the candidate failed
    cost: Float[np.ndarray, " T"]  # seconds, NaN where unknown
    query_weights: Float[np.ndarray, "T M"]  # the weights that first picked the architecture; NaN outside of BO
    weights: Float[np.ndarray, " M"]  # the best found; NaN if the method has none
    num_bo: int  # T0
    budget: int
    seed: int
    num_failed: int  # queries with a non-finite objective
    config: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, numbers and strings, with None for NaN and inf: valid JSON."""
        return {name: _plain(value) for name, value in asdict(self).items()}


@dataclass
class Ledger:
    """Pays for queries one by one: each architecture is evaluated once, reported and kept in order."""

    objective: Callable[[int], float]
    num_archs: int
    num_proxies: int
    budget: int
    costs: Callable[[int], float] | None
    on_query: Callable[[Query], None] | None
    paid: dict[int, Query] = field(default_factory=dict)  # by architecture, in order
    weights: dict[int, np.ndarray] = field(default_factory=dict)

    def query(self, arch: int, phase: str, weights: Float[np.ndarray, " M"] | None = None) -> float:
        """The objective of `arch`, evaluated if this is its first time."""
        if arch not in self.paid:
            start = time.perf_counter()
            objective = float(self.objective(arch))
            seconds = time.perf_counter() - start if self.costs is None else float(self.costs(arch))
            finite = [q.objective for q in self.paid.values() if np.isfinite(q.objective)]
            best = max([*finite, objective]) if np.isfinite(objective) else max(finite, default=np.nan)
            self.paid[arch] = Query(len(self.paid) + 1, self.budget, phase, arch, objective, seconds, best)
            self.weights[arch] = np.full(self.num_proxies, np.nan) if weights is None else np.asarray(weights)
            if self.on_query is not None:
                self.on_query(self.paid[arch])
        return self.paid[arch].objective

    def result(self, method: str, weights: Float[np.ndarray, " M"], seed: int, config: dict[str, Any]) -> SearchResult:
        """Close the run.

        Raises: InputError if no query has a finite objective.
        """
        queries = list(self.paid.values())
        objective = np.array([query.objective for query in queries])
        finite = np.isfinite(objective)
        if not finite.any():
            raise InputError(
                f"all {len(queries)} queried architectures failed (objective NaN or inf): nothing to select"
            )
        return SearchResult(
            method=method,
            selected=queries[int(np.argmax(np.where(finite, objective, -np.inf)))].arch,
            queries=np.array([query.arch for query in queries]),
            phase=tuple(query.phase for query in queries),
            objective=objective,
            cost=np.array([query.cost for query in queries]),
            query_weights=np.stack(list(self.weights.values())),
            weights=np.asarray(weights),
            num_bo=sum(query.phase == "bo" for query in queries),
            budget=self.budget,
            seed=seed,
            num_failed=int((~finite).sum()),
            config=config,
        )


def open_ledger(table: Any, objective: Any, budget: int, costs: Any = None, on_query: Any = None) -> Ledger:
    """Check what every method is given; an objective array [A] becomes a look-up of unknown cost.

    Raises: InputError for a table that is not [A M] or not finite, a budget outside [1, A], an objective or costs
      that do not have A entries, and an objective without a finite value.
    """
    table = np.asarray(table)
    if table.ndim != 2 or table.size == 0:
        raise InputError(f"the score table has shape {table.shape}: give [architectures, proxies]")
    if not np.isfinite(table).all():
        raise InputError(f"the score table has {(~np.isfinite(table)).sum()} NaN or inf entries: normalize it first")
    num_archs, num_proxies = table.shape
    if not 1 <= budget <= num_archs:
        raise InputError(f"budget {budget} is outside 1 to {num_archs}, the number of architectures")
    if not callable(objective):
        values = _column("objective", objective, num_archs)
        if not np.isfinite(values).any():
            raise InputError(f"the objective has no finite value for any of the {num_archs} architectures")
        objective = values.__getitem__
        costs = np.full(num_archs, np.nan) if costs is None else costs
    if costs is not None and not callable(costs):
        costs = _column("costs", costs, num_archs).__getitem__
    return Ledger(objective, num_archs, num_proxies, budget, costs, on_query)


def _column(name: str, values: Any, num_archs: int) -> Float[np.ndarray, " A"]:
    values = np.asarray(values, dtype=np.float64)
    if values.shape != (num_archs,):
        raise InputError(f"{name} has shape {values.shape}, the score table {num_archs} rows: give one value per row")
    return values


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
