"""jaxnas: training-free neural architecture search on JAX.

space --sample--> archs [A D] --score_archs--> scores [A M] --normalize--> table [A M] --search--> architecture

The public names are those of `__init__.pyi`; the module of each is imported when the name is first used.
"""

import lazy_loader

from jaxnas.runtime import moved

_import_name, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
moved.install()


def __getattr__(name: str) -> object:
    """Return a public name, or `__version__`, whose module would take a tenth of the start of a command."""
    if name == "__version__":
        from jaxnas.runtime.host import package_version

        return package_version()
    return _import_name(name)
