"""The greedy phase: down the ranking of one robust metric."""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxnas.search.precision import in_float64
from jaxnas.table import combine


@in_float64
@partial(jax.jit, static_argnames="budget")
def greedy(
    table: Float[Array, "A M"], weights: Float[Array, " M"], queried: Bool[Array, " A"], *, budget: int
) -> Int[Array, " T"]:
    """The first `budget` architectures in falling order of M(a; w), those already queried last.

    Ties go to the lower index. With T0 queries made, the first budget - T0 entries are the greedy queries in order.
    """
    order = jnp.argsort(jnp.where(queried, jnp.inf, -combine(table, weights)), stable=True)
    return order[:budget].astype(jnp.int32)
