"""Imports follow one order of subpackages without cycles, and only the top one prints."""

import ast
from collections.abc import Iterable, Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import jaxnas

ROOT = Path(jaxnas.__file__).parent
FLOORS = (
    *("errors", "runtime", "spaces", "data", "networks", "proxies", "scoring", "store", "table"),
    *("objectives", "search", "models", "run", "report", "cli", "__main__"),
)
OUTSIDE = "testing"  # contracts for users' tests: nothing imports it


def name_of(path: Path) -> str:
    """The module of a file."""
    return ".".join(("jaxnas", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")


SOURCES = {name_of(path): ast.parse(path.read_text()) for path in sorted(ROOT.rglob("*.py"))}
STUBS = {name_of(path): ast.parse(path.read_text()) for path in sorted(ROOT.rglob("*.pyi"))}


def imports_of(module: str, nodes: Iterable[ast.AST], is_package: bool) -> Iterator[str]:
    """The modules that these nodes of a source import."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = module.split(".")[: len(module.split(".")) - node.level + is_package] if node.level else []
            base = ".".join(filter(None, [*above, node.module or ""]))
            members = (f"{base}.{alias.name}" for alias in node.names)
            yield from (member if member in SOURCES else base for member in members)


def room_of(module: str) -> str:
    """The package or top module of a module; "" for `jaxnas` itself."""
    return module.split(".")[1] if "." in module else ""


def on_import(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes that run when the module is imported, or would be read for types: all outside of functions."""
    yield node
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef):
            yield from on_import(child)


IS_PACKAGE = {module: (ROOT.parent / Path(*module.split("."))).is_dir() for module in SOURCES}
IMPORTS = {module: set(imports_of(module, ast.walk(tree), IS_PACKAGE[module])) for module, tree in SOURCES.items()}
FIRST = {module: set(imports_of(module, on_import(tree), IS_PACKAGE[module])) for module, tree in SOURCES.items()}


def test_every_room_has_a_floor():
    assert {room_of(module) for module in SOURCES} - {""} == {*FLOORS, OUTSIDE}


@pytest.mark.parametrize("room", FLOORS)
def test_imports_point_down(room):
    lower = {*FLOORS[: FLOORS.index(room) + 1]}
    upwards = {
        f"{module} imports {found}"
        for module, imports in IMPORTS.items()
        if room_of(module) == room
        for found in imports
        if found.split(".")[0] == "jaxnas" and room_of(found) not in lower
    }
    assert upwards == set()


def test_the_public_names_of_a_room_are_its_own():
    for module, tree in STUBS.items():
        found = set(imports_of(module, ast.walk(tree), is_package=True))
        assert module == "jaxnas" or all(one.startswith(f"{module}.") for one in found), module


def test_no_circle_of_modules():
    """Modules of one room may import each other in functions, as a method that calls its own loop does."""
    within = {module: {found for found in FIRST[module] if found in SOURCES} for module in SOURCES}
    TopologicalSorter(within).prepare()


@pytest.mark.parametrize(
    ("package", "rooms"), [("gpjax", {"search"}), ("typer", {"cli"}), ("rich", {"runtime", "cli"})]
)
def test_these_rooms_alone_import(package, rooms):
    importers = {module for module, imports in IMPORTS.items() if any(x.split(".")[0] == package for x in imports)}
    assert importers
    assert {room_of(module) for module in importers} == rooms


def test_nothing_below_the_command_line_prints():
    printing = {
        f"{module}:{node.lineno}"
        for module, tree in SOURCES.items()
        if room_of(module) != "cli"
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    }
    assert printing == set()
