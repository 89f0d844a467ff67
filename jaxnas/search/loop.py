"""One loop for all search methods: ask for an architecture of a pool, pay for it if it is new, tell its objective.

A method is three pure functions over a `Pool` (and `weights`, for those that learn some). On an objective array the
whole run is one jitted program, and seeds run side by side on threads, as their steps differ in kind and number (and a
batched LAPACK call can hang on CPUs, see `bo`). On a function of the index the same ask and tell are called one by one,
with the same result. Key n of a run is `fold_in(key(seed), n)`.
"""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Int8, PRNGKeyArray

from jaxnas.errors import InputError
from jaxnas.runtime.host import num_cores, one_blas_thread
from jaxnas.runtime.precision import in_float64
from jaxnas.search.result import Query, SearchResult, open_ledger

PHASES = (
    "random",
    "bo",
    "greedy",
    "evolution",
    "policy",
    "neighbour",
    "promotion",
    "density",
)  # by number, what a query was chosen by
FORESEEABLE = ("random", "greedy")  # phases whose next query does not wait for the last one's objective
PATIENCE = 50  # asks per query of the budget; a method that repeats itself for longer goes on at random


class Pool(NamedTuple):
    """What a method may read of the architectures to choose from."""

    table: Float[Any, "A M"]  # normalised scores
    archs: Int8[Any, "A D"]  # option of every decision; D = 0 if it was not given
    options: Int[Any, " K"]  # 0 to K - 1, K the most options of a decision
    prices: Int[Any, " F"] = np.ones(1, np.int32)  # queries that an evaluation costs at each fidelity, rising from 1

    @property
    def num_archs(self) -> int:
        return len(self.table)


class History(NamedTuple):
    """What has been paid for. Rows from `count` on are padding.

    An item is an architecture at a fidelity, number fidelity * A + architecture: with F = 1, the architecture.
    """

    item: Int[Array, " T"]
    phase: Int[Array, " T"]
    weights: Float[Array, "T M"]
    objective: Float[Array, " I"]  # as observed, of the I = F A items in `queried`; NaN elsewhere
    queried: Bool[Array, " I"]
    count: Int[Array, ""]  # type: ignore[assignment]  # hides tuple.count
    spent: Int[Array, ""]  # the sum of the prices; at most T


class Proposal(NamedTuple):
    """An item that may have been queried before: then it is told again and costs nothing."""

    item: Int[Array, ""]
    phase: Int[Array, ""] | int
    weights: Float[Array, " M"]  # that picked it; NaN if none did


class Method(NamedTuple):
    """A search method: three functions, pure and traced in float64, and how they are run.

    A failed candidate has the objective NaN or inf: what a method makes of it is its own affair.
    """

    name: str
    init: Callable[..., Any]  # (pool, budget, key, config) -> state
    ask: Callable[..., Proposal]  # (state, history, pool, key, config) -> proposal
    tell: Callable[..., Any]  # (state, proposal, objective, pool, config) -> state
    config: Any = None  # the default
    weights: Callable[..., Any] | None = None  # (state) -> the best proxy weights found [M]
    needs_archs: bool = False
    multi_fidelity: bool = False  # may choose among several fidelities

    def __call__(
        self,
        table: Float[Any, "A M"],
        objective: Float[Any, " A"] | Callable[[int], float],
        *,
        budget: int,
        seed: int,
        config: Any = None,
        on_query: Callable[[Query], None] | None = None,
        costs: Float[Any, " A"] | Callable[[int], float] | None = None,
        archs: Int8[Any, "A D"] | None = None,
        prices: Sequence[int] | None = None,
        at_once: int = 1,
    ) -> SearchResult:
        """One search: T distinct queries, and the best of them.

        Args: table, scores from `normalize`; objective, to be maximised: an array (the whole run is one jitted
          program) or a function of the index (evaluated once per architecture; the same result), which may have a
          method `prepare` that is given up to `together` indices that come next; budget, T; seed, of all draws; config,
          of the method, its default if None; on_query, called after each distinct query (for an array: after the run);
          costs, seconds per architecture, an array or a function that is asked once the architecture is evaluated
          (default: measured for a function, NaN for an array); archs, the architectures as the space's vectors, for
          methods that change them; prices, for methods that start with short trainings: the queries [F] that an
          evaluation at each fidelity costs, rising from 1; the objective is [A F] or a function of index and fidelity;
          at_once, items of one fidelity that are proposed before any of their objectives is known: the method is told
          meanwhile that those before failed, which for a surrogate is the worst value so far, a constant liar
          (Ginsbourger et al. 2010), and learns the truth of all in their order.
        Returns: the run; exactly T distinct queries, or T queries' worth of them. A NaN or inf objective is a failed
          candidate: never selected.
        Raises: InputError for arguments that do not fit, or if every candidate failed.
        """
        if at_once < 1 or (at_once > 1 and (self.multi_fidelity or not callable(objective))):
            raise InputError(f"at_once is {at_once}: give 1, or more where the objective is a function of one fidelity")
        if not callable(objective):
            given = dict(config=config, on_query=on_query, costs=costs, archs=archs, prices=prices)
            return self.run_seeds(table, objective, budget=budget, seeds=[seed], **given)[0]
        config = self.config if config is None else config
        ledger = open_ledger(table, objective, budget, costs, on_query, prices)
        pool, key = _make_pool(self, table, archs, ledger.prices), jax.random.key(seed)
        state, history = _init(pool, key, method=self, budget=budget, config=config)
        number = 0
        prepare, together = getattr(objective, "prepare", None), getattr(objective, "together", 1)
        prepared: set[int] = set()
        while ledger.spent < budget:
            look_ahead = partial(self._look_ahead, state, history, pool, key, number, config)
            left = budget - ledger.spent
            proposals = look_ahead(min(at_once, left), PHASES)
            if prepare and not self.multi_fidelity and not prepared.issuperset(_items(proposals)):
                foreseen = look_ahead(min(together, left), FORESEEABLE)
                coming = _items(max(proposals, foreseen, key=len))
                prepare(coming)
                prepared.update(coming)
            for proposal in proposals:
                phase, weights = PHASES[int(proposal.phase)], np.asarray(proposal.weights)
                value = ledger.query(int(proposal.item), phase, weights)
                state, history = _tell(state, history, pool, proposal, value, method=self, config=config)
            number += len(proposals)
        return ledger.result(self.name, _best_weights(self, state, pool), seed, _plain(config))

    def _look_ahead(self, state, history, pool, key, number, config, room, phases):
        """The next proposal, and those that follow it if all fail, until `room` new items are among them.

        With `FORESEEABLE`, phases that look at no new objective, it is a guess of what will be asked next, which ends
        with the phase; a wrong one costs time, no query.
        """
        proposals: list[Proposal] = []
        how, num_new = dict(method=self, budget=len(history.item), config=config), 0
        while num_new < room and len(proposals) < 4 * room:
            proposal = _ask(state, history, pool, key, number + len(proposals), **how)
            if phases is FORESEEABLE and proposals and proposal.phase != proposals[0].phase:
                break
            proposals.append(proposal)
            if PHASES[int(proposal.phase)] not in phases or room == 1:
                break
            num_new += not history.queried[proposal.item]
            state, history = _tell(state, history, pool, proposal, np.nan, method=self, config=config)
        return proposals

    def run_seeds(
        self,
        table: Float[Any, "A M"],
        objective: Float[Any, " A"],
        *,
        budget: int,
        seeds: Iterable[int],
        config: Any = None,
        on_query: Callable[[Query], None] | None = None,
        costs: Float[Any, " A"] | Callable[[int], float] | None = None,
        archs: Int8[Any, "A D"] | None = None,
        prices: Sequence[int] | None = None,
    ) -> list[SearchResult]:
        """A search for each seed, all in one program, on an objective that is an array; results in their order."""
        config, seeds = self.config if config is None else config, list(seeds)
        if not seeds:
            return []
        ledgers = [open_ledger(table, objective, budget, costs, on_query, prices) for _ in seeds]
        values = np.asarray(objective, np.float64).ravel(order="F")  # by item
        pool, values = in_float64(jax.device_put)((_make_pool(self, table, archs, ledgers[0].prices), values))

        def run(seed):
            found = _run(pool, values, jax.random.key(seed), method=self, budget=budget, config=config)
            return jax.tree.map(np.asarray, found)

        results = []
        with one_blas_thread(), ThreadPoolExecutor(num_cores()) as threads:
            try:
                for ledger, seed, (history, weights) in zip(ledgers, seeds, threads.map(run, seeds), strict=True):
                    columns = (column[: history.count] for column in (history.item, history.phase, history.weights))
                    for item, phase, picked_by in zip(*columns, strict=True):
                        ledger.query(int(item), PHASES[phase], picked_by)
                    results.append(ledger.result(self.name, weights, seed, _plain(config)))
            except BaseException:  # Ctrl-C too: do not wait for the seeds that have not begun
                threads.shutdown(wait=False, cancel_futures=True)
                raise
        return results


def _items(proposals):
    """Of proposals, each once."""
    return list(dict.fromkeys(int(proposal.item) for proposal in proposals))


def unweighted(pool: Pool) -> Float[Array, " M"]:
    """The weights of a proposal that none picked."""
    return jnp.full(pool.table.shape[1], jnp.nan)


def pick(key: PRNGKeyArray, among: Bool[Array, " A"]) -> Int[Array, ""]:
    """One of the architectures in the mask, each as likely as any other; the first of all if the mask is empty."""
    return jnp.argmax(jnp.where(among, jax.random.uniform(key, among.shape), -1.0)).astype(jnp.int32)


@in_float64
@partial(jax.jit, static_argnames=("method", "budget", "config"))
def _run(
    pool: Pool, objective: Float[Array, " A"], key: PRNGKeyArray, *, method: Method, budget: int, config: Any
) -> tuple[History, Float[Array, " M"]]:
    """What was paid for, and the best weights."""

    def step(carry):
        state, history, number = carry
        proposal = _ask(state, history, pool, key, number, method=method, budget=budget, config=config)
        value = objective[proposal.item]
        return *_tell(state, history, pool, proposal, value, method=method, config=config), number + 1

    start = (*_init(pool, key, method=method, budget=budget, config=config), jnp.zeros((), jnp.int32))
    state, history, _ = lax.while_loop(lambda carry: carry[1].spent < budget, step, start)
    return history, _best_weights(method, state, pool)


@in_float64
@partial(jax.jit, static_argnames=("method", "budget", "config"))
def _init(pool, key, *, method, budget, config):
    num_archs, num_proxies = pool.table.shape
    num_items = num_archs * len(pool.prices)
    history = History(
        item=jnp.zeros(budget, jnp.int32),
        phase=jnp.zeros(budget, jnp.int32),
        weights=jnp.full((budget, num_proxies), jnp.nan),
        objective=jnp.full(num_items, jnp.nan),
        queried=jnp.zeros(num_items, bool),
        count=jnp.zeros((), jnp.int32),
        spent=jnp.zeros((), jnp.int32),
    )
    return method.init(pool, budget, jax.random.fold_in(key, 2**32 - 1), config), history


@in_float64
@partial(jax.jit, static_argnames=("method", "budget", "config"))
def _ask(state, history, pool, key, number, *, method, budget, config):
    own = jax.random.fold_in(key, number)

    def ask():
        proposal = method.ask(state, history, pool, own, config)
        return proposal._replace(phase=jnp.asarray(proposal.phase, jnp.int32))

    def at_random():
        cheapest = ~history.queried & (jnp.arange(len(history.queried)) < pool.num_archs)
        return Proposal(pick(own, cheapest), jnp.int32(PHASES.index("random")), unweighted(pool))

    return lax.cond(number < PATIENCE * budget, ask, at_random)


@in_float64
@partial(jax.jit, static_argnames=("method", "config"))
def _tell(state, history, pool, proposal, value, *, method, config):
    item, row = proposal.item, history.count
    new = ~history.queried[item]
    row = jnp.where(new, row, len(history.item))  # out of range: dropped
    history = History(
        item=history.item.at[row].set(item, mode="drop"),
        phase=history.phase.at[row].set(proposal.phase, mode="drop"),
        weights=history.weights.at[row].set(proposal.weights, mode="drop"),
        objective=history.objective.at[item].set(value),
        queried=history.queried.at[item].set(True),
        count=history.count + new,
        spent=history.spent + new * pool.prices[item // pool.num_archs],
    )
    return method.tell(state, proposal, value, pool, config), history


def _make_pool(method, table, archs, prices):
    if len(prices) > 1 and not method.multi_fidelity:
        raise InputError(f"{method.name} observes one fidelity: give one column of the objective and no prices")
    table = np.asarray(table, dtype=np.float64)
    if archs is None:
        if method.needs_archs:
            raise InputError(f"{method.name} reads architectures, not only scores: give their vectors as archs")
        archs = np.zeros((len(table), 0), np.int8)
    archs = np.asarray(archs, np.int8)
    if archs.ndim != 2 or len(archs) != len(table):
        raise InputError(f"archs has shape {archs.shape}, the score table {len(table)} rows: give one vector per row")
    return Pool(table, archs, np.arange(1 + archs.max(initial=0)), np.array(prices, np.int32))


def _best_weights(method, state, pool):
    return unweighted(pool) if method.weights is None else method.weights(state)


def _plain(config):
    return {} if config is None else asdict(config)
