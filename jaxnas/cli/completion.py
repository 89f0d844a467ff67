"""Shell completion of options that take a known name."""

from collections.abc import Callable, Sequence

import typer

from jaxnas.run.find import shipped_names
from jaxnas.runtime.names import SpaceName, names


def one_of(known: Sequence[str]) -> Callable[[str], list[str]]:
    """Complete a known name."""

    def complete(incomplete: str) -> list[str]:
        return [name for name in known if name.startswith(incomplete)]

    return complete


def some_of(known: Sequence[str]) -> Callable[[str], list[str]]:
    """Complete the last name of a comma-separated list with those that the list does not have yet."""

    def complete(incomplete: str) -> list[str]:
        before, comma, last = incomplete.rpartition(",")
        listed = before.split(",")
        return [f"{before}{comma}{name}" for name in known if name.startswith(last) and name not in listed]

    return complete


def shipped(context: typer.Context, incomplete: str) -> list[str]:
    """Complete a data set that has shipped scores of the command's space."""
    arguments = [*context.args, context.params.get("space")]  # the former where a last option has no value yet
    space = next((name for name in arguments if name in names(SpaceName)), names(SpaceName)[0])
    return [name for name in shipped_names(space) if name.startswith(incomplete)]
