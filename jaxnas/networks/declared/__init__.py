"""Search spaces and networks declared as a list of blocks with choices of widths, depths and ops."""

from jaxnas.networks.declared.blocks import Cell, Repeat, Residual
from jaxnas.networks.declared.network import DeclaredNetwork
from jaxnas.networks.declared.ops import Choice, Choose, Conv, Dense, Pool, Skip, Zero, choice

__all__ = [
    "Cell",
    "Choice",
    "Choose",
    "Conv",
    "DeclaredNetwork",
    "Dense",
    "Pool",
    "Repeat",
    "Residual",
    "Skip",
    "Zero",
    "choice",
]
