"""The bookkeeping of a search: every query is paid for once, reported and kept in order."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from jaxnas.errors import InputError
from jaxnas.objectives.call import to_objective
from jaxnas.runtime.events import Listener, ignore
from jaxnas.runtime.names import Direction
from jaxnas.runtime.settings import Whole, check_whole
from jaxnas.search.history import Phase, SurrogateInfo
from jaxnas.search.result import Query, SearchResult, sign_of
from jaxnas.table.missing import to_floats

LAST_PRICE = 2**31 - 1  # prices are int32 in a compiled search


class Choice(NamedTuple):
    """The choice of an item, in NumPy arrays.

    Attributes:
        phase: The phase.
        weights: The proxy weights that picked it [M], NaN if none did.
        info: The state of the surrogate, NaN if none chose.
    """

    phase: Phase
    weights: Float[np.ndarray, " M"]
    info: SurrogateInfo


@dataclass
class Ledger:
    """Pays for queries one by one: each architecture is evaluated once per fidelity, reported and kept in order.

    Item n is architecture n modulo A at fidelity n // A.

    Attributes:
        objective: Called as `objective(arch)`, or `objective(arch, fidelity)` where there are several fidelities.
        costs: Seconds of an architecture, asked for once it is evaluated; None to measure them.
        num_archs: The number of architectures, A.
        budget: Queries to spend, T.
        prices: Queries that an evaluation costs at each fidelity [F].
        on_event: Receives each distinct query.
        direction: Whether the best query has the largest or the smallest objective.
        paid: The queries by item, in order.
        choices: The choice of each.
        spent: Queries' worth of the budget spent so far.
        best: The best query with a finite objective so far.
        known: Objectives by architecture that were paid for before and are not evaluated again; of one fidelity.
    """

    objective: Callable[..., float]
    costs: Callable[[int], float] | None
    num_archs: int
    budget: int
    prices: tuple[int, ...]
    on_event: Listener
    direction: Direction = "maximize"
    paid: dict[int, Query] = field(default_factory=dict)
    choices: dict[int, Choice] = field(default_factory=dict)
    spent: int = 0
    best: Query | None = None
    known: Mapping[int, float] = field(default_factory=dict)

    def query(self, item: int, choice: Choice) -> float:
        """Return the objective of an item, which is evaluated and paid for if this is its first query."""
        if item not in self.paid:
            query = self._evaluate(item, choice.phase)
            if np.isfinite(query.objective) and (self.best is None or self._merit(query) > self._merit(self.best)):
                self.best = query
            self.paid[item] = query._replace(best=self.best.objective if self.best else np.nan)
            self.choices[item] = choice
            self.spent += self.prices[query.fidelity]
            self.on_event(self.paid[item])
        return self.paid[item].objective

    @property
    def mean_cost(self) -> float:
        """The mean seconds of the queries whose cost is known, 0 if there are none."""
        known = [query.cost for query in self.paid.values() if np.isfinite(query.cost)]
        return float(np.mean(known)) if known else 0.0

    def _evaluate(self, item: int, phase: Phase) -> Query:
        fidelity, arch = divmod(item, self.num_archs)
        if arch in self.known:
            objective, seconds = self.known[arch], np.nan
        else:
            objective, seconds = self._call(arch, fidelity)
        return Query(len(self.paid) + 1, self.budget, phase.label, arch, objective, seconds, np.nan, fidelity)

    def _call(self, arch: int, fidelity: int) -> tuple[float, float]:
        """Return objective and seconds of an architecture; an exception names what is paid for already."""
        at = (arch, fidelity) if len(self.prices) > 1 else (arch,)
        began = time.perf_counter()
        try:
            objective = to_objective(self.objective(*at))
            return objective, time.perf_counter() - began if self.costs is None else float(self.costs(arch))
        except BaseException as error:
            if self.paid and len(self.prices) == 1:
                found = {query.arch: query.objective for query in self.paid.values()}
                error.add_note(f"jaxnas: {len(found)} objectives are paid for; go on from them with known={found}")
            raise

    def _merit(self, query: Query) -> tuple[int, float]:
        return query.fidelity, sign_of(self.direction) * query.objective

    def result(
        self, method: str, weights: Float[np.ndarray, " M"], seed: int, config: dict[str, object]
    ) -> SearchResult:
        """Return the finished search, which selects -1 if no query has a finite objective."""
        queries, choices = list(self.paid.values()), list(self.choices.values())
        objective = np.array([query.objective for query in queries])
        return SearchResult(
            method=method,
            selected=self.best.arch if self.best else -1,
            queries=np.array([query.arch for query in queries]),
            phase=tuple(query.phase for query in queries),
            objective=objective,
            cost=np.array([query.cost for query in queries]),
            query_weights=np.stack([choice.weights for choice in choices]),
            weights=np.asarray(weights),
            num_bo=sum(choice.phase == Phase.BO for choice in choices),
            budget=self.budget,
            seed=seed,
            num_failed=int((~np.isfinite(objective)).sum()),
            config=config,
            fidelity=np.array([query.fidelity for query in queries]),
            spent=np.cumsum([self.prices[query.fidelity] for query in queries]),
            info=SurrogateInfo(*map(np.stack, zip(*(choice.info for choice in choices), strict=True))),
            direction=self.direction,
        )


def check_known(
    known: Mapping[Whole, object] | None, num_archs: int, prices: Sequence[Whole] | None
) -> dict[int, float]:
    """Return known objectives with ints and floats of Python.

    Raises:
        InputError: There are several fidelities, an index is not one of the rows or comes twice, or a value is not one
            number.
    """
    if not known:
        return {}
    if prices is not None and len(prices) > 1:
        raise InputError("`known` is for an objective of one fidelity: leave it out, or leave `prices` out")
    rows = [check_whole("known", row, 0, num_archs - 1, ", the rows of the score table") for row in known]
    if len(set(rows)) < len(rows):
        raise InputError(f"`known` must have each row once, got {', '.join(map(str, known))}")
    return dict(zip(rows, map(to_objective, known.values()), strict=True))


def open_ledger(
    num_archs: int,
    objective: ArrayLike | Callable[..., float],
    budget: Whole,
    costs: ArrayLike | Callable[[int], float] | None = None,
    on_event: Listener = ignore,
    prices: Sequence[Whole] | None = None,
    direction: Direction = "maximize",
) -> Ledger:
    """Check the budget, the prices and the objective of a search, and return its empty ledger.

    An objective array [A] or [A F] becomes a look-up, of unknown cost unless `costs` are given.

    Raises:
        InputError: The budget is outside 1 to A, the prices do not rise from 1, the objective or the costs do not have
            A entries, the objective has no finite value, or the direction is unknown.
    """
    prices = _check_prices(prices)
    sign_of(direction)
    budget = check_whole("budget", budget, 1, num_archs, ", the number of architectures")
    if callable(objective):
        evaluate = objective
    else:
        shape = (num_archs, len(prices)) if len(prices) > 1 else (num_archs,)
        values = _column("objective", objective, shape)
        if not np.isfinite(values).any():
            raise InputError(f"the objective has no finite value for any of the {num_archs} architectures")
        evaluate = lambda *at: float(values[at])  # noqa: E731
        costs = np.full(num_archs, np.nan) if costs is None else costs
    if costs is not None and not callable(costs):
        seconds = _column("costs", costs, (num_archs,))
        if (seconds < 0).any():
            raise InputError(f"`costs` must be at least 0 seconds, or NaN where unknown, got {np.nanmin(seconds):g}")
        costs = seconds.__getitem__
    return Ledger(evaluate, costs, num_archs, budget, prices, on_event, direction)


def _check_prices(prices: Sequence[Whole] | None) -> tuple[int, ...]:
    """Return the prices as ints; one of 1 by default."""
    if prices is None or not len(prices):
        return (1,)
    found = tuple(check_whole("prices", price, 1, LAST_PRICE) for price in prices)
    if found[0] != 1 or list(found) != sorted(set(found)):
        raise InputError(f"`prices` of the fidelities must be whole numbers that rise from 1, got {found}")
    return found


def _column(name: str, values: ArrayLike, shape: tuple[int, ...]) -> Float[np.ndarray, "A ..."]:
    column = to_floats(name, values)
    if column.shape != shape:
        raise InputError(f"`{name}` must have the shape {list(shape)} of the score table's rows, got {column.shape}")
    return column
