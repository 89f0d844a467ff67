"""The arrays that a search and its method exchange: proposals, the queries so far, the state of a surrogate."""

from enum import IntEnum
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxnas.search.pool import Pool

HORIZON = 10  # further queries whose gain a surrogate predicts
PER_PROXY = ("lengthscale", "effect", "effect_std")  # the fields of `SurrogateInfo` with a value for each proxy


class Phase(IntEnum):
    """The rule that chose a query. Compiled programs use the number, files and reports the `label`."""

    RANDOM = 0
    BO = 1
    GREEDY = 2
    EVOLUTION = 3
    POLICY = 4
    NEIGHBOUR = 5
    PROMOTION = 6
    DENSITY = 7
    TREE = 8
    PREDICTION = 9

    @property
    def label(self) -> str:
        """The name in results and reports, such as "bo"."""
        return self.name.lower()


class SurrogateInfo(NamedTuple):
    """The state and prediction of the surrogate when it chose a query; NaN where no surrogate chose.

    Surrogates over proxy weights know neither a slope nor effects nor a gain: these are NaN.

    The fields have the shapes below for one proposal, and a leading axis T in a `History` or a `SearchResult`.

    Attributes:
        lengthscale: Length scale of each proxy [M]; M equal values where all share one.
        log_evidence: Log marginal likelihood of the standardised objective of all queries so far, nats [].
        acquisition: Acquisition value of the choice [], in the unit of that acquisition function.
        mean: Predicted objective [], in the unit of the objective.
        std: Standard deviation of that prediction [].
        slope: The multiple of the proxies' consensus that the prior expects, by evidence [].
        effect: How much the expected objective rises with one standard deviation of the normal score of each proxy,
            the others being equal [M]; NaN for a constant proxy.
        effect_std: Standard deviation of each effect [M].
        gain: How much `HORIZON` further queries are expected to raise the best objective [].
    """

    lengthscale: Float[Array | np.ndarray, "*T M"]
    log_evidence: Float[Array | np.ndarray, "*T"]
    acquisition: Float[Array | np.ndarray, "*T"]
    mean: Float[Array | np.ndarray, "*T"]
    std: Float[Array | np.ndarray, "*T"]
    slope: Float[Array | np.ndarray, "*T"]
    effect: Float[Array | np.ndarray, "*T M"]
    effect_std: Float[Array | np.ndarray, "*T M"]
    gain: Float[Array | np.ndarray, "*T"]

    @classmethod
    def shapes(cls, num_proxies: int, *lead: int) -> dict[str, tuple[int, ...]]:
        """Return the shape of every field, with leading axes `lead`."""
        return {name: (*lead, num_proxies) if name in PER_PROXY else lead for name in cls._fields}


def no_info(num_proxies: int, *lead: int) -> SurrogateInfo:
    """Return the info where no surrogate chose: NaN in the shapes of one query, with leading axes `lead`."""
    return SurrogateInfo(
        **{name: jnp.full(shape, jnp.nan) for name, shape in SurrogateInfo.shapes(num_proxies, *lead).items()}
    )


class History(NamedTuple):
    """The queries that have been paid for.

    An item is an architecture at a fidelity, with the number fidelity * A + architecture; there are I = F A of them.

    Attributes:
        item: The items in the order they were paid for [T]; rows from `count` on are padding, here and below.
        phase: The `Phase` of each [T].
        weights: The proxy weights that picked each [T M]; NaN if none did.
        info: The state of the surrogate at each [T ...].
        objective: The observed objective of each item [I]; NaN for those that were not queried.
        queried: Which items were queried [I].
        count: The number of distinct queries [].
        spent: The sum of their prices [], at most T.
    """

    item: Int[Array, " T"]
    phase: Int[Array, " T"]
    weights: Float[Array, "T M"]
    info: SurrogateInfo
    objective: Float[Array, " I"]
    queried: Bool[Array, " I"]
    count: Int[Array, ""]  # type: ignore[assignment]  # hides tuple.count
    spent: Int[Array, ""]


class Proposal(NamedTuple):
    """An item to evaluate. One that was queried before costs nothing: its objective is passed to `tell` again.

    Attributes:
        item: Number of the item [].
        phase: The `Phase` [].
        weights: The proxy weights that picked the item [M], see `unweighted` if none did.
        info: The state of the surrogate, None for a method without a surrogate.
    """

    item: Int[Array, ""]
    phase: Int[Array, ""] | Phase
    weights: Float[Array, " M"]
    info: SurrogateInfo | None = None


def new_history(pool: Pool, budget: int) -> History:
    """Return the history before the first query, with room for `budget` queries."""
    num_items = pool.num_archs * len(pool.prices)
    return History(
        item=jnp.zeros(budget, jnp.int32),
        phase=jnp.zeros(budget, jnp.int32),
        weights=jnp.full((budget, pool.num_proxies), jnp.nan),
        info=no_info(pool.num_proxies, budget),
        objective=jnp.full(num_items, jnp.nan),
        queried=jnp.zeros(num_items, bool),
        count=jnp.zeros((), jnp.int32),
        spent=jnp.zeros((), jnp.int32),
    )


def extend(history: History, proposal: Proposal, value: Float[Array, ""], pool: Pool) -> History:
    """Return the history with a proposal and its objective; an item that was queried before adds no row."""
    item, row = proposal.item, history.count
    is_new = ~history.queried[item]
    row = jnp.where(is_new, row, len(history.item))  # out of range: dropped
    info = no_info(pool.num_proxies) if proposal.info is None else proposal.info
    return History(
        item=history.item.at[row].set(item, mode="drop"),
        phase=history.phase.at[row].set(proposal.phase, mode="drop"),
        weights=history.weights.at[row].set(proposal.weights, mode="drop"),
        info=jax.tree.map(lambda old, new: old.at[row].set(new, mode="drop"), history.info, info),
        objective=history.objective.at[item].set(value),
        queried=history.queried.at[item].set(True),
        count=history.count + is_new,
        spent=history.spent + is_new * pool.prices[item // pool.num_archs],
    )
