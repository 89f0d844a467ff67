"""Search spaces: what an architecture is, and everything that can be said of one without a network."""

from jaxnas.errors import unknown_name
from jaxnas.spaces.nasbench201 import NASBENCH201
from jaxnas.spaces.space import (
    SearchSpace,
    check_archs,
    enumerate_archs,
    from_index,
    mutate,
    read_archs,
    sample,
    to_index,
)

__all__ = [
    "NASBENCH201",
    "SPACES",
    "SearchSpace",
    "check_archs",
    "enumerate_archs",
    "from_index",
    "get_space",
    "mutate",
    "read_archs",
    "sample",
    "to_index",
]

SPACES: dict[str, SearchSpace] = {"nasbench201": NASBENCH201}


def get_space(name: str) -> SearchSpace:
    """The space called `name`.

    Raises:
        InputError: no such space; the message names the nearest.
    """
    if name not in SPACES:
        raise unknown_name("search space", name, SPACES)
    return SPACES[name]
