"""Search spaces and networks declared as a list of blocks with choices of widths, depths and ops."""

from jaxnas.networks.declared.blocks import Cell, Repeat, Residual
from jaxnas.networks.declared.choices import Choice, choice
from jaxnas.networks.declared.inverted import InvertedResidual
from jaxnas.networks.declared.network import DeclaredNetwork
from jaxnas.networks.declared.ops import Activation, Conv, Dense, Depthwise, GlobalAverage, Pool, Skip, Zero
from jaxnas.networks.declared.step import Choose

__all__ = [
    "Activation",
    "Cell",
    "Choice",
    "Choose",
    "Conv",
    "DeclaredNetwork",
    "Dense",
    "Depthwise",
    "GlobalAverage",
    "InvertedResidual",
    "Pool",
    "Repeat",
    "Residual",
    "Skip",
    "Zero",
    "choice",
]
