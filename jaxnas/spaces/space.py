"""The description of a search space, and the functions that need its numbers of options alone.

An architecture is an int8 vector [D] with one option per decision; several are an int8 NumPy array [A D].
"""

import math
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from jaxtyping import Int, Int8, Int64
from numpy.typing import ArrayLike

from jaxnas.errors import InputError
from jaxnas.runtime.files import read_text
from jaxnas.runtime.settings import Whole, check_seed, check_whole

Unchecked: TypeAlias = ArrayLike | Sequence[object] | int  # integers, which are checked

if TYPE_CHECKING:
    Traceable: TypeAlias = np.ndarray
else:
    Traceable = object  # or an array of JAX, which is not imported here

Neighbours: TypeAlias = Callable[[Traceable], tuple[Traceable, Traceable]]

MAX_ENUMERATED = 10_000_000  # architectures; int8 rows of 30 decisions then take 300 MB


@dataclass(frozen=True)
class SearchSpace:
    """The decisions of a space, and the functions that each space defines for itself.

    Attributes:
        name: The name, such as "nasbench201".
        op_names: The names of the ops, by number, in the order of the benchmark.
        num_choices: The number of options of each decision; its length is D, the number of decisions.
        parse: Returns the architecture [D] of a text; raises InputError for malformed text and for what is no string.
        format: Returns the text of an architecture [D]; the inverse of `parse`.
        canonicalize: Returns architectures [A D] without what cannot matter.
        network_class: Returns for each architecture [A D] the index of one that represents all equal networks.
        index_order: Returns the mixed-radix number at each index; None if they are equal. Vectors whose numbers it does
            not contain are not members of the space.
        neighbours: Returns for a member [D], which JAX may trace, vectors [M D] and which of them are the members that
            one change makes of it; None where a change is another option of one decision.

    Raises:
        InputError: A decision has no option or more than 128, or the number of vectors exceeds int64.
    """

    name: str
    op_names: tuple[str, ...]
    num_choices: tuple[int, ...]
    parse: Callable[[str], Int8[np.ndarray, " D"]]
    format: Callable[[Int8[np.ndarray, " D"]], str]
    canonicalize: Callable[[Int8[np.ndarray, "A D"]], Int8[np.ndarray, "A D"]]
    network_class: Callable[[Int8[np.ndarray, "A D"]], Int[np.ndarray, " A"]]
    index_order: Callable[[], Int64[np.ndarray, " A"]] | None = None
    neighbours: Neighbours | None = None

    def __post_init__(self) -> None:
        """Check the number of options and of vectors."""
        if not all(1 <= choices <= 128 for choices in self.num_choices):
            raise InputError(f"`num_choices` of space {self.name!r} must be from 1 to 128 each, got {self.num_choices}")
        if self.num_vectors >= 2**63:
            raise InputError(
                f"space {self.name!r} must have fewer than 2^63 vectors, as an index is int64, got {self.num_vectors}"
            )

    @property
    def num_vectors(self) -> int:
        """The number of vectors, the product of `num_choices`."""
        return math.prod(self.num_choices)

    @property
    def size(self) -> int:
        """The number of architectures, which are the vectors that are members of the space."""
        return self.num_vectors if self.index_order is None else len(self.index_order())


def _check_kind(space: object) -> None:
    """Raise InputError for a name or another value in place of a space."""
    if not isinstance(space, SearchSpace):
        raise InputError(f"`space` must be a SearchSpace, such as jaxnas.NASBENCH201, got {space!r:.60}")


def check_archs(space: SearchSpace, archs: Unchecked) -> Int8[np.ndarray, "A D"]:
    """Return `archs` as int8 [A D] after checking that every row is an architecture of the space; A may be 0.

    Raises:
        InputError: See `check_options`, or a row is not a member of the space; the message names the first.
    """
    archs = check_options(space, archs)
    if space.size < space.num_vectors and len(invalid := np.flatnonzero(_look_up(space, archs) < 0)):
        raise InputError(f"architecture {invalid[0]}, {archs[invalid[0]].tolist()}, is not in space {space.name!r}")
    return archs


def check_options(space: SearchSpace, archs: Unchecked) -> Int8[np.ndarray, "A D"]:
    """Return `archs` as int8 [A D] after checking every option, whether or not a row is a member of the space.

    Raises:
        InputError: The values are not integers of shape [A D], or one is outside 0..num_choices - 1; the message names
            the first.
    """
    _check_kind(space)
    archs = np.asarray(archs)
    num_decisions = len(space.num_choices)
    if archs.ndim != 2 or archs.shape[1] != num_decisions:
        raise InputError(
            f"architectures of space {space.name!r} must have shape [A, {num_decisions}], one row each, "
            f"got {archs.shape}"
        )
    if not np.issubdtype(archs.dtype, np.integer):
        raise InputError(f"architectures of space {space.name!r} must be int8, got {archs.dtype}")
    outside = np.argwhere((archs < 0) | (archs >= np.array(space.num_choices)))
    if len(outside):
        row, decision = outside[0]
        raise InputError(
            f"architecture {row} has {archs[row, decision]} at decision {decision}: "
            f"space {space.name!r} has options 0..{space.num_choices[decision] - 1} there"
        )
    return archs.astype(np.int8, copy=False)


def equal_rows(archs: Int[np.ndarray, "A D"]) -> tuple[int, int] | None:
    """Return the first row that repeats an earlier one, after that earlier row; None if all rows differ."""
    _, first, inverse = np.unique(archs, axis=0, return_index=True, return_inverse=True)
    repeated = np.flatnonzero(first[inverse] != np.arange(len(archs)))
    return (int(first[inverse[repeated[0]]]), int(repeated[0])) if len(repeated) else None


def find_rows(among: Int[np.ndarray, "B D"], archs: Int[np.ndarray, "A D"]) -> Int[np.ndarray, " A"]:
    """Return the row of each of `archs` in another array, -1 where it is in none; of equal rows the last."""
    row_of = {arch.tobytes(): row for row, arch in enumerate(among)}
    return np.array([row_of.get(arch.tobytes(), -1) for arch in archs], np.intp)


def to_index(space: SearchSpace, archs: Unchecked) -> Int64[np.ndarray, " A"]:
    """Return the index in 0..size - 1 of each architecture [A D], in the order of the benchmark where it has one.

    In other spaces the index is the mixed-radix number of the options, first decision most significant.

    Raises:
        InputError: See `check_archs`.
    """
    return _look_up(space, check_archs(space, archs))


def from_index(space: SearchSpace, indices: Unchecked) -> Int8[np.ndarray, "*A D"]:
    """Return the architectures [A D] at `indices` [A], or the vector [D] at one integer; the inverse of `to_index`.

    Raises:
        InputError: The indices are not integers, or one is outside 0..size - 1; the message names the first.
    """
    indices = np.asarray(indices)
    if not np.issubdtype(indices.dtype, np.integer):
        raise InputError(f"indices must be integers, got {indices.dtype}")
    outside = indices[(indices < 0) | (indices >= space.size)]
    if outside.size:
        raise InputError(f"an index of space {space.name!r} must be from 0 to {space.size - 1}, got {outside[0]}")
    numbers = space.index_order()[indices] if space.index_order else indices
    return np.asarray(np.stack(np.unravel_index(numbers, space.num_choices), axis=-1), np.int8)


def is_member(space: SearchSpace, arch: Int8[np.ndarray, " D"]) -> bool:
    """Return whether a vector whose options are in their ranges is a member of the space."""
    return bool(_look_up(space, arch[None])[0] >= 0)


def _look_up(space: SearchSpace, archs: Int8[np.ndarray, "A D"]) -> Int64[np.ndarray, " A"]:
    """Return the index of each vector, -1 for vectors that are not in the space."""
    numbers: np.ndarray = np.ravel_multi_index(tuple(archs.T), space.num_choices)
    if space.index_order is None:
        return numbers
    rising, indices = _sorted_order(space.index_order)
    places = np.minimum(np.searchsorted(rising, numbers), len(rising) - 1)
    return np.where(rising[places] == numbers, indices[places], -1)


@cache
def _sorted_order(
    index_order: Callable[[], Int64[np.ndarray, " A"]],
) -> tuple[Int64[np.ndarray, " A"], Int64[np.ndarray, " A"]]:
    """Return the mixed-radix numbers of the members in rising order, and the index of each."""
    order = index_order()
    indices = np.argsort(order)
    return order[indices], indices


def enumerate_archs(space: SearchSpace) -> Int8[np.ndarray, "A D"]:
    """Return all architectures [A D] in index order.

    Raises:
        InputError: `space` is no search space, or has more than `MAX_ENUMERATED` architectures.
    """
    _check_kind(space)
    if space.size > MAX_ENUMERATED:
        raise InputError(
            f"space {space.name!r} must have at most {MAX_ENUMERATED} architectures to be enumerated, "
            f"got {space.size}; draw a sample instead"
        )
    return from_index(space, np.arange(space.size))


_SCALAR = re.compile(r"\b(?:np|numpy|jnp)\.\w+\(([^()]*)\)")


def check_text(text: object) -> str:
    """Return the text of an architecture.

    Raises:
        InputError: It is no string, such as a vector.
    """
    if not isinstance(text, str):
        raise InputError(f"the text of an architecture must be a string, got {type(text).__name__}: {text!r:.60}")
    return text


def strip_ends(text: object) -> str:
    """Return the text of an architecture without a byte order mark and white space at its ends.

    Raises:
        InputError: See `check_text`.
    """
    return check_text(text).strip().strip("\ufeff").strip()


def tidy(text: object) -> str:
    """Return the text of an architecture as programs print it, without what surrounds or hides the architecture.

    It removes a byte order mark, white space and quotes at the ends, and the names of types around scalars, which NumPy
    2 prints, as in `np.int64(0)`.

    Raises:
        InputError: See `check_text`.
    """
    plain = re.sub(r"^np\.str_\((.*)\)$", r"\1", strip_ends(text), flags=re.DOTALL)
    while (shorter := _SCALAR.sub(r"\1", plain)) != plain:
        plain = shorter
    if len(plain) >= 2 and plain[0] == plain[-1] and plain[0] in "'\"":
        plain = plain[1:-1]
    return plain.strip()


def sample(space: SearchSpace, num: Whole, seed: Whole) -> Int8[np.ndarray, "num D"]:
    """Draw `num` distinct architectures [num D], uniformly and in random order; equal seeds give equal draws.

    Time and memory grow with `num`, not with the size of the space. Python's generator is used, because the streams of
    NumPy's may change between versions.

    Raises:
        InputError: `space` is no search space, `num` is not from 1 to its size, or the seed is out of range.
    """
    _check_kind(space)
    count = check_whole("num", num, 1, space.size, f", the architectures of space {space.name!r}")
    return from_index(space, np.array(random.Random(check_seed(seed)).sample(range(space.size), count)))


def read_archs(path: Path | str, space: SearchSpace) -> Int8[np.ndarray, "A D"]:
    """Read architectures [A D] from a text file with one on each line; empty lines are skipped.

    Raises:
        InputError: The file is missing, not UTF-8 or without an architecture, or the space cannot parse a line; the
            message has its number.
    """
    lines = read_text(path).splitlines()
    archs = []
    for number, line in enumerate(lines, start=1):
        try:
            archs += [space.parse(line)] if line.strip() else []
        except InputError as error:
            raise InputError(f"{path}, line {number}: {error}") from error
    if not archs:
        raise InputError(f"{path} has no architecture; write one on each line")
    return np.stack(archs)
