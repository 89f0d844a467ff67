"""Scores with their provenance: in memory, on disk, and those that ship with the package.

`Scores` is an array in memory with its provenance. A *score file* is one Parquet table of scores; the package ships
some (`shipped`). A *store* is a `Folder`, local or in an object store (`folders`), of *parts*, which are small score
files that are never changed, and a *manifest* with the provenance that all of them share (`parts`). `fill_store` scores
into a store (`store`), `read_scores` reads a store or a score file (`tables`), and `estimate` plans a job.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
