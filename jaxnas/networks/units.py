"""Units of activations: powers of 2 by which a network without normalisation divides to stay in the range of its type.

Such a network outgrows float32 (1e61 for synflow on NAS-Bench-201), while all its layers are homogeneous in activations
and biases: an exponent says by which power of 2 both are divided, and None that they are as they are.
"""

from typing import TypeAlias, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int32, PyTree

Exponent: TypeAlias = Int32[Array, ""] | None
Activations = TypeVar("Activations", bound=PyTree)  # an array, or a tuple of arrays

_LARGEST_STEP = 100  # of an exponent: powers of 2 that float32 has, and their inverses


def start_exponent(keeps_range: bool) -> Exponent:
    """Return the exponent of activations as they are: 0, or None in a network that does not keep its range."""
    return jnp.int32(0) if keeps_range else None


def rescaled(x: Activations, exponent: Exponent) -> tuple[Activations, Exponent]:
    """Divide activations by the power of 2 that brings the largest to 1 to 2, and add its exponent to `exponent`.

    Several activations, as a tuple, have one exponent. With None both are returned as they are.
    """
    if exponent is None:
        return x, None
    sizes = [jnp.abs(jax.lax.stop_gradient(leaf)).max() for leaf in jax.tree.leaves(x)]
    largest = jnp.max(jnp.stack(sizes))
    step = jnp.where(largest > 0, jnp.frexp(largest)[1] - 1, 0)
    step = jnp.clip(step, -_LARGEST_STEP, _LARGEST_STEP).astype(jnp.int32)
    return in_units(x, step), exponent + step


def in_units(x: Activations, exponent: Exponent) -> Activations:
    """Return x / 2^exponent, or x itself if that is None; values too small for their type become 0."""
    if exponent is None:
        return x
    half = -exponent // 2  # as 2^-exponent itself may not be a number of the type
    rest = -exponent - half

    def power(n: Array, dtype: jnp.dtype) -> Array:
        return jnp.ldexp(jnp.ones((), dtype), n)

    scaled: Activations = jax.tree.map(lambda leaf: leaf * power(half, leaf.dtype) * power(rest, leaf.dtype), x)
    return scaled
