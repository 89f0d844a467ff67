"""Raw scores on one scale, and how well a ranking agrees with another."""

from jaxnas.table.normalize import NORMALIZATIONS, TableReport, combine, mean_ranks, normalize

__all__ = ["NORMALIZATIONS", "TableReport", "combine", "mean_ranks", "normalize"]
