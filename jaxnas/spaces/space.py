"""A search space as a frozen description, and the functions that need no more than its numbers of options.

An architecture is an int8 vector [D], one option per decision; several are an int8 NumPy array [A, D].
"""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Int8, Int64, PRNGKeyArray

from jaxnas.errors import InputError
from jaxnas.runtime.files import read_bytes

Unchecked: TypeAlias = np.ndarray | Array | Sequence[Any] | int  # meant as integers, and checked to be

MAX_ENUMERATED = 10_000_000  # architectures; int8 rows of 30 decisions then take 300 MB


@dataclass(frozen=True)
class SearchSpace:
    """The decisions of a space, and the few functions that only the space itself can know.

    Raises:
        InputError: a decision has no option or more than int8 can hold, or the size exceeds int64.
    """

    name: str  # "nasbench201"
    op_names: tuple[str, ...]  # position = op id, in the benchmark's own order
    num_choices: tuple[int, ...]  # options of each decision; its length is D
    parse: Callable[[str], Int8[np.ndarray, " D"]]  # raises InputError for malformed text
    format: Callable[[Int8[np.ndarray, " D"]], str]  # the inverse of parse
    canonicalize: Callable[[Int8[np.ndarray, "A D"]], Int8[np.ndarray, "A D"]]  # without what cannot matter
    network_class: Callable[[Int8[np.ndarray, "A D"]], Int[np.ndarray, " A"]]  # index of one that is the same network
    # Index -> mixed-radix number; None: equal. Where it names fewer than all vectors, the others are no members.
    index_order: Callable[[], Int64[np.ndarray, " A"]] | None = None

    def __post_init__(self) -> None:
        if not all(1 <= choices <= 128 for choices in self.num_choices):
            raise InputError(f"space {self.name!r} has num_choices {self.num_choices}: each must be in 1..128")
        if self.num_vectors >= 2**63:
            raise InputError(f"space {self.name!r} has {self.num_vectors} architectures: an index must fit int64")

    @property
    def num_vectors(self) -> int:
        """The product of num_choices."""
        return math.prod(self.num_choices)

    @property
    def size(self) -> int:
        """The number of architectures: of the vectors, those that are members."""
        return self.num_vectors if self.index_order is None else len(self.index_order())


def check_archs(space: SearchSpace, archs: Unchecked) -> Int8[np.ndarray, "A D"]:
    """`archs` as int8 [A, D], once every value is known to be an option of its decision; A may be 0.

    Raises:
        InputError: not integers, not of shape [A, D], or a value outside 0..num_choices - 1 (the first is named).
    """
    archs = np.asarray(archs)
    num_decisions = len(space.num_choices)
    if archs.ndim != 2 or archs.shape[1] != num_decisions:
        raise InputError(
            f"architectures of shape {archs.shape} do not fit space {space.name!r}: "
            f"give [A, {num_decisions}], one row per architecture"
        )
    if not np.issubdtype(archs.dtype, np.integer):
        raise InputError(f"architectures of dtype {archs.dtype} do not fit space {space.name!r}: give int8")
    outside = np.argwhere((archs < 0) | (archs >= np.array(space.num_choices)))
    if len(outside):
        row, decision = outside[0]
        raise InputError(
            f"architecture {row} has {archs[row, decision]} at decision {decision}: "
            f"space {space.name!r} has options 0..{space.num_choices[decision] - 1} there"
        )
    if space.size < space.num_vectors and len(strangers := np.flatnonzero(_look_up(space, archs) < 0)):
        raise InputError(
            f"architecture {strangers[0]}, {archs[strangers[0]].tolist()}, is no member of space {space.name!r}"
        )
    return archs.astype(np.int8, copy=False)


def to_index(space: SearchSpace, archs: Unchecked) -> Int64[np.ndarray, " A"]:
    """The index in 0..size - 1 of each architecture [A, D], in the benchmark's own order where it has one.

    Elsewhere the index is the mixed-radix number of the options, first decision most significant.

    Raises:
        InputError: see `check_archs`.
    """
    return _look_up(space, check_archs(space, archs))


def from_index(space: SearchSpace, indices: Unchecked) -> Int8[np.ndarray, "*A D"]:
    """The architectures [A, D] at `indices` [A], the inverse of `to_index`; one integer gives one vector [D].

    Raises:
        InputError: not integers, or outside 0..size - 1 (the first is named).
    """
    indices = np.asarray(indices)
    if not np.issubdtype(indices.dtype, np.integer):
        raise InputError(f"indices of dtype {indices.dtype} name no architectures: give integers")
    outside = indices[(indices < 0) | (indices >= space.size)]
    if outside.size:
        raise InputError(f"index {outside[0]} is not in space {space.name!r}: choose from 0..{space.size - 1}")
    numbers = space.index_order()[indices] if space.index_order else indices
    return np.stack(np.unravel_index(numbers, space.num_choices), axis=-1).astype(np.int8)


def _look_up(space: SearchSpace, archs: Int8[np.ndarray, "A D"]) -> Int64[np.ndarray, " A"]:
    """The index of each vector, -1 of one that is no member."""
    numbers = np.ravel_multi_index(tuple(archs.T), space.num_choices)
    return np.take(_inverse(space.index_order, space.num_vectors), numbers) if space.index_order else numbers


@cache
def _inverse(index_order: Callable[[], Int64[np.ndarray, " A"]], num_vectors: int) -> Int64[np.ndarray, " V"]:
    """Mixed-radix number -> index, -1 where there is none."""
    order = index_order()
    indices = np.full(num_vectors, -1)
    indices[order] = np.arange(len(order))
    return indices


def enumerate_archs(space: SearchSpace) -> Int8[np.ndarray, "A D"]:
    """All architectures in index order.

    Raises:
        InputError: the space has more than MAX_ENUMERATED architectures.
    """
    if space.size > MAX_ENUMERATED:
        raise InputError(
            f"space {space.name!r} has {space.size} architectures, over {MAX_ENUMERATED}: draw a sample instead"
        )
    return from_index(space, np.arange(space.size))


def sample(space: SearchSpace, num: int, seed: int | np.integer) -> Int8[np.ndarray, "num D"]:
    """`num` distinct architectures, uniform over the space and in random order; equal seeds give equal draws.

    Time and memory grow with `num`, not with the size of the space. Python's generator draws them, because NumPy
    reserves the right to change its streams between versions.

    Raises:
        InputError: `num` is not in 1..size.
    """
    if not 1 <= num <= space.size:
        raise InputError(f"cannot sample {num} distinct architectures of {space.name!r}: choose 1..{space.size}")
    return from_index(space, np.array(random.Random(int(seed)).sample(range(space.size), num)))


def mutate(space: SearchSpace, key: PRNGKeyArray, arch: Int8[Array | np.ndarray, " D"]) -> Int8[Array, " D"]:
    """`arch` with exactly one decision changed: a uniform decision, to a uniform one of its other options.

    Decisions that have a single option are never chosen. Where not every vector is a member of the space: a uniform one
    of the members that differ in one decision. Works under jit and vmap.

    Raises:
        InputError: no decision of the space has a second option.
    """
    if space.size < space.num_vectors:
        members = jnp.asarray(enumerate_archs(space))
        near = jnp.sum(members != jnp.asarray(arch)[None], axis=1) == 1
        return members[jnp.argmax(jnp.where(near, jax.random.uniform(key, near.shape), -1.0))]
    num_choices = np.array(space.num_choices)
    mutable = np.flatnonzero(num_choices > 1)
    if not len(mutable):
        raise InputError(f"space {space.name!r} has a single architecture: nothing can be mutated")
    decision_key, shift_key = jax.random.split(key)
    decision = jax.random.choice(decision_key, jnp.asarray(mutable))
    choices = jnp.asarray(num_choices)[decision]
    shift = jax.random.randint(shift_key, (), 1, choices)
    arch = jnp.asarray(arch)
    return arch.at[decision].set(((arch[decision] + shift) % choices).astype(arch.dtype))


def read_archs(path: Path | str, space: SearchSpace) -> Int8[np.ndarray, "A D"]:
    """Architectures of a text file, one string on each line; empty lines are skipped.

    Raises:
      InputError: no such file, no architecture in it, or a line that the space cannot parse, with its number.
    """
    lines = read_bytes(Path(path)).decode(errors="replace").splitlines()
    archs = []
    for number, line in enumerate(lines, start=1):
        try:
            archs += [space.parse(line)] if line.strip() else []
        except InputError as error:
            raise InputError(f"{path}, line {number}: {error}") from error
    if not archs:
        raise InputError(f"{path} has no architecture: write one string on each line")
    return np.stack(archs)
