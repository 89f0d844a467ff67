"""Generate the options of a command from the dataclasses that it takes, whose fields are declared by `setting`."""

import inspect
from collections.abc import Callable, Iterator
from dataclasses import MISSING
from functools import cache, wraps
from pathlib import Path
from typing import Annotated, Any, NamedTuple, get_args, get_origin

import typer

from jaxnas.cli.completion import one_of, some_of
from jaxnas.errors import InputError
from jaxnas.runtime.names import PLUGIN_GROUP, names, split_names
from jaxnas.runtime.places import expand, to_path
from jaxnas.runtime.records import Record
from jaxnas.runtime.settings import Panel, Setting, check_names, check_range, choices, settings_of, types_of

EXTENDING = ("scores", "plugin")  # options that may add names: proxies are columns of given scores
PANELS = (None, *get_args(Panel))  # None: the panel of the options that come first


class Given(Record):
    """The settings of some dataclasses that the user gave, by name; the others keep their defaults."""


class Only(NamedTuple):
    """Some fields of a dataclass."""

    config: type
    fields: tuple[str, ...]


class Parameter(NamedTuple):
    """One argument or option of a command."""

    group: str
    name: str
    kind: Any
    default: object
    about: Setting
    panel: str | None

    @property
    def flag(self) -> str:
        """The option, or the name of the argument."""
        return self.name.upper() if self.about.argument else self.about.flag or f"--{self.name.replace('_', '-')}"

    @property
    def known(self) -> tuple[str, ...]:
        """The only names that it takes; empty where any text is possible."""
        return choices(self.kind) or names(self.about.known)


def only(config: type, *fields: str) -> Only:
    """Take some fields of a dataclass."""
    return Only(config, fields)


def takes(
    *first: str, **groups: type | tuple[type | Only, ...]
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of dataclasses.

    Every keyword names a parameter of the command. One dataclass makes that parameter an instance of it; a tuple of
    dataclasses makes it a `Given`, the values that the user gave, for functions that fill in the rest. The command's
    other parameters stay as they are.

    Args:
      *first: names of the options that the help shows first.
      **groups: dataclasses, or parts of them by `only`.

    Returns:
      A decorator. The command raises InputError for an unknown name or a number out of its range before it starts.
    """
    parameters = [each for group, sources in groups.items() for each in _parameters(group, sources, first)]
    parameters.sort(key=lambda each: (PANELS.index(each.panel), [*first, each.name].index(each.name)))
    by_name = {each.name: each for each in parameters}
    if len(by_name) < len(parameters):
        raise ValueError(f"two options of one name among {sorted(each.name for each in parameters)}")

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @wraps(command)
        def parsed(**values: object) -> None:
            given = {group: Given() for group in groups}
            is_open = any(values.get(name) for name in EXTENDING) or ("plugin" in values and has_plugins())
            for name, parameter in by_name.items():
                value = _parse(parameter, values.pop(name, None), is_open)
                if value is not None:
                    given[parameter.group][name] = value
            made = {group: kind(**given[group]) for group, kind in groups.items() if isinstance(kind, type)}
            command(**values, **{**given, **made})

        kept = [each for name, each in inspect.signature(command).parameters.items() if name not in groups]
        signature = inspect.Signature([*kept, *map(_to_typer, parameters)])
        parsed.__signature__ = signature  # type: ignore[attr-defined] # what typer reads
        parsed.__annotations__ = {each.name: each.annotation for each in signature.parameters.values()}
        return parsed

    return decorate


@cache
def has_plugins() -> bool:
    """Return whether installed packages have plugins of jaxnas."""
    from importlib.metadata import entry_points

    return bool(entry_points(group=PLUGIN_GROUP))


def _parameters(group: str, sources: type | tuple[type | Only, ...], first: tuple[str, ...]) -> Iterator[Parameter]:
    """Yield what the dataclasses of a group declare."""
    for source in sources if isinstance(sources, tuple) else (sources,):
        config, fields = source if isinstance(source, Only) else (source, ())
        types = types_of(config)
        for name, (field, about) in settings_of(config, *fields).items():
            panel = None if name in first or about.argument else about.panel
            yield Parameter(group, name, types[name], field.default, about, panel)


def _to_typer(parameter: Parameter) -> inspect.Parameter:
    """Return the parameter of the function that typer reads."""
    name, about, known = parameter.name, parameter.about, parameter.known
    several = get_origin(parameter.kind) is tuple
    options: dict[str, Any] = dict(help=_describe(parameter), show_default=False, hidden=about.hidden)
    if completed := known or names(about.suggestions):
        options["autocompletion"] = (some_of if several else one_of)(completed)
    elif about.suggestions:
        options["autocompletion"] = about.suggestions
    if not about.argument and (known or several):
        options["metavar"] = _metavar(parameter)
    if about.argument:
        info = typer.Argument(**options)
    else:
        info = typer.Option(*filter(None, [about.short, parameter.flag]), rich_help_panel=parameter.panel, **options)
    kind = str if known or several or parameter.kind is Path else parameter.kind
    required = parameter.default is MISSING
    default = inspect.Parameter.empty if required else False if kind is bool else None
    annotation: Any = Annotated[kind if required or kind is bool else kind | None, info]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _metavar(parameter: Parameter) -> str:
    if get_origin(parameter.kind) is not tuple:
        return "NAME"
    return "NUMBERS" if get_args(parameter.kind)[0] is int else "NAMES"


def _describe(parameter: Parameter) -> str:
    """Return the help with the names that are known and the default."""
    about, default = parameter.about, parameter.default
    known = parameter.known or names(about.suggestions)
    sentences = [about.help]
    if known:
        several = get_origin(parameter.kind) is tuple
        opening = "Names:" if not parameter.known else "Any of" if several else "One of"
        sentences.append(f"{opening} {', '.join(known)}.")
    shown = about.default or (", ".join(map(str, default)) if isinstance(default, tuple) else default)
    if shown not in (None, "", MISSING) and shown is not False:
        sentences.append(f"Default: {shown}.")
    return " ".join(sentences)


def _parse(parameter: Parameter, value: object, is_open: bool = False) -> object:
    """Return the value that the configuration gets, or None if the user gave none.

    Args:
      parameter: the option.
      value: what the user gave.
      is_open: whether the configuration checks names that it can look up, because another option may add some.

    Raises:
      InputError: it is empty, not one of the known names, not a whole number, out of its range, or names no file.
    """
    if value is None or value is False:
        return None
    if isinstance(value, str) and not value.strip(" ,"):
        raise InputError(f"`{parameter.flag}` must not be empty, got {value!r}: give a value, or leave it out")
    read = to_path if parameter.kind is Path else expand if parameter.about.place else str
    if get_origin(parameter.kind) is tuple:
        parts = split_names(str(value))
        is_whole = get_args(parameter.kind)[0] is int
        value = tuple(_whole(parameter.flag, part) for part in parts) if is_whole else tuple(map(read, parts))
    elif isinstance(value, str):
        value = read(value)
    if parameter.about.find is not None:
        for member in value if isinstance(value, tuple) else (value,):
            parameter.about.find(str(member))
    if not (is_open and (parameter.about.lookup or parameter.about.known)):
        check_names(parameter.name, parameter.about, value, parameter.known)
    check_range(parameter.flag, parameter.about, value)
    return value


def _whole(name: str, text: str) -> int:
    if not text.isdecimal():
        raise InputError(f"`{name}` must be whole numbers separated by commas, got {text!r}")
    return int(text)
