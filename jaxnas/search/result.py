"""The result of a search: its queries in order, the selected architecture, and the choice of each query."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from jaxnas.errors import InputError, unknown_name
from jaxnas.runtime.events import QueryAnswered
from jaxnas.runtime.files import atomic_write, read_bytes
from jaxnas.runtime.frames import Frame, html_table, to_pandas
from jaxnas.runtime.names import Direction, names
from jaxnas.runtime.records import Record, is_same, to_plain
from jaxnas.search.history import SurrogateInfo

Query = QueryAnswered  # the record of a query is the event that reports it


def sign_of(direction: Direction) -> int:
    """Return the factor by which an objective of this direction is to be maximised: 1 or -1.

    Raises:
        InputError: The direction is unknown.
    """
    if direction not in names(Direction):
        raise unknown_name("direction", str(direction), names(Direction))
    return -1 if direction == "minimize" else 1


@dataclass(frozen=True, repr=False, eq=False)
class SearchResult:
    """One search: T queries of distinct architectures in the order they were paid for.

    Where fidelities differ in price there are fewer queries than the budget would buy of the cheapest, and an
    architecture may have several of them, one at each fidelity.

    Attributes:
        method: Name of the method.
        selected: Index of the best architecture at the highest fidelity: the first of equals, never a failed one. It is
            -1 if all failed, which only `run_seeds` returns.
        queries: Index of the architecture of each query [T].
        phase: The label of the `Phase` of each query, such as "bo", "greedy" or "random".
        objective: The observed objectives [T], NaN or inf where a candidate failed.
        cost: Seconds [T], NaN where unknown.
        query_weights: The proxy weights that first picked each architecture [T M]; NaN outside of BO.
        weights: The best proxy weights found [M]; NaN if the method seeks none.
        num_bo: The number of queries that BO chose, T0.
        budget: The budget, T.
        seed: The seed of all draws.
        num_failed: The number of queries with a non-finite objective.
        config: The hyperparameters of the method.
        fidelity: The fidelity of each query [T]; all 0 where there is a single one.
        spent: Queries' worth of the budget spent after each query [T].
        info: The state of the surrogate at each query [T ...]; NaN where no surrogate chose. Its predictions are of the
            negative objective where that is minimised.
        direction: Whether the search maximised or minimised the objective.
    """

    method: str
    selected: int
    queries: Int[np.ndarray, " T"]
    phase: tuple[str, ...]
    objective: Float[np.ndarray, " T"]
    cost: Float[np.ndarray, " T"]
    query_weights: Float[np.ndarray, "T M"]
    weights: Float[np.ndarray, " M"]
    num_bo: int
    budget: int
    seed: int
    num_failed: int
    config: dict[str, object]
    fidelity: Int[np.ndarray, " T"]
    spent: Int[np.ndarray, " T"]
    info: SurrogateInfo
    direction: Direction = "maximize"

    def __eq__(self, other: object) -> bool:
        """Return whether every field has the same values; NaN equals NaN."""
        return isinstance(other, SearchResult) and is_same(asdict(self), asdict(other))

    __hash__ = None  # type: ignore[assignment]

    @property
    def best(self) -> float:
        """The objective of the selected architecture at its highest fidelity; NaN if none was selected."""
        at = np.flatnonzero((self.queries == self.selected) & np.isfinite(self.objective))
        return float(self.objective[at[np.argmax(self.fidelity[at])]]) if len(at) else np.nan

    def best_by_spending(self) -> Float[np.ndarray, " T"]:
        """Return the best finite objective once 1 to T queries' worth is spent [T], NaN before the first.

        An objective of a higher fidelity replaces any of a lower one.
        """
        sign = sign_of(self.direction)
        best, incumbent = np.full(self.budget, np.nan), (-1, -np.inf)
        ends = [*self.spent[1:] - 1, self.budget]  # an evaluation counts when it is paid in full
        for start, end, fidelity, value in zip(self.spent - 1, ends, self.fidelity, self.objective, strict=True):
            if np.isfinite(value):
                incumbent = max(incumbent, (int(fidelity), sign * float(value)))
            if incumbent[0] >= 0:
                best[start:end] = sign * incumbent[1]
        return best

    def to_dict(self) -> Record:
        """Return plain lists, numbers and strings, with None for NaN and inf: valid JSON."""
        info = {name: to_plain(column) for name, column in self.info._asdict().items()}
        return {name: to_plain(value) for name, value in asdict(self).items()} | {"info": info}

    @classmethod
    def from_dict(cls, values: Record) -> "SearchResult":
        """Return the result that `to_dict` was made from, with NaN in place of inf.

        Older files lack `info` or some of its fields: they are NaN then.

        Raises:
            LookupError, TypeError, ValueError: A field is missing, or of another form; the message names it.
        """
        arrays: dict[str, np.ndarray] = {name: np.array(values[name], kind) for name, kind in _ARRAYS.items()}
        _check_form(values, arrays)
        rows, proxies = arrays["query_weights"].shape
        unknown = {name: np.full(shape, np.nan) for name, shape in SurrogateInfo.shapes(proxies, rows).items()}
        recorded = {name: np.array(column, float) for name, column in values.get("info", {}).items()}
        info = SurrogateInfo(**{**unknown, **recorded})
        return cls(**{**values, **arrays, "phase": tuple(values["phase"]), "info": info})

    def save(self, path: Path | str) -> None:
        """Write `to_dict` as JSON, atomically."""
        with atomic_write(path) as partial:
            partial.write_text(json.dumps(self.to_dict(), allow_nan=False) + "\n")

    @classmethod
    def load(cls, path: Path | str) -> "SearchResult":
        """Return what `save` wrote.

        Raises:
            InputError: The file is missing or not a saved result.
        """
        content = read_bytes(path)
        try:
            return cls.from_dict(json.loads(content))
        except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
            raise InputError(f"{path} is not a saved search result ({error}): save one with `result.save`") from error

    def to_pandas(self) -> Frame:
        """Return a data frame with one row per query.

        Its columns are the index in the pool, phase, objective, seconds and fidelity; the state of the surrogate; and
        the weights that first picked the architecture, one column for each proxy by its number.
        """
        columns = {"arch": self.queries, "phase": self.phase, "objective": self.objective, "seconds": self.cost}
        weights = {f"weight_{number}": column for number, column in enumerate(self.query_weights.T)}
        shown = {name: column for name, column in self.info._asdict().items() if column.ndim == 1}
        return to_pandas({**columns, "fidelity": self.fidelity, **shown, **weights})

    def __repr__(self) -> str:
        """Return one line with the method, the selected architecture and its objective."""
        failed = f", {self.num_failed} failed" if self.num_failed else ""
        queries = f"{len(self.queries)} queries, T0 = {self.num_bo}{failed}"
        return f"<SearchResult {self.method}: architecture {self.selected}, {self.best:.4g} after {queries}>"

    def _repr_html_(self) -> str:
        columns = zip(self.queries, self.phase, self.objective, self.cost, strict=True)
        names = ("arch", "phase", "objective", "seconds")
        return html_table(repr(self)[1:-1], [dict(zip(names, row, strict=True)) for row in columns])


_ARRAYS: dict[str, type] = {
    "queries": int,
    "objective": float,
    "cost": float,
    "query_weights": float,
    "weights": float,
    "fidelity": int,
    "spent": int,
}


def _check_form(values: Record, arrays: dict[str, np.ndarray]) -> None:
    """Raise a ValueError that names the first field whose form is not that of a result."""
    rows, proxies = arrays["queries"].size, arrays["weights"].size
    shapes = {name: (rows,) for name in arrays} | {"query_weights": (rows, proxies), "weights": (proxies,)}
    for name, shape in shapes.items():
        if arrays[name].shape != shape or not rows:
            raise ValueError(f"`{name}` must have the shape {list(shape)}, got {list(arrays[name].shape)}")
    for name, kind in _KINDS.items():
        if not isinstance(values[name], kind) or isinstance(values[name], bool):
            raise ValueError(f"`{name}` is {values[name]!r:.40}, not of type {kind.__name__}")
    phases = values["phase"]
    if len(phases) != rows or not all(isinstance(phase, str) for phase in phases):
        raise ValueError(f"`phase` must be {rows} texts, one for each query")
    if values.get("direction", "maximize") not in names(Direction):
        raise ValueError(f"`direction` must be one of {', '.join(names(Direction))}, got {values['direction']!r:.40}")
    found = np.isfinite(arrays["objective"]) & (arrays["queries"] == values["selected"])
    if not found.any():
        raise ValueError(f"`selected` must be a query with a finite objective, got {values['selected']}")
    for name, least in (("queries", 0), ("fidelity", 0), ("spent", 1)):
        if arrays[name].min() < least:
            raise ValueError(f"`{name}` must be at least {least}, got {arrays[name].min()}")
    spent, budget = arrays["spent"], values["budget"]
    if not rows <= int(spent[-1]) <= budget or (np.diff(spent) < 1).any():
        raise ValueError(f"`spent` must rise to at most the budget of {budget}, got {spent.tolist()}")


_KINDS: dict[str, type] = {
    **{"method": str, "selected": int, "num_bo": int, "budget": int, "seed": int, "num_failed": int},
    **{"config": dict},
}
