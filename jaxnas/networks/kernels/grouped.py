"""Ops of many architectures by XLA: each runs once, on the group of architectures that chose it.

The form that runs on all accelerators, and with which that of `fused` is compared.
"""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxnas.networks.kernels.convolution import conv_kernel
from jaxnas.networks.kernels.ops import Dispatch, ImageMap, kernel_of, rectified


def map_images(
    apply: ImageMap,
    op: Int[Array, " A"],
    gate: Float[Array, "A N H W C"],
    x: Float[Array, "A N H W C"],
    kernels: Sequence[Float[Array, "B _ _ C C"]],
    dispatch: Dispatch,
) -> Float[Array, "A N H W C"]:
    """Return the op of each architecture applied to its images, or the transpose of that op.

    Args:
        apply: `apply_op` or `apply_transpose`.
        op: The op of each architecture.
        gate: See `apply_op`.
        x: The images.
        kernels: Of each convolution among the ops, with B = A, or 1 for a kernel that all share.
        dispatch: The ops.
    """
    identity = [number for number, kind in enumerate(dispatch.kinds) if kind == "identity"]
    out = jnp.where(_is_one_of(op, identity, x), x, 0)
    for number, (kind, kernel) in enumerate(zip(dispatch.kinds, kernel_of(dispatch, kernels), strict=True)):
        members = group(op, number, dispatch)
        if kind in ("zero", "identity") or not len(members):
            continue
        gates, images = _take(gate, members), _take(x, members)
        if kernel is not None and len(kernel) > 1:
            result = jax.vmap(partial(apply, kind))(gates, images, _take(kernel, members))
        else:
            result = jax.vmap(partial(apply, kind, kernel=None if kernel is None else kernel[0]))(gates, images)
        out = out.at[members].set(result, mode="drop")
    return out


def kernel_gradients(
    members: Int[Array, " G"],
    gate: Float[Array, "A N H W C"],
    x: Float[Array, "A N H W C"],
    g: Float[Array, "A N H W C"],
    size: int,
) -> Float[Array, "G k k C C"]:
    """Return the transposes in the kernel of a convolution of that size, of these architectures, applied to g."""
    images = rectified(size, _take(gate, members), _take(x, members))
    gradients: Array = jax.vmap(partial(conv_kernel, size=size))(images, _take(g, members))
    return gradients


def from_group(op: Int[Array, " A"], number: int, of_members: Float[Array, "G ..."]) -> Float[Array, "A ..."]:
    """Return what the members of a group have, as rows of all architectures, 0 for the others."""
    ranks = _ranks(op, number)
    is_member = (op == number) & (ranks < len(of_members))
    rows = of_members[jnp.minimum(ranks, len(of_members) - 1)]
    return jnp.where(is_member.reshape(-1, *[1] * (rows.ndim - 1)), rows, 0)


def _is_one_of(op: Int[Array, " A"], numbers: list[int], x: Array) -> Bool[Array, "A ..."]:
    """Return which ops are among the numbers, with the axes of x."""
    found: Array = sum((op == number for number in numbers), start=jnp.zeros(len(op), bool))
    return found.reshape(-1, *[1] * (x.ndim - 1))


def group(op: Int[Array, " A"], number: int, dispatch: Dispatch) -> Int[Array, " G"]:
    """Return the rows that chose op `number`, as many as its capacity, filled up with a row that does not exist."""
    capacity = len(op) if dispatch.capacity is None else min(dispatch.capacity[number], len(op))
    ranks, rows = _ranks(op, number), jnp.arange(len(op))
    is_at = (op == number)[None, :] & (ranks[None, :] == jnp.arange(capacity)[:, None])
    return jnp.where(is_at.any(1), jnp.where(is_at, rows[None, :], 0).sum(1), len(op))


def _ranks(op: Int[Array, " A"], number: int) -> Int[Array, " A"]:
    """Return how many rows in front chose op `number`, by comparing all with all: one kernel of a GPU."""
    rows = jnp.arange(len(op))
    return ((op == number)[None, :] & (rows[None, :] < rows[:, None])).sum(1)


def _take(x: Array, rows: Int[Array, " G"]) -> Array:
    """Return these rows of x, 0 for one that does not exist."""
    return x.at[rows].get(mode="fill", fill_value=0)
