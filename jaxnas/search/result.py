"""What a search returns, and the bookkeeping of queries that all methods share."""

import time
from collections.abc import Callable, Sequence
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
    best: float  # best finite objective so far (at the highest fidelity that has one), NaN if none
    fidelity: int = 0  # which of the objective's columns; the last is the full training


@dataclass(frozen=True)
class SearchResult:
    """One run. T queries of distinct architectures in the order they were paid for; T0 of them chosen by BO.

    Where fidelities differ in price, there are fewer queries than the budget buys of the cheapest, and an architecture
    may stand in several of them, once at each fidelity.
    """

    method: str
    selected: int  # index of the best (at the highest fidelity): the first of equals, never a failed one
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
    fidelity: Int[np.ndarray, " T"]  # of each query; all 0 where there is one
    spent: Int[np.ndarray, " T"]  # queries' worth of the budget after each query

    def best_by_spending(self) -> Float[np.ndarray, " T"]:
        """Best finite objective, at the highest fidelity that has one, once 1 to T queries' worth is spent; or NaN."""
        best, incumbent = np.full(self.budget, np.nan), (-1, -np.inf)
        ends = [*self.spent[1:] - 1, self.budget]  # an evaluation counts when it is paid in full
        for start, end, fidelity, value in zip(self.spent - 1, ends, self.fidelity, self.objective, strict=True):
            if np.isfinite(value):
                incumbent = max(incumbent, (int(fidelity), float(value)))
            if incumbent[0] >= 0:
                best[start:end] = incumbent[1]
        return best

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, numbers and strings, with None for NaN and inf: valid JSON."""
        return {name: _plain(value) for name, value in asdict(self).items()}


@dataclass
class Ledger:
    """Pays for queries one by one: each architecture is evaluated once per fidelity, reported and kept in order.

    Item n is architecture n modulo A at fidelity n // A.
    """

    objective: Callable[..., float]  # of the architecture, and of the fidelity if there are several
    costs: Callable[[int], float] | None
    num_archs: int
    num_proxies: int
    budget: int
    prices: tuple[int, ...]
    on_query: Callable[[Query], None] | None
    paid: dict[int, Query] = field(default_factory=dict)  # by item, in order
    weights: dict[int, np.ndarray] = field(default_factory=dict)
    spent: int = 0
    best: Query | None = None  # of the finite ones

    def query(self, item: int, phase: str, weights: Float[np.ndarray, " M"] | None = None) -> float:
        """The objective of an item, evaluated if this is its first time."""
        if item not in self.paid:
            fidelity, arch = divmod(item, self.num_archs)
            at = (arch, fidelity) if len(self.prices) > 1 else (arch,)
            start = time.perf_counter()
            objective = float(self.objective(*at))
            seconds = time.perf_counter() - start if self.costs is None else float(self.costs(arch))
            query = Query(len(self.paid) + 1, self.budget, phase, arch, objective, seconds, np.nan, fidelity)
            if np.isfinite(objective) and (self.best is None or _merit(query) > _merit(self.best)):
                self.best = query
            self.paid[item] = query._replace(best=self.best.objective if self.best else np.nan)
            self.weights[item] = np.full(self.num_proxies, np.nan) if weights is None else np.asarray(weights)
            self.spent += self.prices[fidelity]
            if self.on_query is not None:
                self.on_query(self.paid[item])
        return self.paid[item].objective

    def result(self, method: str, weights: Float[np.ndarray, " M"], seed: int, config: dict[str, Any]) -> SearchResult:
        """Close the run.

        Raises: InputError if no query has a finite objective.
        """
        queries = list(self.paid.values())
        objective = np.array([query.objective for query in queries])
        if self.best is None:
            raise InputError(
                f"all {len(queries)} queried architectures failed (objective NaN or inf): nothing to select"
            )
        return SearchResult(
            method=method,
            selected=self.best.arch,
            queries=np.array([query.arch for query in queries]),
            phase=tuple(query.phase for query in queries),
            objective=objective,
            cost=np.array([query.cost for query in queries]),
            query_weights=np.stack(list(self.weights.values())),
            weights=np.asarray(weights),
            num_bo=sum(query.phase == "bo" for query in queries),
            budget=self.budget,
            seed=seed,
            num_failed=int((~np.isfinite(objective)).sum()),
            config=config,
            fidelity=np.array([query.fidelity for query in queries]),
            spent=np.cumsum([self.prices[query.fidelity] for query in queries]),
        )


def _merit(query: Query) -> tuple[int, float]:
    return query.fidelity, query.objective


def open_ledger(
    table: Any,
    objective: Any,
    budget: int,
    costs: Any = None,
    on_query: Any = None,
    prices: Sequence[int] | None = None,
) -> Ledger:
    """Check what every method is given; an objective array [A] or [A F] becomes a look-up of unknown cost.

    Raises: InputError for a table that is not [A M] or not finite, a budget outside [1, A], prices that do not rise
      from 1, an objective or costs that do not have A entries, and an objective without a finite value.
    """
    table, prices = np.asarray(table), tuple(prices or (1,))
    if table.ndim != 2 or table.size == 0:
        raise InputError(f"the score table has shape {table.shape}: give [architectures, proxies]")
    if not np.isfinite(table).all():
        raise InputError(f"the score table has {(~np.isfinite(table)).sum()} NaN or inf entries: normalize it first")
    num_archs, num_proxies = table.shape
    if not 1 <= budget <= num_archs:
        raise InputError(f"budget {budget} is outside 1 to {num_archs}, the number of architectures")
    if prices[0] != 1 or any(price != int(price) for price in prices) or list(prices) != sorted(set(prices)):
        raise InputError(f"prices of fidelities are {prices}: whole queries are needed that rise from 1")
    if not callable(objective):
        shape = (num_archs, len(prices)) if len(prices) > 1 else (num_archs,)
        values = _column("objective", objective, shape)
        if not np.isfinite(values).any():
            raise InputError(f"the objective has no finite value for any of the {num_archs} architectures")
        objective = lambda *at: values[at]  # noqa: E731
        costs = np.full(num_archs, np.nan) if costs is None else costs
    if costs is not None and not callable(costs):
        costs = _column("costs", costs, (num_archs,)).__getitem__
    return Ledger(objective, costs, num_archs, num_proxies, budget, prices, on_query)


def _column(name: str, values: Any, shape: tuple[int, ...]) -> Float[np.ndarray, "A ..."]:
    values = np.asarray(values, dtype=np.float64)
    if values.shape != shape:
        wanted = "one value per row" if len(shape) == 1 else f"one value per row and fidelity, {list(shape)}"
        raise InputError(f"{name} has shape {values.shape}, the score table {shape[0]} rows: give {wanted}")
    return values


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
