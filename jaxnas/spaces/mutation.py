"""Random changes of an architecture, traceable by JAX."""

from collections.abc import Callable
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int8, PRNGKeyArray

from jaxnas.errors import InputError
from jaxnas.spaces.space import SearchSpace, enumerate_archs


def mutate(space: SearchSpace, key: PRNGKeyArray, arch: Int8[Array | np.ndarray, " D"]) -> Int8[Array, " D"]:
    """Return `arch` [D] with exactly one decision changed: a uniform decision, to a uniform one of its other options.

    Decisions with a single option are never chosen. Where not every vector is a member of the space, the result is a
    uniform one of the members that differ in one decision; in a space that defines what its changes are, one of the
    members that these make, such as one with an edge more of NAS-Bench-101. Works under `jit` and `vmap`.

    Raises:
        InputError: No decision of the space has a second option.
    """
    if space.neighbours is not None:
        traced = cast(Callable[[Array], tuple[Array, Array]], space.neighbours)
        members, near = traced(jnp.asarray(arch))
        return _pick(key, members.astype(jnp.int8), near)
    if space.size < space.num_vectors:
        members = jnp.asarray(enumerate_archs(space))
        near = jnp.sum(members != jnp.asarray(arch)[None], axis=1) == 1
        return _pick(key, members, near)
    num_choices = np.array(space.num_choices)
    mutable = np.flatnonzero(num_choices > 1)
    if not len(mutable):
        raise InputError(f"space {space.name!r} must have two architectures to be mutated, got 1")
    decision_key, shift_key = jax.random.split(key)
    decision = jax.random.choice(decision_key, jnp.asarray(mutable))
    choices = jnp.asarray(num_choices)[decision]
    shift = jax.random.randint(shift_key, (), 1, choices)
    arch = jnp.asarray(arch)
    return arch.at[decision].set(((arch[decision] + shift) % choices).astype(arch.dtype))


def _pick(key: PRNGKeyArray, members: Int8[Array, "M D"], near: Bool[Array, " M"]) -> Int8[Array, " D"]:
    """Return a uniform one of those members that are near."""
    return members[jnp.argmax(jnp.where(near, jax.random.uniform(key, near.shape), -1.0))]
