"""All search spaces by name, and the one that can read a text; imported without JAX."""

from contextlib import suppress

from jaxnas.errors import InputError, unknown_name
from jaxnas.spaces.autoformer import AUTOFORMER_TINY
from jaxnas.spaces.darts import DARTS
from jaxnas.spaces.mobilenet import MOBILENET
from jaxnas.spaces.nasbench101 import NASBENCH101
from jaxnas.spaces.nasbench201 import NASBENCH201
from jaxnas.spaces.natsbench_size import NATSBENCH_SIZE
from jaxnas.spaces.space import SearchSpace
from jaxnas.spaces.transnas101 import TRANSNAS101_MACRO, TRANSNAS101_MICRO

SPACES: dict[str, SearchSpace] = {
    space.name: space
    for space in (
        NASBENCH201,
        NASBENCH101,
        TRANSNAS101_MICRO,
        TRANSNAS101_MACRO,
        DARTS,
        MOBILENET,
        AUTOFORMER_TINY,
        NATSBENCH_SIZE,
    )
}


def get_space(name: str) -> SearchSpace:
    """Return the space called `name`.

    Raises:
        InputError: The name is unknown; the message suggests the nearest one.
    """
    if name not in SPACES:
        raise unknown_name("search space", name, SPACES)
    return SPACES[name]


def space_of(text: str) -> str:
    """Return the name of the first space that can read the text of an architecture.

    Raises:
        InputError: None can.
    """
    for name, space in SPACES.items():
        with suppress(InputError):
            space.parse(text)
            return name
    raise InputError(
        f"{text!r:.80} is neither a folder of a search nor an architecture of any space: correct the path, or name the "
        "space after the architecture"
    )
