"""Import paths of version 0.1, which still work with a `DeprecationWarning`."""

import sys
import warnings
from collections.abc import Iterable
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

MOVED = {
    "jaxnas.catalogue": "jaxnas.data.catalogue",
    "jaxnas.cifar": "jaxnas.data.cifar",
    "jaxnas.comparison": "jaxnas.run.comparison",
    "jaxnas.distributed": "jaxnas.runtime.distributed",
    "jaxnas.estimate": "jaxnas.store.estimate",
    "jaxnas.evaluation": "jaxnas.table.evaluation",
    "jaxnas.files": "jaxnas.runtime.files",
    "jaxnas.folders": "jaxnas.store.folders",
    "jaxnas.images": "jaxnas.data.images",
    "jaxnas.names": "jaxnas.runtime.names",
    "jaxnas.parts": "jaxnas.store.parts",
    "jaxnas.pipeline": "jaxnas.run.search",
    "jaxnas.scores": "jaxnas.store.scores",
    "jaxnas.search.greedy": "jaxnas.search.pool",
    "jaxnas.search.presets": "jaxnas.search.robot",
    "jaxnas.shipped": "jaxnas.store.shipped",
    "jaxnas.strategies": "jaxnas.scoring.plan",
    "jaxnas.tasks": "jaxnas.data.tasks",
    "jaxnas.timing": "jaxnas.runtime.timing",
    "jaxnas.tracking": "jaxnas.report.tracking",
    "jaxnas.train": "jaxnas.run.train",
    "jaxnas.workers": "jaxnas.runtime.workers",
}


class MovedModules(MetaPathFinder, Loader):
    """Finds a module of `MOVED` by its old name: a module with the names of the new one."""

    def find_spec(
        self, fullname: str, path: Iterable[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of an old name, None for any other name."""
        return ModuleSpec(fullname, self) if fullname in MOVED else None

    def exec_module(self, module: ModuleType) -> None:
        """Fill the old module with the names of the new one."""
        new = MOVED[module.__name__]
        warnings.warn(f"{module.__name__} has moved to {new}", DeprecationWarning, stacklevel=2)
        names = vars(import_module(new))
        vars(module).update((name, value) for name, value in names.items() if not name.startswith("__"))


def install() -> None:
    """Make the old names importable."""
    if not any(isinstance(finder, MovedModules) for finder in sys.meta_path):
        sys.meta_path.append(MovedModules())
