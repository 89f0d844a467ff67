"""The main jobs from start to end: search, final training, comparison of methods; and their result files."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
