"""The greedy phase: down the ranking of one robust metric."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


def next_in_ranking(merit: Float[Array, " A"], queried: Bool[Array, " A"]) -> Int[Array, ""]:
    """The architecture of highest merit that has not been queried; ties go to the lower index."""
    return leader(jnp.where(queried, -jnp.inf, merit))


def leader(merit: Float[Array, " A"]) -> Int[Array, ""]:
    """The lowest index of the greatest merit; no NaN. On XLA:CPU an argmax takes three times as long."""
    index = jnp.arange(len(merit), dtype=jnp.int32)
    return jnp.min(index, where=merit == merit.max(), initial=len(merit) - 1)
