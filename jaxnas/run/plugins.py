"""Plugins: Python files, and modules of installed packages, that add proxies, spaces, methods and objectives by name.

A plugin defines any of four dictionaries:

    PROXIES = {"mine": function of the quantities of one architecture}
    SPACES = {"mine": blocks of a `DeclaredNetwork`, or a function of the number of classes that returns a network}
    METHODS = {"mine": a `jaxnas.search.Method` of that name}
    OBJECTIVES = {"mine": function of the text of an architecture that returns a number}

A package names the modules of its plugins as entry points of the group `jaxnas.plugins`.
"""

import hashlib
import importlib.util
import sys
from collections.abc import Callable, Mapping, MutableMapping
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias, TypeVar

from jaxnas.errors import InputError, first_line
from jaxnas.networks import CUSTOM_NETWORKS, DeclaredNetwork, SearchNetwork
from jaxnas.networks.declared.flow import Part, check_parts
from jaxnas.objectives.named import OBJECTIVES
from jaxnas.proxies import PROXIES, PROXY_SETS
from jaxnas.runtime.files import read_bytes
from jaxnas.runtime.names import PLUGIN_GROUP
from jaxnas.runtime.places import to_path
from jaxnas.search import METHODS, Method
from jaxnas.spaces import SPACES

_sources: dict[tuple[int, str], str] = {}  # the plugin of each entry, which a changed file of that name may replace
LoadedT = TypeVar("LoadedT")
Addition: TypeAlias = tuple[MutableMapping[str, Any], str, object]  # a registry, whose entries have its own type
KINDS = ("PROXIES", "SPACES", "METHODS", "OBJECTIVES")


def load_plugin(path: Path | str) -> str:
    """Run a Python file, and add what its dictionaries define to those of jaxnas.

    A file that was loaded before and has not changed is not run again.

    Args:
      path: a file, see the module.

    Returns:
      The name of the file and the first digits of its SHA-256, which results record.

    Raises:
      InputError: the file is missing, raises an exception, defines none of the dictionaries, or an entry is of another
        kind or has a name of jaxnas.
    """
    path = to_path(path)
    digest = hashlib.sha256(read_bytes(path)).hexdigest()[:16]
    name = f"jaxnas_plugin_{digest}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_loader(name, importlib.machinery.SourceFileLoader(name, str(path)))
        if spec is None or spec.loader is None:
            raise InputError(f"plugin {path} is not a Python file")
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        try:
            _run(partial(spec.loader.exec_module, module), f"plugin {path}")
            _add(module, str(path))
        except BaseException:
            del sys.modules[name]
            raise
    return f"{path.name} sha256:{digest}"


def load_installed_plugins() -> tuple[str, ...]:
    """Import the plugins of installed packages, and add what their dictionaries define.

    Returns:
      Name and version of each package.

    Raises:
      InputError: see `load_plugin`.
    """
    described = []
    for entry in sorted(entry_points(group=PLUGIN_GROUP), key=lambda entry: entry.name):
        package = f"{entry.dist.name} {entry.dist.version}" if entry.dist else entry.name
        module = _run(entry.load, f"plugin {package}")
        _add(module, package)
        described.append(package)
    return tuple(dict.fromkeys(described))


def _run(load: Callable[[], LoadedT], source: str) -> LoadedT:
    """Run the code of a plugin; what it raises, or that it ends the program, is an error of the plugin."""
    try:
        return load()
    except (Exception, SystemExit) as error:
        problem = first_line(error, "no details")
        raise InputError(f"{source} cannot be loaded ({type(error).__name__}: {problem})") from error


def _add(module: ModuleType, source: str) -> None:
    """Add all entries of a plugin, after all of them are checked."""
    found = {kind: getattr(module, kind) for kind in KINDS if hasattr(module, kind)}
    if not found:
        raise InputError(f"plugin {source} defines none of {', '.join(KINDS)}: define one, a dictionary by name")
    additions: list[Addition] = []
    for kind, entries in found.items():
        if not isinstance(entries, Mapping):
            raise InputError(f"plugin {source}: {kind} must be a dictionary by name, got {type(entries).__name__}")
        for name, entry in entries.items():
            additions += _CHECKS[kind](name, entry, f"plugin {source}: {kind}[{name!r}]")
    for known, name, entry in additions:
        is_new = known.get(name, entry) is entry or _sources.get((id(known), name)) == source
        if name in PROXY_SETS or not is_new or (known is OBJECTIVES and name == "accuracy"):
            raise InputError(f"plugin {source}: there is a {name!r} already; give it another name")
    for known, name, entry in additions:
        known[name] = entry
        _sources[id(known), name] = source


def _function(known: MutableMapping[str, Any], name: object, entry: object, place: str) -> list[Addition]:
    if not callable(entry):
        raise InputError(f"{place} must be a function, got {type(entry).__name__}")
    return [(known, _name(name, place), entry)]


def _method(name: object, entry: object, place: str) -> list[Addition]:
    if not isinstance(entry, Method) or entry.name != name:
        raise InputError(f"{place} must be a jaxnas.search.Method of that name, got {entry!r:.60}")
    return [(METHODS, _name(name, place), entry)]


def _space(name: object, entry: object, place: str) -> list[Addition]:
    text = _name(name, place)
    build = entry if callable(entry) else partial(_declare, text, tuple(_blocks(entry, place)))
    network = _run(partial(build, 10), place)
    if not isinstance(network, SearchNetwork):
        raise InputError(f"{place} must be blocks or return a network, got {type(network).__name__}")
    if network.space.name != text:
        raise InputError(f"{place} is of space {network.space.name!r}: give both one name")
    return [(SPACES, text, network.space), (CUSTOM_NETWORKS, text, build)]


def _declare(name: str, blocks: tuple[Part, ...], num_classes: int) -> SearchNetwork:
    return DeclaredNetwork(name, blocks, num_classes=num_classes)


def _blocks(entry: object, place: str) -> tuple[Part, ...]:
    if not isinstance(entry, list | tuple):
        raise InputError(f"{place} must be blocks or a function of the number of classes, got {type(entry).__name__}")
    return check_parts(place, entry)


def _name(name: object, place: str) -> str:
    if not isinstance(name, str) or not name.strip() or "," in name:
        raise InputError(f"{place}: a name must be a text without commas")
    return name


_CHECKS: dict[str, Callable[[object, object, str], list[Addition]]] = {
    "PROXIES": partial(_function, PROXIES),
    "SPACES": _space,
    "METHODS": _method,
    "OBJECTIVES": partial(_function, OBJECTIVES),
}
