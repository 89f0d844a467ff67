"""The interface of search methods: three pure functions, and the calls that run them."""

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypedDict, TypeVar, Unpack

from jaxtyping import Array, Float, PRNGKeyArray
from numpy.typing import ArrayLike

from jaxnas.runtime.events import Listener
from jaxnas.runtime.names import Direction
from jaxnas.runtime.settings import Whole
from jaxnas.search.history import History, Proposal
from jaxnas.search.pool import Pool
from jaxnas.search.result import SearchResult

StateT = TypeVar("StateT")  # of the method: a pytree of arrays
ConfigT = TypeVar("ConfigT")  # of the method: a frozen dataclass of hyperparameters, or None


class SearchOptions(TypedDict, total=False):
    """The optional arguments of `run_search` and `run_seeds`, which document them."""

    config: Any  # of the method: beartype does not know generic TypedDicts
    on_event: Listener
    costs: ArrayLike | Callable[[int], float] | None
    archs: ArrayLike | None
    prices: Sequence[Whole] | None
    direction: Direction
    earlier: ArrayLike | None


@dataclass(frozen=True)
class Method(Generic[StateT, ConfigT]):
    """A search method: three pure functions, which are traced in float64.

    The loop around them keeps the budget, pays for each item once, counts failures and, if a method proposes only known
    items, draws random ones. A method handles failed candidates, whose objective is NaN or inf, in `tell`.

    Attributes:
        name: The name in results, in `METHODS` and on the command line.
        init: `init(pool, budget, key, config)` makes the state, a pytree of arrays of fixed shapes.
        ask: `ask(state, history, pool, key, config)` proposes the next item, with a new key for each call.
        tell: `tell(state, proposal, objective, pool, config)` gives the state that has learned an objective.
        config: The default hyperparameters, a frozen dataclass; None for a method without any.
        weights: `weights(state)` gives the best proxy weights found [M]; None for a method that seeks none.
        needs_archs: Whether the method reads the architectures, not only their scores.
        reads_scores: Whether the method reads the scores; where no method does, an option such as `--normalization` is
            refused.
        multi_fidelity: Whether the method may choose among several fidelities.
        reads_earlier: Whether the method reads the objectives of earlier tasks.
    """

    name: str
    init: Callable[[Pool, int, PRNGKeyArray, ConfigT], StateT]
    ask: Callable[[StateT, History, Pool, PRNGKeyArray, ConfigT], Proposal]
    tell: Callable[[StateT, Proposal, Float[Array, ""], Pool, ConfigT], StateT]
    config: ConfigT = None  # type: ignore[assignment]  # ConfigT is None where no config is given
    weights: Callable[[StateT], Float[Array, " M"]] | None = None
    needs_archs: bool = False
    reads_scores: bool = True
    multi_fidelity: bool = False
    reads_earlier: bool = False

    def __call__(
        self,
        table: ArrayLike,
        objective: ArrayLike | Callable[..., float],
        *,
        budget: Whole,
        seed: Whole,
        at_once: Whole = 1,
        affordable: Callable[[float], bool] | None = None,
        known: Mapping[Whole, object] | None = None,
        on_query: Listener | None = None,
        progress: bool | None = None,
        **options: Unpack[SearchOptions],
    ) -> SearchResult:
        """Run one search; see `jaxnas.search.run.run_search` for the arguments."""
        from jaxnas.search.run import run_search  # which imports this module

        if on_query is not None:
            options["on_event"] = _renamed(on_query)
        return run_search(
            self,
            table,
            objective,
            budget=budget,
            seed=seed,
            at_once=at_once,
            affordable=affordable,
            known=known,
            progress=progress,
            **options,
        )

    def run_seeds(
        self,
        table: ArrayLike,
        objective: ArrayLike,
        *,
        budget: Whole,
        seeds: Iterable[Whole],
        on_query: Listener | None = None,
        **options: Unpack[SearchOptions],
    ) -> list[SearchResult]:
        """Run a search for each seed; see `jaxnas.search.run.run_seeds` for the arguments."""
        from jaxnas.search.run import run_seeds

        if on_query is not None:
            options["on_event"] = _renamed(on_query)
        return run_seeds(self, table, objective, budget=budget, seeds=seeds, **options)


AnyMethod: TypeAlias = Method[Any, Any]
"""A method of unknown state and hyperparameters, as `METHODS` lists them."""


def _renamed(on_query: Listener) -> Listener:
    """Return the listener of version 0.1, with a DeprecationWarning."""
    warnings.warn("`on_query` is now `on_event`", DeprecationWarning, stacklevel=3)
    return on_query
