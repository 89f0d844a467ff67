"""Batches of the operands of primitives, as batching rules receive them."""

from collections.abc import Sequence
from typing import TypeAlias

import jax.numpy as jnp
from jaxtyping import Array

Axes: TypeAlias = tuple[int | None, ...]


def leading(args: Sequence[Array], axes: Axes, *, always: int) -> list[Array]:
    """Return the arguments with the batch axis in front; the first `always` of them get one if they have none."""
    size = next(arg.shape[axis] for arg, axis in zip(args, axes, strict=True) if axis is not None)
    moved = []
    for number, (arg, axis) in enumerate(zip(args, axes, strict=True)):
        if axis is None and number < always:
            arg = jnp.broadcast_to(arg, (size, *jnp.shape(arg)))
        moved.append(arg if axis is None else jnp.moveaxis(arg, axis, 0))
    return moved
