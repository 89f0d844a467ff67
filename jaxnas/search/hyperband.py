"""Searches over the length of training too: many architectures briefly, the best of them for longer.

With the prices r_0 = 1 < ... < r_{F-1} of F fidelities, bracket s = F-1, ..., 0 (and again from F-1) draws
ceil(F / (s + 1) r_{F-1} / r_f) architectures at fidelity f = F-1-s. Of n architectures at fidelity f the best
floor(n r_f / r_{f+1}), at least one, are promoted to f + 1: every rung of a bracket costs about the same. Where the
rest of the budget does not suffice for a step, architectures are drawn at the cheapest fidelity. With one fidelity it
is random search.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jaxnas.errors import InputError
from jaxnas.runtime.settings import check_kinds
from jaxnas.search.history import History, Phase, Proposal
from jaxnas.search.method import ConfigT, Method
from jaxnas.search.pool import Pool, pick, unweighted


class Rungs(NamedTuple):
    """A round of all brackets, one row per rung, in the order of the search.

    Attributes:
        fidelity: The fidelity of the rung [R].
        size: Architectures on it [R].
        drawn: Whether it is the first of its bracket [R]: its architectures are drawn, those of others are promoted
            from the row before.
    """

    fidelity: Int[Array, " R"]
    size: Int[Array, " R"]
    drawn: Bool[Array, " R"]


class _Climb(NamedTuple):
    """The state of the search.

    Attributes:
        rung: Row of `Rungs` [].
        place: Architectures of the rung that have been evaluated [].
        arch: Those architectures [T]; rows from `place` on are padding.
        objective: The objective of each [T], -inf for failures.
        promoted: The architectures of the rung before [T], best first.
    """

    rung: Int[Array, ""]
    place: Int[Array, ""]
    arch: Int[Array, " T"]
    objective: Float[Array, " T"]
    promoted: Int[Array, " T"]


def plan_rungs(prices: Int[Array, " F"]) -> Rungs:
    """Return the rungs of one round: F brackets, F (F + 1) / 2 rungs."""
    rows, highest = [], len(prices) - 1
    for start in range(highest + 1):
        size = -(-(highest + 1) * prices[highest] // ((highest + 1 - start) * prices[start]))
        for fidelity in range(start, highest + 1):
            rows.append((fidelity, size, fidelity == start))
            size = jnp.maximum(1, size * prices[fidelity] // prices[min(fidelity + 1, highest)])
    return Rungs(*map(jnp.array, zip(*rows, strict=True)))


Draw = Callable[
    [History, Pool, Bool[Array, " A"], PRNGKeyArray, ConfigT], tuple[Int[Array, ""], Int[Array, ""] | Phase]
]  # of an architecture in a mask, and its phase


def _init(pool: Pool, budget: int, key: PRNGKeyArray, config: object) -> _Climb:
    empty, zero = jnp.zeros(budget, jnp.int32), jnp.zeros((), jnp.int32)
    return _Climb(zero, zero, empty, jnp.full(budget, -jnp.inf), empty)


def _ask(
    draw: Draw[ConfigT], state: _Climb, history: History, pool: Pool, key: PRNGKeyArray, config: ConfigT
) -> Proposal:
    rungs = plan_rungs(pool.prices)
    fidelity = rungs.fidelity[state.rung]
    affordable = history.spent + pool.prices[fidelity] <= len(history.item)
    fidelity = jnp.where(affordable, fidelity, 0)
    climbing = affordable & ~rungs.drawn[state.rung]
    among = ~history.queried.reshape(len(pool.prices), -1)[fidelity]
    drawn, phase = draw(history, pool, among, key, config)
    arch = jnp.where(climbing, state.promoted[state.place], drawn)
    item = (fidelity * pool.num_archs + arch).astype(jnp.int32)
    return Proposal(item, jnp.where(climbing, Phase.PROMOTION, phase), unweighted(pool))


def _tell(state: _Climb, proposal: Proposal, objective: Float[Array, ""], pool: Pool, config: object) -> _Climb:
    """Enter an objective into the rung; a failed candidate is the last to be promoted.

    An architecture that the rest of the budget went to is at another fidelity and does not belong to the rung.
    """
    rungs = plan_rungs(pool.prices)
    fidelity, arch = jnp.divmod(proposal.item, pool.num_archs)
    extended = state._replace(
        place=state.place + 1,
        arch=state.arch.at[state.place].set(arch),
        objective=state.objective.at[state.place].set(jnp.where(jnp.isfinite(objective), objective, -jnp.inf)),
    )
    above = _Climb(
        rung=(state.rung + 1) % len(rungs.size),
        place=jnp.zeros((), jnp.int32),
        arch=extended.arch,
        objective=jnp.full_like(extended.objective, -jnp.inf),
        promoted=extended.arch[jnp.argsort(-extended.objective)],
    )
    done = extended.place == rungs.size[state.rung]
    moved = jax.tree.map(lambda new, old: jnp.where(done, new, old), above, extended)
    on_rung = fidelity == rungs.fidelity[state.rung]
    following: _Climb = jax.tree.map(lambda new, old: jnp.where(on_rung, new, old), moved, state)
    return following


def _at_random(
    history: History, pool: Pool, among: Bool[Array, " A"], key: PRNGKeyArray, config: None
) -> tuple[Int[Array, ""], Phase]:
    return pick(key, among), Phase.RANDOM


hyperband: Method[_Climb, None] = Method(
    "hyperband", _init, partial(_ask, _at_random), _tell, reads_scores=False, multi_fidelity=True
)
"""Brackets of successive halving over random architectures. Source: Li et al. 2018 (arXiv:1603.06560)."""


@dataclass(frozen=True)
class BohbConfig:
    """Hyperparameters of `bohb`; the defaults are the published ones.

    Attributes:
        good: Share of the observations that count as good, within 0 and 1.
        at_random: Share of the draws that no density guides, from 0 to 1.
        num_samples: Random architectures among which a density chooses.
    """

    good: float = 0.15
    at_random: float = 1 / 3
    num_samples: int = 64

    def __post_init__(self) -> None:
        """Check every field."""
        check_kinds(self)
        if not 0 < self.good < 1:
            raise InputError(f"`good` must be between 0 and 1, got {self.good}")
        if not 0 <= self.at_random <= 1:
            raise InputError(f"`at_random` must be from 0 to 1, got {self.at_random}")
        if not self.num_samples >= 1:
            raise InputError(f"`num_samples` must be at least 1, got {self.num_samples}")


def _by_density(
    history: History, pool: Pool, among: Bool[Array, " A"], key: PRNGKeyArray, config: BohbConfig
) -> tuple[Int[Array, ""], Int[Array, ""]]:
    """Return the random architecture of highest p(good) / p(bad), by the highest fidelity with enough observations.

    Each density is a product over decisions of the options' shares, with one added to every count.
    """
    num_decisions = pool.archs.shape[1]
    least = num_decisions + 1  # observations that a density needs
    coin_key, sample_key, random_key = jax.random.split(key, 3)
    observed = history.objective.reshape(len(pool.prices), -1)
    usable = jnp.sum(jnp.isfinite(observed), axis=1) >= least + 2
    fidelity = len(usable) - 1 - jnp.argmax(usable[::-1])
    values = jnp.where(jnp.isfinite(observed[fidelity]), observed[fidelity], -jnp.inf)

    values, archs = lax.top_k(values, min(len(history.item), pool.num_archs))
    num = jnp.sum(jnp.isfinite(values))
    good = jnp.arange(len(values)) < jnp.maximum(least, jnp.ceil(config.good * num))
    one_hot = jax.nn.one_hot(pool.archs[archs], len(pool.options))
    ratio = jnp.log(_shares(one_hot, good & jnp.isfinite(values))) - jnp.log(
        _shares(one_hot, ~good & jnp.isfinite(values))
    )

    chance = jnp.where(among, jax.random.uniform(sample_key, among.shape), -1.0)
    _, samples = lax.top_k(chance, min(config.num_samples, pool.num_archs))
    merit = jnp.sum(ratio[jnp.arange(num_decisions), pool.archs[samples]], axis=1)
    chosen = samples[jnp.argmax(jnp.where(among[samples], merit, -jnp.inf))].astype(jnp.int32)
    guided = usable.any() & (jax.random.uniform(coin_key) >= config.at_random)
    return (
        jnp.where(guided, chosen, pick(random_key, among)),
        jnp.where(guided, Phase.DENSITY, Phase.RANDOM),
    )


def _shares(one_hot: Float[Array, "N D K"], members: Bool[Array, " N"]) -> Float[Array, "D K"]:
    counts = 1.0 + jnp.sum(one_hot * members[:, None, None], axis=0)
    return counts / counts.sum(axis=1, keepdims=True)


bohb: Method[_Climb, BohbConfig] = Method(
    "bohb",
    _init,
    partial(_ask, _by_density),
    _tell,
    BohbConfig(),
    needs_archs=True,
    reads_scores=False,
    multi_fidelity=True,
)
"""Hyperband whose architectures are drawn where good ones are dense. Source: Falkner et al. 2018 (arXiv:1807.01774)."""
