"""What a search returns, and the bookkeeping of queries that all methods share."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxnas.errors import InputError
from jaxnas.runtime.files import atomic_write, read_bytes
from jaxnas.runtime.frames import Frame, html_table, to_pandas


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


@dataclass(frozen=True, repr=False)
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

    @property
    def best(self) -> float:
        """The objective of the selected architecture, at the highest fidelity that it has."""
        at = np.flatnonzero((self.queries == self.selected) & np.isfinite(self.objective))
        return float(self.objective[at[np.argmax(self.fidelity[at])]])

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

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "SearchResult":
        """The inverse of `to_dict`, but that inf is NaN."""
        arrays: dict[str, Any] = {name: np.array(values[name], kind) for name, kind in _ARRAYS.items()}
        return cls(**{**values, **arrays, "phase": tuple(values["phase"])})

    def save(self, path: Path | str) -> None:
        """Write `to_dict` as JSON, atomically."""
        with atomic_write(path) as partial:
            partial.write_text(json.dumps(self.to_dict(), allow_nan=False) + "\n")

    @classmethod
    def load(cls, path: Path | str) -> "SearchResult":
        """What `save` wrote.

        Raises: InputError for a file that is missing or something else.
        """
        content = read_bytes(path)
        try:
            return cls.from_dict(json.loads(content))
        except (ValueError, LookupError, TypeError) as error:
            raise InputError(f"{path} is no saved search result ({error}): save one with `result.save`") from error

    def to_pandas(self) -> Frame:
        """One row per query: index in the pool, phase, objective, seconds, fidelity, and the weights of BO.

        The weights are those that first picked the architecture, a column for each proxy by its number.
        """
        columns = {"arch": self.queries, "phase": self.phase, "objective": self.objective, "seconds": self.cost}
        weights = {f"weight_{number}": column for number, column in enumerate(self.query_weights.T)}
        return to_pandas({**columns, "fidelity": self.fidelity, **weights})

    def __repr__(self) -> str:
        failed = f", {self.num_failed} failed" if self.num_failed else ""
        queries = f"{len(self.queries)} queries, T0 = {self.num_bo}{failed}"
        return f"<SearchResult {self.method}: architecture {self.selected}, {self.best:.4g} after {queries}>"

    def _repr_html_(self) -> str:
        columns = zip(self.queries, self.phase, self.objective, self.cost, strict=True)
        names = ("arch", "phase", "objective", "seconds")
        return html_table(repr(self)[1:-1], [dict(zip(names, row, strict=True)) for row in columns])


_ARRAYS: dict[str, Any] = {
    "queries": int,
    "objective": float,
    "cost": float,
    "query_weights": float,
    "weights": float,
    "fidelity": int,
    "spent": int,
}


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
