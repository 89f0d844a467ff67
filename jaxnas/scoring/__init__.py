"""Score many architectures: the engine, and the plan that splits them over devices."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
