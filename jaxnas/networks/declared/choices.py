"""Choices of declared networks, and the decisions of one architecture."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

from jaxnas.errors import InputError

Taken = TypeVar("Taken")


@dataclass(frozen=True)
class Choice:
    """A decision among numbers (of channels, of repetitions, ...), or among the labels of ops.

    Attributes:
        options: What is chosen from, as the text of an architecture shows it.
        name: Choices of one name are one decision; None: each place where the choice stands is a decision.
    """

    options: tuple[int | float | str, ...]
    name: str | None = None

    @property
    def numbers(self) -> tuple[int, ...]:
        """The options of a choice among whole numbers.

        Raises:
            InputError: One is another number.
        """
        if any(isinstance(option, float) for option in self.options):
            raise InputError(f"choice{self.options} of widths, sizes, times or heads: give whole numbers")
        return tuple(int(option) for option in self.options)

    @property
    def values(self) -> tuple[float, ...]:
        """The options of a choice among any numbers."""
        return tuple(float(option) for option in self.options)

    def shown(self, prefix: str) -> "Choice":
        """Return the choice as texts that begin with `prefix`."""
        return Choice(tuple(f"{prefix}{option}" for option in self.options), self.name)


Width: TypeAlias = int | Choice | None  # channels; None: as many as come in


def choice(*options: float, name: str | None = None) -> Choice:
    """Return a decision among these numbers.

    Args:
        *options: Numbers from 0 on; whole ones, except for the ratios of `Mlp`.
        name: Ties choices: all of one name are one decision, wherever they stand.

    Raises:
        InputError: No options, or one that is not a number from 0 on.
    """
    if not options or not all(isinstance(option, int | float) and 0 <= option < math.inf for option in options):
        raise InputError(f"choice{options}: give whole numbers from 0 on; ops are chosen with Choose(...)")
    return Choice(options, name)


def options_of(value: int | Choice) -> tuple[int, ...]:
    """Return the numbers that a number or a choice can be."""
    return value.numbers if isinstance(value, Choice) else (value,)


def values_of(value: float | Choice) -> tuple[float, ...]:
    """Return the numbers that a number or a choice can be, whole or not."""
    return value.values if isinstance(value, Choice) else (value,)


def check_width(width: Width) -> None:
    """Raise an InputError for a width that may be 0."""
    options = width.options if isinstance(width, Choice) else (width,)
    if any(option is not None and (not isinstance(option, int) or option < 1) for option in options):
        raise InputError(f"width {width}: give whole numbers from 1 on")


def choices_among(*values: object) -> Iterator[Choice]:
    """Yield those of the values that are choices."""
    yield from (value for value in values if isinstance(value, Choice))


def distinct(choices: Iterable[Choice]) -> list[Choice]:
    """Return the choices that are decisions: of several with one name the first.

    Raises:
        InputError: Two of one name have different options.
    """
    found: list[Choice] = []
    named: dict[str, Choice] = {}
    for one in choices:
        if one.name is None:
            found.append(one)
        elif one.name not in named:
            found.append(one)
            named[one.name] = one
        elif named[one.name] != one:
            raise InputError(
                f"choices named {one.name!r} must have equal options, got {named[one.name].options} and {one.options}"
            )
    return found


class Decisions(Generic[Taken]):
    """The decisions of an architecture, which blocks take in their order."""

    def __init__(self, arch: Iterable[Taken]):
        """Start with all decisions."""
        self._rest = list(arch)
        self._named: dict[str, Taken] = {}

    def copy(self) -> "Decisions[Taken]":
        """Return decisions of which the same ones are taken."""
        other = Decisions(self._rest)
        other._named = dict(self._named)
        return other

    def take(self, name: str | None) -> Taken:
        """Return the next decision, or that which was taken for an earlier choice of this name."""
        if name is None:
            return self._rest.pop(0)
        if name not in self._named:
            self._named[name] = self._rest.pop(0)
        return self._named[name]
