"""Search spaces: architectures as int8 vectors, their texts, indices, mutants and classes of equal networks.

The modules need no JAX, except for mutants, which are imported when first used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
