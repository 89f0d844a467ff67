"""Pooling, in forms whose gradients are fast on CPUs too.

The gradient of a maximum goes to the first of equal pixels, row by row, as in PyTorch. `jnp.maximum` would share it
among them. Neighbours are equal where one maximum is taken of another.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def average_pool_3x3(x: Float[Array, "N H W C"]) -> Float[Array, "N H W C"]:
    """Return the mean over the 3x3 neighbourhood of every pixel, stride 1, of pixels inside the image."""
    return _sum_of_three(_sum_of_three(x, 1), 2) / _neighbours(x.shape[1:3]).astype(x.dtype)


def max_pool_3x3(x: Float[Array, "N H W C"]) -> Float[Array, "N H W C"]:
    """Return the maximum over the 3x3 neighbourhood of every pixel, stride 1, of pixels inside the image."""
    for axis in (2, 1):
        padding = [(0, 0)] * 4
        padding[axis] = (1, 1)
        padded, size = jnp.pad(x, padding, constant_values=-jnp.inf), x.shape[axis]
        rows = [jax.lax.slice_in_dim(padded, start, start + size, axis=axis) for start in range(3)]
        x = _first_maximum(*rows)
    return x


def _first_maximum(*values: Float[Array, "..."]) -> Float[Array, "..."]:
    """Return the maximum, with the gradient of the first of equal values; NaN if one is NaN."""
    found, *others = values
    for other in others:
        found = jnp.where((found >= other) | jnp.isnan(found), found, other)
    return found


def average_pool_3x3_transpose(g: Float[Array, "N H W C"]) -> Float[Array, "N H W C"]:
    """Return the transpose of `average_pool_3x3` applied to g.

    It differs from `average_pool_3x3` in the place of the division by the number of neighbours, which comes first.
    """
    return _sum_of_three(_sum_of_three(g / _neighbours(g.shape[1:3]).astype(g.dtype), 1), 2)


def _sum_of_three(x: Float[Array, "N H W C"], axis: int) -> Float[Array, "N H W C"]:
    """Return the sum of every pixel and its two neighbours along an axis."""
    padding = [(0, 0)] * x.ndim
    padding[axis] = (1, 1)
    padded = jnp.pad(x, padding)
    size = x.shape[axis]
    return jnp.asarray(sum(jax.lax.slice_in_dim(padded, start, start + size, axis=axis) for start in range(3)))


def _neighbours(shape: tuple[int, ...]) -> Int[Array, "1 H W 1"]:
    """Return the number of pixels in the 3x3 neighbourhood of every pixel."""
    rows, columns = (3 - (jnp.arange(n) == 0) - (jnp.arange(n) == n - 1) for n in shape)
    return (rows[:, None] * columns[None, :])[None, :, :, None]


def average_pool_2x2(x: Float[Array, "N H W C"]) -> Float[Array, "N h w C"]:
    """Return the mean over disjoint 2x2 blocks, h = ceil(H / 2); an odd last row or column makes smaller blocks."""
    n, h, w, c = x.shape
    x = jnp.pad(x, ((0, 0), (0, h % 2), (0, w % 2), (0, 0)), mode="edge")
    return x.reshape(n, -(-h // 2), 2, -(-w // 2), 2, c).mean((2, 4))


def max_pool_2x2(x: Float[Array, "N H W C"]) -> Float[Array, "N h w C"]:
    """Return the maximum over disjoint 2x2 blocks, h = ceil(H / 2); an odd last row or column makes smaller blocks."""
    n, h, w, c = x.shape
    x = jnp.pad(x, ((0, 0), (0, h % 2), (0, w % 2), (0, 0)), mode="edge")
    blocks = x.reshape(n, -(-h // 2), 2, -(-w // 2), 2, c)
    return _first_maximum(*(blocks[:, :, row, :, column] for row in range(2) for column in range(2)))
