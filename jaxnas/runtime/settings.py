"""Declare the fields of a configuration once: default, range and help, for dataclasses and the command line.

This module imports the standard library alone, as the command line reads configurations before JAX.
"""

import operator
import re
import types
from collections.abc import Callable
from dataclasses import MISSING, Field, field, fields
from pathlib import PurePath
from typing import (
    Any,
    Literal,
    NamedTuple,
    SupportsFloat,
    SupportsIndex,
    TypeAlias,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from jaxnas.errors import InputError, unknown_name
from jaxnas.runtime.names import names, split_names

T = TypeVar("T")
Panel = Literal["What", "Budget", "Data", "Hardware", "Output"]
REQUIRED: Any = MISSING  # the default of a field without a default
KEY = "setting"
LAST_SEED = 2**32 - 1  # JAX would take larger seeds modulo 2^32


Whole: TypeAlias = SupportsIndex | SupportsFloat
"""A whole number of Python, NumPy or JAX; functions that take one check it by `check_whole`."""


class Setting(NamedTuple):
    """The declaration of a field, in addition to its name, type and default.

    Attributes:
      help: one line for the command line's help.
      panel: the group of options it belongs to.
      flag: the option, such as "--all"; by default made of the field's name.
      minimum: the least value, or None.
      maximum: the largest value, or None.
      known: a `Literal` alias of the only names that the command line takes, where Python takes any text.
      suggestions: a `Literal` alias, or a function, of names to complete where other text is possible too.
      kind: name of the value in errors, such as "search space"; by default the field's name.
      argument: whether the command line takes it by position.
      lookup: raises InputError for names that are neither listed by the `Literal` type nor added by the program.
      default: text of the default in the help; by default the value.
      hidden: whether the help leaves it out.
      place: whether it may be a path or an address, see `jaxnas.runtime.places.expand`.
      find: raises InputError where nothing has that name; the command line calls it before it imports JAX.
      short: the short form of the option, such as "-v".
    """

    help: str
    panel: Panel
    flag: str
    minimum: int | float | None
    maximum: int | float | None
    known: object
    suggestions: object
    kind: str
    argument: bool
    lookup: Callable[[str], object] | None
    default: str
    hidden: bool
    place: bool
    find: Callable[[str], object] | None
    short: str


def setting(
    default: T,
    help: str,
    panel: Panel = "What",
    *,
    flag: str = "",
    minimum: int | float | None = None,
    maximum: int | float | None = None,
    known: object = None,
    suggestions: object = None,
    kind: str = "",
    argument: bool = False,
    lookup: Callable[[str], object] | None = None,
    shown: str = "",
    hidden: bool = False,
    place: bool = False,
    find: Callable[[str], object] | None = None,
    short: str = "",
) -> T:
    """Declare a field of a frozen dataclass, with what `Setting` lists; `shown` is its `default`."""
    about = Setting(
        help,
        panel,
        flag,
        minimum,
        maximum,
        known,
        suggestions,
        kind,
        argument,
        lookup,
        shown,
        hidden,
        place,
        find,
        short,
    )
    return field(default=default, metadata={KEY: about})


def settings_of(config: type, *only: str) -> dict[str, tuple[Field[object], Setting]]:
    """Return the fields of a dataclass that were declared by `setting`, all or those named."""
    declared = {one.name: (one, one.metadata[KEY]) for one in fields(config) if KEY in one.metadata}
    return {name: declared[name] for name in only} if only else declared


def types_of(config: type) -> dict[str, object]:
    """Return the type of each field, where `X | None` counts as X."""
    return {name: _required(hint) for name, hint in get_type_hints(config).items()}


def _required(hint: object) -> object:
    if get_origin(hint) in (Union, types.UnionType):
        return next(kind for kind in get_args(hint) if kind is not type(None))
    return hint


def choices(kind: object) -> tuple[str, ...]:
    """Return the names that a type allows: of a `Literal`, or of the members of a tuple; empty for any other type."""
    if get_origin(kind) is tuple:
        kind = get_args(kind)[0]
    return names(kind) if get_origin(kind) is Literal else ()


def check(config: object) -> None:
    """Check the fields of a dataclass that were declared by `setting`; None always fits.

    A field `custom` lists names that are known outside of jaxnas, and are not looked up.

    Raises:
      InputError: a name that the field's `Literal` type does not list and `lookup` does not find, or a number out of
        its range.
    """
    check_kinds(config)
    for name, (_, about) in settings_of(type(config)).items():
        value = getattr(config, name)
        listed = choices(types_of(type(config))[name])
        if about.lookup is None:
            check_names(name, about, value, listed)
        else:
            for unlisted in set(_members(value)) - {*listed, *names(about.known), *getattr(config, "custom", ())}:
                about.lookup(str(unlisted))
        check_range(name, about, value)


def check_kinds(config: object) -> None:
    """Check that every field of a dataclass has a value of its type, and replace numbers of NumPy by those of Python.

    What a configuration holds is then written as JSON, and read back equal. A path is a text, a list a tuple; None
    always fits.

    Raises:
      InputError: a value is of another type.
    """
    for name, kind in types_of(type(config)).items():
        value = getattr(config, name)
        found = _of_kind(name, kind, value)
        if found is not value:
            object.__setattr__(config, name, found)


def _of_kind(name: str, kind: object, value: object) -> object:
    """Return a value as a plain one of a type that JSON has; unchanged if the type is none of these."""
    if value is None or not (kind in _KINDS or get_origin(kind) in (tuple, Literal)):
        return value
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:  # a number of NumPy, JAX or PyTorch
        value = value.item()
    if isinstance(value, PurePath):
        value = str(value)
    if get_origin(kind) is tuple:
        if isinstance(value, str) and get_args(kind)[0] is not int:
            value = split_names(value)
        if not isinstance(value, list | tuple):
            raise InputError(f"`{name}` must be a tuple, got {value!r:.60}")
        members = get_args(kind)
        return tuple(_of_kind(name, members[0] if len(members) == 2 else None, member) for member in value)
    if kind is int and isinstance(value, float) and value.is_integer():
        value = int(value)
    expected, words = _KINDS[str if get_origin(kind) is Literal else kind]
    if not isinstance(value, expected) or (isinstance(value, bool) and kind is not bool):
        raise InputError(f"`{name}` must be {words}, got {value!r:.60}")
    return float(value) if kind is float and isinstance(value, int) else value


_KINDS: dict[object, tuple[tuple[type, ...], str]] = {
    int: ((int,), "a whole number"),
    float: ((int, float), "a number"),
    str: ((str,), "a text"),
    bool: ((bool,), "True or False"),
}


def check_names(name: str, about: Setting, value: object, known: tuple[str, ...]) -> None:
    """Check that a text, or every member of a tuple, is one of the known names, if there are any.

    Raises:
      InputError: with the nearest name.
    """
    for member in _members(value):
        if known and member not in known:
            raise unknown_name(about.kind or name, str(member), known)


def check_range(name: str, about: Setting, value: object) -> None:
    """Check that a number is neither below the least value nor above the largest.

    Raises:
      InputError: it is.
    """
    if not isinstance(value, int | float):
        return
    least, largest = about.minimum, about.maximum
    if (least is not None and not value >= least) or (largest is not None and not value <= largest):
        allowed = f"at least {least:.12g}" if largest is None else f"from {least or 0:.12g} to {largest:.12g}"
        raise InputError(f"`{name}` must be {allowed}, got {value}")


def check_whole(name: str, value: object, least: int, largest: int, meaning: str = "") -> int:
    """Return a whole number of Python, NumPy or JAX as an int.

    Args:
      name: name of the value in the error.
      value: the number; a float only if it is whole, such as 20.0.
      least: least value allowed.
      largest: largest value allowed.
      meaning: what the largest value is, for the error.

    Raises:
      InputError: it is of another type, not whole, or out of the range.
    """
    shown = f"from {least} to {largest}{meaning}, got {value!r:.60}"
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or getattr(value, "ndim", None) or not isinstance(value, SupportsIndex):
        raise InputError(f"`{name}` must be a whole number {shown}")
    number = operator.index(value)
    if not least <= number <= largest:
        raise InputError(f"`{name}` must be {shown}")
    return number


def check_seed(seed: object, name: str = "seed") -> int:
    """Return a seed as an int.

    Raises:
      InputError: it is not an integer from 0 to 2^32 - 1.
    """
    return check_whole(name, seed, 0, LAST_SEED)


def parse_seconds(text: object) -> float:
    """Return the seconds of a duration such as "90", "10m", "1h30m" or 600.

    Raises:
      InputError: it is none, or not above 0.
    """
    parts = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s?)?", str(text).strip())
    hours, minutes, seconds = (float(part or 0) for part in (parts.groups() if parts else (0, 0, 0)))
    total = 3600 * hours + 60 * minutes + seconds
    if not total > 0:
        raise InputError(f"a duration must be above 0, such as 90s, 10m or 1h30m, got {text!r}")
    return total


def _members(value: object) -> tuple[object, ...]:
    if value is None:
        return ()
    return value if isinstance(value, tuple) else (value,)
