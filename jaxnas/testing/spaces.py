"""The check of a search space."""

import jax
import numpy as np

from jaxnas.spaces import SearchSpace, check_archs, enumerate_archs, from_index, mutate, sample, to_index
from jaxnas.testing.rules import NUM_ARCHS, require

_FEW = 20_000  # architectures of a space that is checked completely


def check_space(space: SearchSpace) -> None:
    """Check that index, text, canonical form and class of architectures are consistent.

    The check covers all architectures, or a sample of a space of more than 20,000:

    - index and text lead back to the architecture;
    - `canonicalize` is idempotent and keeps the class;
    - a class is the index of one of its members, and the same for all of them;
    - a mutant is another member of the space, and differs in one decision where the space does not define changes.

    Args:
        space: The space.

    Raises:
        AssertionError: The space breaks a rule, which the message names.
    """
    is_whole = space.size <= _FEW
    archs = enumerate_archs(space) if is_whole else sample(space, _FEW // 10, seed=0)
    index = to_index(space, archs)
    require(len(np.unique(archs, axis=0)) == len(archs), "two indices name the same architecture")
    require(bool(((index >= 0) & (index < space.size)).all()), f"an index is outside 0..{space.size - 1}")
    require(not is_whole or np.array_equal(index, np.arange(space.size)), "indices are not 0, 1, ... in their order")
    require(np.array_equal(from_index(space, index), archs), "an index does not lead back to its architecture")
    for arch in archs:
        text = space.format(arch)
        require(np.array_equal(space.parse(text), arch), f"parse({text!r}) is not the {arch} that format took")
    canonical = check_archs(space, space.canonicalize(archs))
    require(np.array_equal(space.canonicalize(canonical), canonical), "canonicalize changes what it gave")
    label = space.network_class(archs)
    require(np.issubdtype(label.dtype, np.integer), f"network_class gives {label.dtype}, not indices")
    require(
        np.array_equal(space.network_class(from_index(space, label)), label),
        "a class is not named by one of its members",
    )
    require(
        np.array_equal(space.network_class(canonical), label), "canonicalize moves an architecture to another class"
    )
    if max(space.num_choices) > 1:
        mutants = np.stack([mutate(space, jax.random.key(row), arch) for row, arch in enumerate(archs[:NUM_ARCHS])])
        changed = (check_archs(space, mutants) != archs[: len(mutants)]).sum(axis=1)
        fits = changed > 0 if space.neighbours else changed == 1
        require(bool(fits.all()), f"mutants differ in {changed} decisions, not one")
