"""The one exception for bad input, the wording that every unknown name gets, and other exceptions in one line."""

import difflib
from collections.abc import Iterable


def first_line(error: BaseException, nothing: str = "") -> str:
    """Return the first line of an exception; without any, `nothing`, by default the name of its class."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else nothing or type(error).__name__


def describe_damage(error: BaseException) -> str:
    """Return why a file could not be read, in one line; a field that it lacks is named as such."""
    return f"field {error}" if isinstance(error, KeyError) else first_line(error)


class InputError(ValueError):
    """An input that cannot be used; the message is one line that names the value and the fix.

    The command line prints it and exits with code 2. A `ValueError` of any other class is a defect of jaxnas.
    """

    def __init__(self, message: str = "") -> None:
        """Keep the message as one line: a name in it, such as that of a column, may have line breaks."""
        super().__init__(" ".join(message.splitlines()))


class NothingToSelect(InputError):
    """Every candidate of a search failed: it has no best architecture."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> InputError:
    """Return the error for a name that is not in `known`; it suggests the nearest known name."""
    known = list(known)
    nearest = difflib.get_close_matches(str(name).lower(), known, n=1, cutoff=0.5)  # also of a value that is no text
    hint = f"did you mean {nearest[0]!r}? " if nearest else ""
    return InputError(f"unknown {kind} {name!r:.80}: {hint}choose from {', '.join(known)}")
