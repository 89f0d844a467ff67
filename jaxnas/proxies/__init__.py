"""Zero-cost proxies: pure functions from the quantities of one architecture to one score."""

from collections.abc import Callable

from jaxtyping import Array, Float

from jaxnas.proxies.counts import flops, params
from jaxnas.proxies.gradient import fisher, grad_norm, grasp, snip
from jaxnas.proxies.jacobian import jacob_cov
from jaxnas.proxies.quantities import Batch, Quantities
from jaxnas.proxies.relu import nwot
from jaxnas.proxies.synflow import synflow

Proxy = Callable[[Quantities], Float[Array, ""]]

PROXIES: dict[str, Proxy] = {
    "grad_norm": grad_norm,
    "snip": snip,
    "grasp": grasp,
    "fisher": fisher,
    "synflow": synflow,
    "jacob_cov": jacob_cov,
    "nwot": nwot,
    "flops": flops,
    "params": params,
}

ROBOT_PROXIES = ("grad_norm", "snip", "grasp", "fisher", "synflow", "jacob_cov")  # those of He et al. 2024, the default

# Scores of canonical architectures that are functions of the network alone: within a network class equal, but for which
# weights were drawn. As it stands, a dead convolution fed with zeros has a bias, which synflow and fisher see.
OF_LIVE_NETWORK = frozenset(PROXIES.values())

__all__ = [
    "OF_LIVE_NETWORK",
    "PROXIES",
    "ROBOT_PROXIES",
    "Batch",
    "Proxy",
    "Quantities",
    "fisher",
    "flops",
    "grad_norm",
    "grasp",
    "jacob_cov",
    "nwot",
    "params",
    "snip",
    "synflow",
]
