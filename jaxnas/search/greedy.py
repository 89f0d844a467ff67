"""The greedy phase: down the ranking of one robust metric."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


def next_in_ranking(merit: Float[Array, " A"], queried: Bool[Array, " A"]) -> Int[Array, ""]:
    """The architecture of highest merit that has not been queried; ties go to the lower index."""
    return jnp.argmax(jnp.where(queried, -jnp.inf, merit)).astype(jnp.int32)
