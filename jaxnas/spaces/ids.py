"""The space of architectures that are known by an id alone: any texts, without decisions that could be changed."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int8, Int64

from jaxnas.errors import InputError
from jaxnas.spaces.space import SearchSpace, check_archs, check_text, to_index

IDS = "ids"
"""The name of these spaces."""

_DIGITS = 128  # the options of a decision, at most


def id_space(ids: Sequence[str]) -> SearchSpace:
    """Return the space of these ids, whose index is the position in the list.

    A vector is the index in digits of base 128. Its decisions have no meaning, so that methods that change decisions do
    not apply.

    Args:
        ids: distinct texts.

    Raises:
        InputError: there is none, or two are equal.
    """
    index_of = {text: index for index, text in enumerate(ids)}
    if not ids:
        raise InputError("a space of ids must have at least one id, got none")
    if len(index_of) < len(ids):
        twice = next(text for index, text in enumerate(ids) if index_of[text] != index)
        raise InputError(f"the id {twice!r:.80} occurs more than once: keep one row")
    shape = (len(ids),) if len(ids) <= _DIGITS else _shape(len(ids))

    def parse(text: object) -> Int8[np.ndarray, " D"]:
        known = check_text(text)
        if known not in index_of:
            raise InputError(f"the id {known!r:.80} is unknown; there are {len(ids)}, the first is {ids[0]!r:.80}")
        return np.array(np.unravel_index(index_of[known], shape), np.int8)

    def check(archs: Int8[np.ndarray, "A D"]) -> Int8[np.ndarray, "A D"]:
        return check_archs(space, archs)

    def index(archs: Int8[np.ndarray, "A D"]) -> Int64[np.ndarray, " A"]:
        return to_index(space, archs)

    def format_id(arch: Int8[np.ndarray, " D"]) -> str:
        return ids[int(to_index(space, np.asarray(arch)[None])[0])]

    numbers = np.arange(len(ids))  # made once: every look-up asks for the order
    space = SearchSpace(IDS, (), shape, parse, format_id, check, index, lambda: numbers)
    return space


def _shape(size: int) -> tuple[int, ...]:
    """Return the fewest decisions whose vectors are at least `size`."""
    rest = -(-size // _DIGITS)
    return (*((rest,) if rest <= _DIGITS else _shape(rest)), _DIGITS)
