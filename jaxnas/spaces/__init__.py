"""Search spaces: architectures as int8 vectors, their texts, indices, mutants and classes of equal networks."""

from jaxnas.errors import unknown_name
from jaxnas.spaces.darts import DARTS
from jaxnas.spaces.mobilenet import MOBILENET
from jaxnas.spaces.nasbench201 import NASBENCH201
from jaxnas.spaces.space import (
    SearchSpace,
    check_archs,
    enumerate_archs,
    equal_rows,
    find_rows,
    from_index,
    mutate,
    read_archs,
    sample,
    to_index,
)
from jaxnas.spaces.transnas101 import TRANSNAS101_MACRO, TRANSNAS101_MICRO

__all__ = [
    "DARTS",
    "MOBILENET",
    "NASBENCH201",
    "SPACES",
    "TRANSNAS101_MACRO",
    "TRANSNAS101_MICRO",
    "SearchSpace",
    "check_archs",
    "enumerate_archs",
    "equal_rows",
    "find_rows",
    "from_index",
    "get_space",
    "mutate",
    "read_archs",
    "sample",
    "to_index",
]

SPACES: dict[str, SearchSpace] = {
    space.name: space for space in (NASBENCH201, TRANSNAS101_MICRO, TRANSNAS101_MACRO, DARTS, MOBILENET)
}


def get_space(name: str) -> SearchSpace:
    """Return the space called `name`.

    Raises:
        InputError: The name is unknown; the message suggests the nearest one.
    """
    if name not in SPACES:
        raise unknown_name("search space", name, SPACES)
    return SPACES[name]
