"""Run a search method: one search, on known objectives or on candidates that must be evaluated, or one per seed.

On an objective array a whole search is one compiled program, and seeds run side by side on threads: their steps differ
in kind and number, and a batched LAPACK call can hang on CPUs (see `bo`). On a function of the index the same steps are
called one by one, with the same result.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, is_dataclass
from functools import partial
from typing import Protocol, runtime_checkable

import jax
import numpy as np
from jaxtyping import Float, PRNGKeyArray
from numpy.typing import ArrayLike

from jaxnas.errors import InputError, NothingToSelect
from jaxnas.runtime.events import Listener, ignore
from jaxnas.runtime.host import num_cores, one_blas_thread
from jaxnas.runtime.names import Direction
from jaxnas.runtime.session import in_float64, make_key
from jaxnas.runtime.settings import LAST_SEED, Whole, check_seed, check_whole
from jaxnas.search import loop
from jaxnas.search.history import History, Phase, Proposal, SurrogateInfo
from jaxnas.search.ledger import Choice, Ledger, check_known, open_ledger
from jaxnas.search.method import ConfigT, Method, StateT
from jaxnas.search.pool import Pool
from jaxnas.search.result import SearchResult, sign_of
from jaxnas.spaces import equal_rows
from jaxnas.table.missing import to_floats

FORESEEABLE = (Phase.RANDOM, Phase.GREEDY)  # phases whose next query does not depend on the objective of the last one


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
    ledger = open_ledger(len(scores), objective, budget, costs, on_event, prices, direction)
    ledger.known, budget = found, ledger.budget
    task = read_earlier(method, earlier, len(scores), direction)
    search = SteppedSearch(method, make_pool(method, scores, archs, ledger.prices, task), budget, seed, config)
    prepared: set[int] = {*found}
    sign = sign_of(direction)
    while ledger.spent < budget and (affordable is None or not ledger.paid or affordable(ledger.mean_cost)):
        left = budget - ledger.spent
        proposals = search.propose(min(at_once, left))
        if isinstance(objective, Objective) and not (method.multi_fidelity or prepared.issuperset(_items(proposals))):
            foreseen = search.foresee(min(objective.together, left))
            coming = _items(proposals if len(proposals) >= len(foreseen) else foreseen)
            objective.prepare([item for item in coming if item not in found])
            prepared.update(coming)
        for proposal in proposals:
            search.record(proposal, sign * ledger.query(int(proposal.item), to_choice(proposal)))
    return _check_selected(ledger.result(method.name, search.best_weights(), seed, method_settings(search.config)))


def choose_config(method: Method[StateT, ConfigT], config: ConfigT | None) -> ConfigT:
    """Return the hyperparameters of a search: those given, or the defaults of the method.

    Raises:
        InputError: They are of another method.
    """
    if config is None:
        return method.config
    if not isinstance(config, type(method.config)):
        wanted = "left out" if method.config is None else f"a {type(method.config).__name__}"
        raise InputError(f"`config` of {method.name} must be {wanted}, got {config!r:.60}")
    return config


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


def compile_steps(
    method: Method[StateT, ConfigT],
    shape: tuple[int, int],
    archs: ArrayLike,
    *,
    budget: int,
    config: ConfigT | None,
    earlier: ArrayLike | None = None,
) -> None:
    """Compile the steps of a search on a function of the index before its score table of that shape is known."""
    table, prices = np.zeros(shape), (1,)
    task = read_earlier(method, earlier, len(table), "maximize")
    search = SteppedSearch(method, make_pool(method, table, archs, prices, task), budget, 0, config)
    search.record(search.propose(1)[0], 0.0)
    search.best_weights()


class SteppedSearch:
    """A search whose steps are called one by one, as its candidates are evaluated outside of a compiled program."""

    def __init__(
        self, method: Method[StateT, ConfigT], pool: Pool, budget: int, seed: int, config: ConfigT | None
    ) -> None:
        """Make the state before the first proposal; arguments as for `run_search`."""
        self.method, self.pool, self.config = method, pool, choose_config(method, config)
        self.key: PRNGKeyArray = make_key(seed)
        self.state = loop.start(pool, self.key, method=method, budget=budget, config=self.config)

    def propose(self, room: int) -> list[Proposal]:
        """Return the next proposals, as if each of them failed, until `room` new items are among them."""
        return self._look_ahead(room, foreseen=tuple(Phase), mixed=True)

    def foresee(self, room: int) -> list[Proposal]:
        """Guess the next proposals, up to `room` new items of one phase; a wrong guess costs no query."""
        return self._look_ahead(room, foreseen=FORESEEABLE, mixed=False)

    def record(self, proposal: Proposal, value: float) -> None:
        """Pass an objective to the method."""
        self.state = loop.record(self.state, self.pool, proposal, value, method=self.method, config=self.config)

    def skip(self, item: int) -> None:
        """Leave an item out from now on, without a query and without a value for the method."""
        history = self.state.history._replace(queried=self.state.history.queried.at[item].set(True))
        self.state = self.state._replace(history=history, number=self.state.number + 1)

    def best_weights(self) -> Float[np.ndarray, " M"]:
        """Return the best weights found so far, NaN if the method seeks none."""
        return np.asarray(loop.best_weights(self.state.method, self.pool, self.method))

    def _look_ahead(self, room: int, *, foreseen: tuple[Phase, ...], mixed: bool) -> list[Proposal]:
        """Return the next proposal and, while they are of `foreseen` phases, those that follow if all of them fail."""
        propose = partial(loop.propose, method=self.method, config=self.config)
        record = partial(loop.record, method=self.method, config=self.config)
        proposals: list[Proposal] = []
        state, num_new = self.state, 0
        while num_new < room and len(proposals) < 4 * room:
            proposal = propose(state, self.pool, self.key)
            if not mixed and proposals and proposal.phase != proposals[0].phase:
                break
            proposals.append(proposal)
            if int(proposal.phase) not in foreseen or room == 1:
                break
            num_new += not state.history.queried[proposal.item]
            state = record(state, self.pool, proposal, np.nan)
        return proposals


def _items(proposals: Iterable[Proposal]) -> list[int]:
    """Return the items of proposals, each once."""
    return list(dict.fromkeys(int(proposal.item) for proposal in proposals))


def to_choice(proposal: Proposal) -> Choice:
    """Return the choice that a proposal made, in NumPy arrays."""
    phase, weights, info = Phase(int(proposal.phase)), np.asarray(proposal.weights), proposal.info
    return Choice(phase, weights, jax.tree.map(np.asarray, info))


def _replay(history: History, ledger: Ledger) -> None:
    """Enter what a compiled search paid for into its ledger."""
    for row in range(int(history.count)):
        info = SurrogateInfo(*(column[row] for column in history.info))
        choice = Choice(Phase(int(history.phase[row])), np.asarray(history.weights[row]), info)
        ledger.query(int(history.item[row]), choice)


def check_table(table: ArrayLike) -> Float[np.ndarray, "A M"]:
    """Return a score table [A M] in float64.

    Raises:
        InputError: It is not [A M], or an entry is NaN or inf.
    """
    scores = to_floats("table", table)
    if scores.ndim != 2 or scores.size == 0:
        raise InputError(f"the score table must have the shape [architectures, proxies], got {scores.shape}")
    if not np.isfinite(scores).all():
        raise InputError(
            f"the score table must be finite, got {(~np.isfinite(scores)).sum()} NaN or inf entries; normalize it first"
        )
    return scores


def read_earlier(
    method: Method[StateT, ConfigT], earlier: ArrayLike | None, num_archs: int, direction: Direction
) -> Float[np.ndarray, "A E"] | None:
    """Return the objectives of earlier tasks [A E] so that higher is better and failures are -inf; None without any.

    Raises:
        InputError: The method does not read them, or they do not have one number for each row.
    """
    if earlier is None:
        return None
    if not method.reads_earlier:
        raise InputError(f"{method.name} does not read earlier tasks: leave `earlier` out, or choose proxy_gp")
    columns = sign_of(direction) * to_floats("earlier", earlier)
    columns = columns[:, None] if columns.ndim == 1 else columns
    if columns.ndim != 2 or len(columns) != num_archs or not columns.size:
        raise InputError(
            f"`earlier` must have a row for each of the {num_archs} architectures, got shape {np.shape(columns)}"
        )
    if np.isnan(columns).any():
        raise InputError(f"`earlier` must be numbers, got {np.isnan(columns).sum()} NaN: predict them by `carry_over`")
    return np.where(np.isfinite(columns), columns, -np.inf)


def make_pool(
    method: Method[StateT, ConfigT],
    table: Float[np.ndarray, "A M"],
    archs: ArrayLike | None,
    prices: tuple[int, ...],
    earlier: Float[np.ndarray, "A E"] | None = None,
) -> Pool:
    """Return the pool of a method on the device.

    Raises:
        InputError: The method needs architectures and there are none, their number is not that of the rows, or it
            observes one fidelity and there are several prices.
    """
    if len(prices) > 1 and not method.multi_fidelity:
        raise InputError(f"{method.name} observes one fidelity; give one column of the objective and no prices")
    if archs is None and method.needs_archs:
        raise InputError(f"{method.name} needs architectures besides scores; give their vectors as `archs`")
    vectors = np.zeros((len(table), 0), np.int8) if archs is None else np.asarray(archs)
    if vectors.ndim != 2 or len(vectors) != len(table):
        raise InputError(f"`archs` must have one vector for each of the {len(table)} rows, got shape {vectors.shape}")
    if vectors.dtype.kind not in "iu" or vectors.min(initial=0) < 0 or vectors.max(initial=0) > 127:
        shown = f"{vectors.min(initial=0)} to {vectors.max(initial=0)} in {vectors.dtype}"
        raise InputError(f"`archs` must hold whole numbers from 0 to 127, the options of each decision, got {shown}")
    vectors = vectors.astype(np.int8)
    if (rows := equal_rows(vectors)) and vectors.shape[1]:
        raise InputError(f"`archs` must be distinct, got the same architecture in rows {rows[0]} and {rows[1]}")
    arrays = table, vectors, np.arange(1 + vectors.max(initial=0)), np.array(prices, np.int32), earlier
    return Pool(*in_float64(jax.device_put)(arrays))


def method_settings(config: object) -> dict[str, object]:
    """Return the fields of a dataclass of hyperparameters; none for None."""
    return asdict(config) if is_dataclass(config) and not isinstance(config, type) else {}
