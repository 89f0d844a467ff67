"""Searches over the length of training too: many architectures briefly, the best of them for longer.

With the prices r_0 = 1 < ... < r_{F-1} of F fidelities, bracket s = F-1, ..., 0 (and again from F-1) draws
ceil(F / (s + 1) r_{F-1} / r_f) architectures at fidelity f = F-1-s; of n at fidelity f the best floor(n r_f / r_{f+1}),
at least one, go on to f + 1, so that every rung of a bracket costs about the same. Where the rest of the budget does
not reach for a step, architectures are drawn at the cheapest fidelity. With one fidelity it is random search.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from jaxnas.errors import InputError
from jaxnas.search.loop import PHASES, History, Method, Pool, Proposal, pick, unweighted

RANDOM_PHASE, PROMOTION_PHASE, DENSITY_PHASE = (PHASES.index(name) for name in ("random", "promotion", "density"))


class Rungs(NamedTuple):
    """A round of all brackets, one row per rung, in the order of the search."""

    fidelity: Int[Array, " R"]
    size: Int[Array, " R"]  # architectures on it
    drawn: Bool[Array, " R"]  # the first of its bracket: architectures are drawn; else promoted from the row before


class _Climb(NamedTuple):
    """Where the search stands."""

    rung: Int[Array, ""]
    place: Int[Array, ""]  # architectures of the rung that were told
    arch: Int[Array, " T"]  # they, and their objective
    objective: Float[Array, " T"]
    promoted: Int[Array, " T"]  # those of the rung before, best first


def plan_rungs(prices: Int[Array, " F"]) -> Rungs:
    """The rungs of one round: F brackets, F (F + 1) / 2 rungs."""
    rows, highest = [], len(prices) - 1
    for start in range(highest + 1):
        size = -(-(highest + 1) * prices[highest] // ((highest + 1 - start) * prices[start]))
        for fidelity in range(start, highest + 1):
            rows.append((fidelity, size, fidelity == start))
            size = jnp.maximum(1, size * prices[fidelity] // prices[min(fidelity + 1, highest)])
    return Rungs(*map(jnp.array, zip(*rows, strict=True)))


def _init(pool: Pool, budget, key, config) -> _Climb:
    nobody, zero = jnp.zeros(budget, jnp.int32), jnp.zeros((), jnp.int32)
    return _Climb(zero, zero, nobody, jnp.full(budget, -jnp.inf), nobody)


def _ask(draw: Callable, state: _Climb, history: History, pool: Pool, key, config) -> Proposal:
    rungs = plan_rungs(pool.prices)
    fidelity = rungs.fidelity[state.rung]
    affordable = history.spent + pool.prices[fidelity] <= len(history.item)
    fidelity = jnp.where(affordable, fidelity, 0)
    climbing = affordable & ~rungs.drawn[state.rung]
    among = ~history.queried.reshape(len(pool.prices), -1)[fidelity]
    drawn, phase = draw(history, pool, among, key, config)
    arch = jnp.where(climbing, state.promoted[state.place], drawn)
    item = (fidelity * pool.num_archs + arch).astype(jnp.int32)
    return Proposal(item, jnp.where(climbing, PROMOTION_PHASE, phase), unweighted(pool))


def _tell(state: _Climb, proposal, objective, pool: Pool, config) -> _Climb:
    """A failed candidate is the last to be promoted. What the rest of the budget went to is no part of a rung."""
    rungs = plan_rungs(pool.prices)
    fidelity, arch = jnp.divmod(proposal.item, pool.num_archs)
    told = state._replace(
        place=state.place + 1,
        arch=state.arch.at[state.place].set(arch),
        objective=state.objective.at[state.place].set(jnp.where(jnp.isfinite(objective), objective, -jnp.inf)),
    )
    above = _Climb(
        rung=(state.rung + 1) % len(rungs.size),
        place=jnp.zeros((), jnp.int32),
        arch=told.arch,
        objective=jnp.full_like(told.objective, -jnp.inf),
        promoted=told.arch[jnp.argsort(-told.objective)],
    )
    done = told.place == rungs.size[state.rung]
    moved = jax.tree.map(lambda new, old: jnp.where(done, new, old), above, told)
    return jax.tree.map(lambda new, old: jnp.where(fidelity == rungs.fidelity[state.rung], new, old), moved, state)


def _at_random(history, pool, among, key, config):
    return pick(key, among), RANDOM_PHASE


hyperband = Method("hyperband", _init, partial(_ask, _at_random), _tell, multi_fidelity=True)
"""Brackets of successive halving over random architectures. Source: Li et al. 2018 (arXiv:1603.06560)."""


@dataclass(frozen=True)
class BohbConfig:
    """The defaults are the published ones."""

    good: float = 0.15  # share of the observations that count as good
    at_random: float = 1 / 3  # share of the draws that no density guides
    num_samples: int = 64  # architectures among which a density chooses

    def __post_init__(self) -> None:
        if not (0 < self.good < 1 and 0 <= self.at_random <= 1 and self.num_samples >= 1):
            raise InputError(f"{self}: good must lie within 0 and 1, at_random from 0 to 1, num_samples be at least 1")


def _by_density(history: History, pool: Pool, among: Bool[Array, " A"], key, config: BohbConfig):
    """Of some random architectures the one of highest p(good) / p(bad), by the highest fidelity observed often enough.

    Each density is a product over decisions of the options' shares, one more of each counted.
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
        jnp.where(guided, DENSITY_PHASE, RANDOM_PHASE),
    )


def _shares(one_hot: Float[Array, "N D K"], members: Bool[Array, " N"]) -> Float[Array, "D K"]:
    counts = 1.0 + jnp.sum(one_hot * members[:, None, None], axis=0)
    return counts / counts.sum(axis=1, keepdims=True)


bohb = Method("bohb", _init, partial(_ask, _by_density), _tell, BohbConfig(), needs_archs=True, multi_fidelity=True)
"""Hyperband whose architectures are drawn where good ones are dense. Source: Falkner et al. 2018 (arXiv:1807.01774)."""
