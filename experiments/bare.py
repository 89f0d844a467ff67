"""Make jaxnas importable on machines that have JAX, flax and NumPy alone, from this checkout.

    import bare  # before jaxnas

Two small packages that it imports have stand-ins: jaxtyping gives types of annotations, which nothing reads here;
lazy_loader gives the public names of a package from its stub file. A package that is installed is left as it is.
Scoring and training need no other package.
"""

import ast
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType


class AnyType:
    """A type of annotations, such as `Float[Array, "N H W C"]`."""

    def __class_getitem__(cls, _: object) -> type["AnyType"]:
        return cls


class Annotations(ModuleType):
    """A module that has every name, as a type."""

    def __getattr__(self, name: str) -> type[AnyType]:
        if name.startswith("__"):
            raise AttributeError(name)
        return AnyType


def attach_stub(package: str, filename: str) -> tuple[Callable[[str], object], Callable[[], list[str]], list[str]]:
    """Return `__getattr__`, `__dir__` and `__all__` of a package whose stub file names what it imports."""
    tree = ast.parse(Path(filename).with_suffix(".pyi").read_text())
    found = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    modules = {alias.asname or alias.name: (node, alias.name) for node in found for alias in node.names}

    def get(name: str) -> object:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        node, original = modules[name]
        return getattr(import_module("." * node.level + (node.module or ""), package), original)

    return get, lambda: sorted(modules), sorted(modules)


def install() -> None:
    """Put this checkout on the path, and the stand-ins in place of what is not installed."""
    if find_spec("jaxnas") is None:
        sys.path.append(str(Path(__file__).parents[1]))
    if find_spec("jaxtyping") is None:
        sys.modules["jaxtyping"] = Annotations("jaxtyping")
    if find_spec("lazy_loader") is None:
        module = ModuleType("lazy_loader")
        module.attach_stub = attach_stub  # type: ignore[attr-defined]
        sys.modules["lazy_loader"] = module


install()
