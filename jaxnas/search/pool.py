"""The architectures to choose from, and the ways of choosing one: at random within a mask, or down a ranking."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Int8, PRNGKeyArray


class Pool(NamedTuple):
    """The architectures to choose from, as a method may read them.

    Attributes:
        table: Normalised scores [A M].
        archs: The option of every decision [A D]; D = 0 if no architectures are available.
        options: 0 to K - 1 [K], where K is the largest number of options of a decision.
        prices: Queries that one evaluation costs at each fidelity [F], rising from 1.
        earlier: Objectives of earlier tasks, higher is better [A E]; None without any.
    """

    table: Float[Array, "A M"]
    archs: Int8[Array, "A D"]
    options: Int[Array, " K"]
    prices: Int[Array, " F"] = np.ones(1, np.int32)  # type: ignore[assignment]  # no device array at import
    earlier: Float[Array, "A E"] | None = None

    @property
    def num_archs(self) -> int:
        """The number of architectures, A."""
        return len(self.table)

    @property
    def num_proxies(self) -> int:
        """The number of proxies, M."""
        return int(self.table.shape[1])


def one_hot(archs: Int8[Array | np.ndarray, "*N D"], pool: Pool) -> Float[Array, "*N I"]:
    """Return the decisions of architectures one-hot, I = D K."""
    hot = jax.nn.one_hot(archs, len(pool.options), dtype=pool.table.dtype)
    return hot.reshape(*archs.shape[:-1], -1)


def unweighted(pool: Pool) -> Float[Array, " M"]:
    """Return the `weights` of a proposal that no weighted sum of the proxies picked: NaN."""
    return jnp.full(pool.num_proxies, jnp.nan)


def pick(key: PRNGKeyArray, among: Bool[Array, " A"]) -> Int[Array, ""]:
    """Draw one architecture of the mask, all equally likely; the first of the pool if the mask is empty."""
    return jnp.argmax(jnp.where(among, jax.random.uniform(key, among.shape), -1.0)).astype(jnp.int32)


def next_in_ranking(merit: Float[Array, " A"], queried: Bool[Array, " A"]) -> Int[Array, ""]:
    """Return the architecture of highest merit that has not been queried; ties go to the lower index."""
    return leader(jnp.where(queried, -jnp.inf, merit))


def leader(merit: Float[Array, " A"]) -> Int[Array, ""]:
    """Return the lowest index of the greatest merit, which must not be NaN.

    On XLA:CPU this takes a third of the time of an argmax.
    """
    index = jnp.arange(len(merit), dtype=jnp.int32)
    return jnp.min(index, where=merit == merit.max(), initial=len(merit) - 1)
