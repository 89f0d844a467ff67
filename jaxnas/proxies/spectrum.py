"""Eigenvalues and singular values of many small matrices; on CPUs one matrix after another.

XLA:CPU spreads a batched LAPACK call over its thread pool and waits for it in threads of that pool, which hangs as soon
as every thread waits (jaxlib 0.10.2). Two devices that score at the same time are enough for that.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.custom_batching import sequential_vmap
from jaxtyping import Array, Float


def eigenvalues(matrices: Float[Array, "... C C"]) -> Float[Array, "... C"]:
    """Return the eigenvalues of symmetric matrices in ascending order."""
    return _one_by_one(lambda matrix: jnp.linalg.eigvalsh(matrix), matrices)


def singular_values(matrices: Float[Array, "... R C"]) -> Float[Array, "... S"]:
    """Return the singular values in descending order; S is the smaller of R and C."""
    return _one_by_one(lambda matrix: jnp.linalg.svd(matrix, compute_uv=False), matrices)


def _one_by_one(function: Callable[[Array], Array], matrices: Array) -> Array:
    if jax.default_backend() != "cpu":
        return function(matrices)
    flat = jnp.asarray(matrices).reshape(-1, *matrices.shape[-2:])
    values: Array = jax.lax.map(sequential_vmap(function), flat)
    return values.reshape(*matrices.shape[:-2], -1)
