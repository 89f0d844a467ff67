"""Search spaces of independent choices, as `jaxnas.networks.declared` derives them from its blocks."""

from functools import lru_cache

import numpy as np
from jaxtyping import Int8, Int64

from jaxnas.errors import InputError
from jaxnas.spaces.space import SearchSpace, check_archs, strip_ends, tidy, to_index

SEPARATOR = ":"


@lru_cache(maxsize=64)
def choice_space(name: str, choices: tuple[tuple[int | float | str, ...], ...]) -> SearchSpace:
    """Return the space of all combinations of options; an architecture is written like "8:64:conv".

    Every decision is assumed to matter, so that each architecture is a network class by itself.

    Args:
        name: The name of the space.
        choices: The options of every decision.

    Raises:
        InputError: There is no choice, or a choice has no options, equal options, or an option whose text is empty,
            contains a colon, or begins or ends with white space.
    """
    if not choices:
        raise InputError(f"space {name!r} must have at least one choice, got none")
    for options in choices:
        texts = [str(option) for option in options]
        if not texts or len(set(texts)) < len(texts) or not all(map(_is_readable, texts)):
            raise InputError(
                f"space {name!r}: options {options} of a choice must differ, without {SEPARATOR!r} or white space at "
                "the ends"
            )
    by_text = [{str(option): number for number, option in enumerate(options)} for options in choices]
    example = SEPARATOR.join(str(options[0]) for options in choices)

    def parse(text: object) -> Int8[np.ndarray, " D"]:
        parts = strip_ends(text).split(SEPARATOR)
        if any(part not in numbers for part, numbers in zip(parts, by_text, strict=False)):
            parts = tidy(text).split(SEPARATOR)  # quotes are removed where they are not of an option
        if len(parts) != len(choices):
            raise InputError(
                f"architecture {text!r:.80} must have {len(choices)} options, like {example!r}, got {len(parts)}"
            )
        for part, numbers in zip(parts, by_text, strict=True):
            if part not in numbers:
                raise InputError(
                    f"architecture {text!r:.80}: an option must be one of {', '.join(numbers)}, got {part!r}"
                )
        return np.array([numbers[part] for part, numbers in zip(parts, by_text, strict=True)], np.int8)

    def format_arch(arch: Int8[np.ndarray, " D"]) -> str:
        arch = check_archs(space, np.asarray(arch)[None])[0]
        return SEPARATOR.join(str(options[number]) for options, number in zip(choices, arch, strict=True))

    def check_only(archs: Int8[np.ndarray, "A D"]) -> Int8[np.ndarray, "A D"]:
        return check_archs(space, archs)

    def index_class(archs: Int8[np.ndarray, "A D"]) -> Int64[np.ndarray, " A"]:
        return to_index(space, archs)

    op_names = tuple(dict.fromkeys(str(option) for options in choices for option in options))
    sizes = tuple(len(options) for options in choices)
    space = SearchSpace(name, op_names, sizes, parse, format_arch, check_only, index_class)
    return space


def _is_readable(text: str) -> bool:
    """Return whether an option can be read back from the text of an architecture, which is stripped and split."""
    return bool(text) and SEPARATOR not in text and text == text.strip()
