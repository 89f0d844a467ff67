"""jaxnas: training-free neural architecture search on JAX.

space --sample--> archs [A D] --score_archs--> scores [A M] --normalize--> table [A M] --robot--> architecture

The public names are those of `__init__.pyi`; the module of each is imported when the name is first used.
"""

from importlib.metadata import version

import lazy_loader

from jaxnas.runtime import moved

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__version__ = version("jaxnas")
moved.install()
