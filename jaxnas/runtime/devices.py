"""One function of many rows, over several devices: one row after another on each, or all at once under `vmap`."""

from collections.abc import Callable
from functools import wraps
from typing import TypeVar

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import Mesh, PartitionSpec
from jax.typing import DTypeLike
from jaxtyping import Array

RowT = TypeVar("RowT")
SharedT = TypeVar("SharedT")
OutT = TypeVar("OutT")

# Constructors of JAX, which it does not type.
partition_spec: Callable[..., PartitionSpec] = PartitionSpec
abstract_array: Callable[[tuple[int, ...], DTypeLike], jax.ShapeDtypeStruct] = jax.ShapeDtypeStruct


def map_on_devices(function: Callable[[RowT, SharedT], OutT], mesh: Mesh, *, vmapped: bool) -> jax.stages.Wrapped:
    """Compile `function(row, shared)` for many rows, in equal shares on the devices of a mesh.

    The compiled function takes (counts, rows, shared): the leaves of `rows` have an axis of rows in front, a multiple
    of the number of devices, and those of `shared` are the same for all. It returns what `function` gives for each row,
    with the axis of rows in front.

    Args:
      function: traceable, from trees of arrays to a tree of arrays.
      mesh: devices along one axis.
      vmapped: compute all rows of a device at once. If False, a device computes the first `count` of its rows one after
        another, in the memory of one, and the others are zeros.
    """
    compute = _map_by_vmap if vmapped else _map_by_loop
    split, whole = partition_spec(mesh.axis_names), partition_spec()

    @wraps(function)  # the program has the name of the function
    def compute_share(counts: Array, rows: RowT, shared: SharedT) -> OutT:
        return compute(function, counts, rows, shared)

    sharded = jax.shard_map(
        compute_share,
        mesh=mesh,
        in_specs=(split, split, whole),
        out_specs=split,
        check_vma=False,
    )
    return jax.jit(sharded)


def _map_by_vmap(function: Callable[[RowT, SharedT], OutT], counts: Array, rows: RowT, shared: SharedT) -> OutT:
    results: OutT = jax.vmap(function, (0, None))(rows, shared)
    return results


def _map_by_loop(function: Callable[[RowT, SharedT], OutT], counts: Array, rows: RowT, shared: SharedT) -> OutT:
    once = jax.jit(function, inline=True)  # traced once: for the shapes of its results, and in the loop

    def compute(row: int | Array) -> OutT:
        result: OutT = once(jax.tree.map(lambda leaf: leaf[row], rows), shared)
        return result

    def step(row: Array, results: OutT) -> OutT:
        result = compute(row)
        with jax.enable_x64(is_wide):
            updated: OutT = jax.tree.map(
                lambda all, one: lax.dynamic_update_index_in_dim(all, one, row, 0), results, result
            )
        return updated

    shapes = jax.eval_shape(lambda: compute(0))
    is_wide = any(leaf.dtype.itemsize == 8 for leaf in jax.tree.leaves(shapes))  # else float64 would become float32
    num_rows = len(jax.tree.leaves(rows)[0])
    with jax.enable_x64(is_wide):
        zeros: OutT = jax.tree.map(lambda leaf: jnp.zeros((num_rows, *leaf.shape), leaf.dtype), shapes)
    results: OutT = lax.fori_loop(0, counts[0], step, zeros)
    return results
