"""Networks: flax modules whose call takes the architecture as an array, one per search space."""

from jaxnas.networks.layers import describe, init_params_of_each, init_variables, num_params
from jaxnas.networks.nasbench201 import NASBench201Network

NETWORKS = {"nasbench201": NASBench201Network}

__all__ = ["NETWORKS", "NASBench201Network", "describe", "init_params_of_each", "init_variables", "num_params"]
