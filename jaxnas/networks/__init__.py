"""Networks: flax modules whose call takes the architecture as an array, one per search space."""

from collections.abc import Callable

from jaxnas.networks.autoformer import AutoFormerTinyNetwork
from jaxnas.networks.darts import DARTSNetwork
from jaxnas.networks.declared.network import DeclaredNetwork
from jaxnas.networks.mobilenet import MobileNetNetwork
from jaxnas.networks.nasbench101 import NASBench101Network
from jaxnas.networks.nasbench201 import NASBench201Network
from jaxnas.networks.natsbench_size import NATSBenchSizeNetwork
from jaxnas.networks.network import SearchNetwork
from jaxnas.networks.params import Draw, describe, draw_for_all, draw_for_each, init_variables, num_params
from jaxnas.networks.transnas101 import TransNAS101MicroNetwork
from jaxnas.networks.transnas101_macro import TransNAS101MacroNetwork

NETWORKS: dict[str, type[SearchNetwork]] = {
    "nasbench201": NASBench201Network,
    "nasbench101": NASBench101Network,
    "transnas101-micro": TransNAS101MicroNetwork,
    "transnas101-macro": TransNAS101MacroNetwork,
    "darts": DARTSNetwork,
    "mobilenet": MobileNetNetwork,
    "autoformer-tiny": AutoFormerTinyNetwork,
    "natsbench-size": NATSBenchSizeNetwork,
}

CUSTOM_NETWORKS: dict[str, Callable[[int], SearchNetwork]] = {}
"""Functions of the number of classes, by the name of a space that a plugin added."""

__all__ = [
    "CUSTOM_NETWORKS",
    "NETWORKS",
    "AutoFormerTinyNetwork",
    "DARTSNetwork",
    "DeclaredNetwork",
    "Draw",
    "MobileNetNetwork",
    "NASBench101Network",
    "NASBench201Network",
    "NATSBenchSizeNetwork",
    "SearchNetwork",
    "TransNAS101MacroNetwork",
    "TransNAS101MicroNetwork",
    "describe",
    "draw_for_all",
    "draw_for_each",
    "init_variables",
    "num_params",
]
