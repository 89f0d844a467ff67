"""Zero-cost proxies: pure functions from the quantities of one architecture to one score."""

from jaxnas.data.batch import Batch
from jaxnas.proxies.about import EXACT, About, about, orient, passes_of
from jaxnas.proxies.activation import meco, near
from jaxnas.proxies.blocks import az_expressivity, az_progressivity, az_trainability
from jaxnas.proxies.counts import flops, l2_norm, num_layers, params
from jaxnas.proxies.gradient import fisher, grad_norm, grasp, plain, snip
from jaxnas.proxies.jacobian import epe_nas, jacob_cov
from jaxnas.proxies.noise import zen
from jaxnas.proxies.ntk import ntk_condition, ntk_trace, vkdnw
from jaxnas.proxies.quantities import Quantities
from jaxnas.proxies.relu import linear_regions, naswot, nwot, regularised_swap, swap
from jaxnas.proxies.synflow import dss, logsynflow, synflow, synflow_bn, synflow_no_bn
from jaxnas.proxies.variation import grad_sign, zico
from jaxnas.proxies.zoo import OF_LIVE_NETWORK, PROXIES, PROXY_SETS, Proxy, expand_names
from jaxnas.runtime.names import ROBOT_PROXIES

__all__ = [
    "EXACT",
    "OF_LIVE_NETWORK",
    "PROXIES",
    "PROXY_SETS",
    "ROBOT_PROXIES",
    "About",
    "Batch",
    "Proxy",
    "Quantities",
    "about",
    "az_expressivity",
    "az_progressivity",
    "az_trainability",
    "dss",
    "epe_nas",
    "expand_names",
    "fisher",
    "flops",
    "grad_norm",
    "grad_sign",
    "grasp",
    "jacob_cov",
    "l2_norm",
    "linear_regions",
    "logsynflow",
    "meco",
    "naswot",
    "near",
    "ntk_condition",
    "ntk_trace",
    "num_layers",
    "nwot",
    "orient",
    "params",
    "passes_of",
    "plain",
    "regularised_swap",
    "snip",
    "swap",
    "synflow",
    "synflow_bn",
    "synflow_no_bn",
    "vkdnw",
    "zen",
    "zico",
]
