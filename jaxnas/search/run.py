"""Run a search method: one search, on known objectives or on candidates that must be evaluated, or one per seed.

On an objective array a whole search is one compiled program, and seeds run side by side on threads: their steps differ
in kind and number, and a batched LAPACK call can hang on CPUs (see `bo`). On a function of the index the same steps are
called one by one, with the same result.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, runtime_checkable

import jax
import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from jaxnas.errors import InputError, NothingToSelect
from jaxnas.objectives.training import TrainingObjective
from jaxnas.runtime.bars import showing
from jaxnas.runtime.events import Listener, ignore
from jaxnas.runtime.host import num_cores, one_blas_thread
from jaxnas.runtime.measures import ACCURACY, OBJECTIVE
from jaxnas.runtime.names import Direction
from jaxnas.runtime.session import in_float64, make_key
from jaxnas.runtime.settings import LAST_SEED, Whole, check_seed, check_whole
from jaxnas.search import loop
from jaxnas.search.history import History, Phase, Proposal, SurrogateInfo
from jaxnas.search.inputs import check_table, choose_config, make_pool, method_settings, read_earlier
from jaxnas.search.ledger import Choice, Ledger, check_known, open_ledger
from jaxnas.search.method import ConfigT, Method, StateT
from jaxnas.search.result import SearchResult, sign_of
from jaxnas.search.stepped import SteppedSearch, to_choice
from jaxnas.table.missing import to_floats


@runtime_checkable
class Objective(Protocol):
    """An objective that can evaluate several architectures together; for any other a function of the index is enough.

    A subclass defines `__call__` and overrides other members as needed. A class with all four members needs no base.
    """

    @property
    def together(self) -> int:
        """The most architectures that `prepare` evaluates together."""
        return 1

    def __call__(self, index: int) -> float:
        """Return the objective of one architecture, NaN or inf if the candidate failed."""
        ...

    def prepare(self, indices: Sequence[int]) -> None:
        """Evaluate up to `together` architectures that will probably be asked for next; does nothing by default."""

    def cost(self, index: int) -> float:
        """Return the seconds that an evaluated architecture took, NaN (the default) if unknown."""
        return np.nan


def run_search(
    method: Method[StateT, ConfigT],
    table: ArrayLike,
    objective: ArrayLike | Callable[..., float],
    *,
    budget: Whole,
    seed: Whole,
    config: ConfigT | None = None,
    on_event: Listener = ignore,
    costs: ArrayLike | Callable[[int], float] | None = None,
    archs: ArrayLike | None = None,
    prices: Sequence[Whole] | None = None,
    at_once: Whole = 1,
    affordable: Callable[[float], bool] | None = None,
    direction: Direction = "maximize",
    known: Mapping[Whole, object] | None = None,
    earlier: ArrayLike | None = None,
    progress: bool | None = None,
) -> SearchResult:
    """Run one search: pay for T distinct queries and select the best of them.

    Args:
        method: The method.
        table: Normalised scores [A M], see `normalize`.
        objective: The objective: an array [A], or [A F] with several fidelities, for which the whole search
            is one compiled program; or a function of the index (and the fidelity), called once for each query. An
            `Objective` may evaluate several architectures together. NaN or inf is a failed candidate, which is never
            selected.
        budget: Queries to pay for, T, from 1 to A.
        seed: The seed of all draws.
        config: Hyperparameters of the method; None for its defaults.
        on_event: Receives a `QueryAnswered` after each distinct query; for an array, after the whole search.
        costs: Seconds of each architecture, an array [A] or a function of the index that is called once the
            architecture is evaluated. None takes the costs of an `Objective`, measures any other function, and leaves
            NaN for an array.
        archs: The architectures [A D] as vectors of the space, for methods that change them.
        prices: Queries that an evaluation at each fidelity costs [F], rising from 1, for multi-fidelity methods.
        at_once: Items that are proposed before any of their objectives is known, for a function of one fidelity. Until
            then `tell` receives each as failed, which for a surrogate is the worst value so far: a constant
            liar (Ginsbourger et al. 2010). Afterwards it learns the objectives of all in their order.
        affordable: Whether another query may begin, from the mean seconds of those before, for a function of the
            index; the first always may. None: all may.
        direction: Whether a large or a small objective is good.
        known: Objectives by index that an earlier call paid for, for a function of one fidelity. They are taken where
            the method asks for them, as queries of unknown cost: a search that an exception of the function ended
            continues where it was.
        earlier: Objectives of earlier tasks on the same architectures [A] or [A E], in the direction of this one, for
            methods that read them; inf is a failed candidate. See `carry_over` for tasks that know a part of the rows.
        progress: Whether the queries of a function are shown; None shows them in a terminal or a notebook.

    Returns:
        The search: exactly T distinct queries, or T queries' worth of them where prices differ; fewer if `affordable`
        ended it.

    Raises:
        InputError: Arguments do not fit each other.
        NothingToSelect: Every candidate failed.
    """
    seed, at_once = check_seed(seed), check_whole("at_once", at_once, 1, LAST_SEED)
    if at_once > 1 and (method.multi_fidelity or not callable(objective)):
        raise InputError(
            f"`at_once` must be 1, or more for a function of one fidelity, got {at_once}: give at_once=1 for an array"
        )
    if not callable(objective):
        if known:
            raise InputError("`known` is for an objective that is a function: leave it out for an array, which has all")
        (result,) = run_seeds(
            method,
            table,
            objective,
            budget=budget,
            seeds=[seed],
            config=config,
            on_event=on_event,
            costs=costs,
            archs=archs,
            prices=prices,
            direction=direction,
            earlier=earlier,
        )
        return _check_selected(result)
    if costs is None and isinstance(objective, Objective):
        costs = objective.cost
    scores = check_table(table)
    found = check_known(known, len(scores), prices)
    trains = isinstance(objective, TrainingObjective)
    stage, measure = (method.name, ACCURACY) if trains else (None, OBJECTIVE)
    with showing(on_event, progress, stage, measure, only_lines=not trains) as listener:
        ledger = open_ledger(len(scores), objective, budget, costs, listener, prices, direction)
        ledger.known = found
        task = read_earlier(method, earlier, len(scores), direction)
        pool = make_pool(method, scores, archs, ledger.prices, task)
        search = SteppedSearch(method, pool, ledger.budget, seed, config)
        _run_steps(search, ledger, objective, at_once, affordable)
    return _check_selected(ledger.result(method.name, search.best_weights(), seed, method_settings(search.config)))


def _run_steps(
    search: SteppedSearch,
    ledger: Ledger,
    objective: Callable[..., float],
    at_once: int,
    affordable: Callable[[float], bool] | None,
) -> None:
    """Spend the budget of the ledger on what the search proposes."""
    prepared, sign = {*ledger.known}, sign_of(ledger.direction)
    while ledger.spent < ledger.budget and (affordable is None or not ledger.paid or affordable(ledger.mean_cost)):
        left = ledger.budget - ledger.spent
        proposals = search.propose(min(at_once, left))
        is_known = search.method.multi_fidelity or prepared.issuperset(_items(proposals))
        if isinstance(objective, Objective) and not is_known:
            foreseen = search.foresee(min(objective.together, left))
            coming = _items(proposals if len(proposals) >= len(foreseen) else foreseen)
            objective.prepare([item for item in coming if item not in ledger.known])
            prepared.update(coming)
        for proposal in proposals:
            search.record(proposal, sign * ledger.query(int(proposal.item), to_choice(proposal)))


def _check_selected(result: SearchResult) -> SearchResult:
    """Return a result that has a selected architecture."""
    if result.selected < 0:
        raise NothingToSelect(
            f"all {len(result.queries)} architectures that {result.method} queried failed (objective NaN or inf): "
            "there is nothing to select"
        )
    return result


def run_seeds(
    method: Method[StateT, ConfigT],
    table: ArrayLike,
    objective: ArrayLike,
    *,
    budget: Whole,
    seeds: Iterable[Whole],
    config: ConfigT | None = None,
    on_event: Listener = ignore,
    costs: ArrayLike | Callable[[int], float] | None = None,
    archs: ArrayLike | None = None,
    prices: Sequence[Whole] | None = None,
    direction: Direction = "maximize",
    earlier: ArrayLike | None = None,
) -> list[SearchResult]:
    """Run a search for each seed on an objective array: one compiled program, seeds side by side on threads.

    Args:
        method: The method.
        table: Normalised scores [A M].
        objective: The objective, [A], or [A F] with several fidelities.
        budget: Queries that each search pays for, T.
        seeds: The seed of each search.
        config: See `run_search`.
        on_event: See `run_search`.
        costs: See `run_search`.
        archs: See `run_search`.
        prices: See `run_search`.
        direction: See `run_search`.
        earlier: See `run_search`.

    Returns:
        One result for each seed, in their order; it selects -1 where every candidate of a search failed.

    Raises:
        InputError: Arguments do not fit each other.
    """
    chosen, numbers = choose_config(method, config), list(map(check_seed, seeds))
    if not numbers:
        return []
    scores = check_table(table)
    objective = to_floats("objective", objective)
    ledgers = [open_ledger(len(scores), objective, budget, costs, on_event, prices, direction) for _ in numbers]
    budget = ledgers[0].budget
    values = sign_of(direction) * objective.ravel(order="F")  # by item
    task = read_earlier(method, earlier, len(scores), direction)
    pool, values = make_pool(method, scores, archs, ledgers[0].prices, task), in_float64(jax.device_put)(values)

    def run(seed: int) -> tuple[History, Float[np.ndarray, " M"]]:
        key = make_key(seed)
        finished = loop.run_to_end(pool, values, key, method=method, budget=budget, config=chosen)
        on_host: tuple[History, Float[np.ndarray, " M"]] = jax.tree.map(np.asarray, finished)
        return on_host

    results, threads = [], ThreadPoolExecutor(num_cores())
    try:
        with one_blas_thread():
            for ledger, seed, (history, weights) in zip(ledgers, numbers, threads.map(run, numbers), strict=True):
                _replay(history, ledger)
                results.append(ledger.result(method.name, weights, seed, method_settings(chosen)))
    finally:  # after Ctrl-C too: wait neither for the program that runs nor for the seeds that have not begun
        threads.shutdown(wait=False, cancel_futures=True)
    return results


def _items(proposals: Iterable[Proposal]) -> list[int]:
    """Return the items of proposals, each once."""
    return list(dict.fromkeys(int(proposal.item) for proposal in proposals))


def _replay(history: History, ledger: Ledger) -> None:
    """Enter what a compiled search paid for into its ledger."""
    for row in range(int(history.count)):
        info = SurrogateInfo(*(column[row] for column in history.info))
        choice = Choice(Phase(int(history.phase[row])), np.asarray(history.weights[row]), info)
        ledger.query(int(history.item[row]), choice)
